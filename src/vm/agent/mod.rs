//! The host's side of the guest agent: a connection for each request, through the UNIX socket that libkrun forwards to
//! the guest's vsock port. The protocol is drawn in `bottle-protocol`.
//!
//! - [`Agent`] opens connections and asks ([`client`]).
//! - [`Exec`] is a process under way: stdin, control and events, each usable from a thread of its own ([`exec`]).
//! - [`Agent::connect`]'s streams to servers in the guest ([`tunnel`]).
//! - [`Agent::put`] and [`Agent::get`] copy files ([`copy`]).
//! - [`accept_ready`] reads what init reports when it has booted ([`ready`]).
//!
//! The guest is not trusted: it can answer nonsense, nothing, or without end, and gets an error for the first, a
//! deadline for the second, and a bounded amount of memory for the third.

mod client;
mod connect;
mod copy;
mod error;
mod exec;
mod ready;
mod tunnel;
mod window;

pub use bottle_protocol::{
    BootTimings, Copied, EnvVar, ExecFailure, ExecRequest, ExitStatus, FailureKind, Info, Ready, TtySize,
};
pub use bottle_transfer::TransferError;
pub use client::Agent;
pub(super) use client::ClockLink;
pub(crate) use connect::connect;
pub use copy::{CopyError, CopyOptions, CopyStop};
pub(crate) use copy::{Gift, Within};
pub use error::AgentError;
pub use exec::{Exec, ExecControl, ExecEvent, ExecOutput, ExecStdin};
pub use ready::accept_ready;
