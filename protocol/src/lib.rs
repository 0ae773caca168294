//! What host and guest of a bottle say to each other: framed, and versioned from the first byte.
//!
//! The guest agent listens on vsock port [`AGENT_PORT`]; the host reaches it through a UNIX socket. Every request
//! has a **connection of its own**: no request waits behind another one, and closing the connection ends what it
//! asked for. Neither side ever shuts down one half of a connection (libkrun's vsock takes that for the end of both):
//! ends of streams are frames. Two processes outlive their connection: one that was asked for as detached, and one whose
//! host said Detach.
//!
//! ```text
//! either way, first    "BOTTLE"          version u16 LE
//!                     +-----------------+--------------+
//! then, frames         kind u8   length u32 LE   payload (length bytes)
//!                     +--------+---------------+--------------------- -  -
//!
//! host → guest                                  payload
//!   0x01 Request       first frame, once        postcard, at most 1 MiB
//!   0x02 Stdin                                  raw bytes, 1 to 65536
//!   0x03 StdinEof      no Stdin after it        empty
//!   0x04 Resize        with a terminal          rows u16 LE, columns u16 LE
//!   0x05 Signal        to the process group     number u32 LE
//!   0x06 OutputCredit  see below                bytes u32 LE
//!   0x07 Detach        last frame of an exec    empty
//!   0x08 Entry         of a copy to the guest   postcard, at most 16 KiB
//!   0x09 Content       of the entry's file      raw bytes, 1 to 65536
//!   0x0a End           no Entry after it        empty
//! guest → host
//!   0x81 Started                                pid u32 LE
//!   0x82 Stdout                                 raw bytes, 1 to 65536
//!   0x83 Stderr                                 raw bytes, 1 to 65536
//!   0x84 StdinCredit                            bytes u32 LE
//!   0x85 Exited        last frame of an exec    code u8 (0 exit code, 1 signal), number u32 LE
//!   0x86 Failed        last frame               postcard, at most 64 KiB
//!   0x87 Info          answer to Info           postcard, at most 64 KiB
//!   0x88 ShuttingDown  answer to Shutdown       empty
//!   0x89 Entry         of a copy from the guest postcard, at most 16 KiB
//!   0x8a Content       of the entry's file      raw bytes, 1 to 65536
//!   0x8b End           last frame of a Get      empty
//!   0x8c Copied        last frame of a Put      postcard, at most 64 KiB
//! guest → host, on READY_PORT
//!   0x91 Ready         the agent listens        postcard, at most 64 KiB
//!   0x92 BootFailed    and powers off           UTF-8, at most 64 KiB
//! host → guest, on READY_PORT
//!   no greeting and no frame: what time it is, nanoseconds since 1970, u64 LE
//! guest → host, of a connection to a server in the guest
//!   0xa1 Connected     answer to Connect        empty
//!   0xa2 StreamEof     no Stdout after it       empty
//! guest → host
//!   0xa3 ClockTaken    answer to SetClock       empty
//! ```
//!
//! **Flow control** is by credit, in both directions, so that each side can always read its socket: a resize or a
//! signal is never stuck behind stdin, and a reader that pauses never blocks the socket (libkrun writes to the host's
//! socket from the one thread that serves all of a guest's connections). A side may send [`STDIN_WINDOW_BYTES`] of
//! Stdin, or [`OUTPUT_WINDOW_BYTES`] of Stdout and Stderr together, and more as the other side grants it by credit
//! frames. Sending beyond one's credit is a protocol error.
//!
//! **Connections to servers in the guest** carry what is sent to the server as Stdin and what it sends as Stdout, each
//! half with an end of its own: StdinEof and StreamEof.
//!
//! **Copies** ([`CopyPart`]) have the same two windows: to the guest, that of stdin; from it, that of output. Files are
//! under way for longer than anything else, and each end of a copy is a disk that may pause: without credit, libkrun's
//! thread would wait in a write to a host whose disk is busy, and every other connection with it. Entries count as well
//! ([`CopyPart::cost`]), so that a million empty files are no way around it.
//!
//! [`GuestConfig`] is what the guest's init reads when it starts. [`probe`] is not part of all this: it is what a process
//! in the guest and its host say to each other on that process's stdin and stdout. Nor is [`bundle`], the launcher's conversation
//! with the init of the bundle's container.

pub mod bundle;
mod config;
mod copy;
mod frame;
mod message;
pub mod probe;
mod stream;
#[cfg(test)]
mod tests;

pub use config::{CONFIG_LIMIT_BYTES, ConfigError, GuestConfig, Volume};
pub use copy::{Base, Copied, CopyPart, Entry, EntryKind, GetRequest, Owner, PutRequest};
pub use frame::{CONTROL_LIMIT_BYTES, DATA_LIMIT_BYTES, Decoder, HELLO_BYTES, Message, WireError, hello};
pub use message::{
    BootTimings, ClientFrame, EnvVar, ExecFailure, ExecRequest, ExitStatus, FailureKind, GuestFrame, Info,
    Ready, ReadyFrame, Request, TtySize,
};
pub use stream::{MessageReader, ReadError};

/// The version both sides must speak. Host and guest agent are built together, so there is no negotiation.
pub const VERSION: u16 = 1;

/// vsock port the guest agent listens on. High, since the kernel's TSI code uses the low ones for itself.
pub const AGENT_PORT: u32 = 0x0b07_0001;

/// vsock port on the host side (CID 2) to which init reports, once, how the boot went.
pub const READY_PORT: u32 = 0x0b07_0002;

/// The init program in the virtual root that the guest boots from.
pub const INIT_PATH: &str = "/init.krun";

/// The encoded [`GuestConfig`] in the virtual root.
pub const CONFIG_PATH: &str = "/config.krun";

/// What init's report begins with when [`GuestConfig::root_bytes`] can't be had.
pub const CANNOT_GROW: &str = "cannot grow the root file system";

/// Stdin that may be under way, not yet taken by the process.
pub const STDIN_WINDOW_BYTES: u32 = 256 * 1024;

/// Output (stdout and stderr together) that may be under way, not yet taken by the host's reader.
pub const OUTPUT_WINDOW_BYTES: u32 = 512 * 1024;

/// The most that one guest runs at the same time.
pub const EXEC_LIMIT: usize = 1024;
