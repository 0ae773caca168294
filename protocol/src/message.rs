//! The messages, and how each one lies in its frame.

use std::fmt;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_bytes::ByteBuf;

use crate::copy::{Copied, CopyPart, GetRequest, PutRequest};
use crate::frame::{CONTROL_LIMIT_BYTES, DATA_LIMIT_BYTES, Lengths, Message, WireError, put_frame};

const REQUEST: u8 = 0x01;
const STDIN: u8 = 0x02;
const STDIN_EOF: u8 = 0x03;
const RESIZE: u8 = 0x04;
const SIGNAL: u8 = 0x05;
const OUTPUT_CREDIT: u8 = 0x06;
const DETACH: u8 = 0x07;
const PUT_ENTRY: u8 = 0x08;
const PUT_CONTENT: u8 = 0x09;
const PUT_END: u8 = 0x0a;
const STARTED: u8 = 0x81;
const STDOUT: u8 = 0x82;
const STDERR: u8 = 0x83;
const STDIN_CREDIT: u8 = 0x84;
const EXITED: u8 = 0x85;
const FAILED: u8 = 0x86;
const INFO: u8 = 0x87;
const SHUTTING_DOWN: u8 = 0x88;
const GET_ENTRY: u8 = 0x89;
const GET_CONTENT: u8 = 0x8a;
const GET_END: u8 = 0x8b;
const COPIED: u8 = 0x8c;
const READY: u8 = 0x91;
const BOOT_FAILED: u8 = 0x92;
const CONNECTED: u8 = 0xa1;
const STREAM_EOF: u8 = 0xa2;
const CLOCK_TAKEN: u8 = 0xa3;

/// The most that an answer's postcard payload takes.
const ANSWER_LIMIT_BYTES: usize = 64 * 1024;

/// The most that an entry takes: a path and a link's target, each as long as Linux has them, and some numbers.
const ENTRY_LIMIT_BYTES: usize = 16 * 1024;

/// Texts inside an answer are cut to this, so that the answer always fits its frame.
const TEXT_LIMIT_BYTES: usize = 16 * 1024;

/// The one thing that a connection is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Runs a process; stream frames follow.
    Exec(ExecRequest),
    /// Asks how the guest is; answered by [`GuestFrame::Info`].
    Info,
    /// Ends all processes, writes the disk out and powers off; answered by [`GuestFrame::ShuttingDown`] at once.
    Shutdown {
        /// Time between SIGTERM and SIGKILL, in milliseconds.
        grace_ms: u32,
    },
    /// Connects to a server on the guest's loopback interface, by TCP; answered by [`GuestFrame::Connected`], and stream
    /// frames follow.
    Connect {
        /// The server's port.
        port: u16,
    },
    /// Says what time it is on the host; answered by [`GuestFrame::ClockTaken`], behind which it can be said again.
    SetClock {
        /// Nanoseconds since 1970.
        unix_ns: u64,
    },
    /// Takes files; [`ClientFrame::Part`]s follow, [`GuestFrame::Copied`] is the answer.
    Put(PutRequest),
    /// Gives files; [`GuestFrame::Part`]s are the answer.
    Get(GetRequest),
}

/// A process to run in the guest. All strings are bytes, as the guest's kernel has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecRequest {
    /// Program and arguments. A program without a slash is looked for in the process's own `PATH`.
    pub argv: Vec<ByteBuf>,
    /// Added to the bottle's environment; wins over it.
    pub env: Vec<EnvVar>,
    /// Working directory, which must exist; the bottle's if not given.
    pub cwd: Option<ByteBuf>,
    /// `name|uid[:group|gid]`, looked up in the guest; the bottle's if not given.
    pub user: Option<ByteBuf>,
    /// Gives it a terminal of this size; stdout and stderr are one stream then.
    pub tty: Option<TtySize>,
    /// No stdin comes: it is `/dev/null`, or a terminal on which nobody types.
    pub null_stdin: bool,
    /// It outlives its connection, which ends as soon as it runs; its stdout and stderr go nowhere.
    pub detached: bool,
}

impl ExecRequest {
    /// Runs this program with these arguments, and all else as the bottle has it.
    pub fn new<W: Into<Vec<u8>>>(argv: impl IntoIterator<Item = W>) -> Self {
        Self { argv: argv.into_iter().map(|word| ByteBuf::from(word.into())).collect(), ..Self::default() }
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        self.env.push(EnvVar::new(name, value));
        self
    }

    /// Runs it in this directory.
    #[must_use]
    pub fn cwd(mut self, directory: impl Into<Vec<u8>>) -> Self {
        self.cwd = Some(ByteBuf::from(directory.into()));
        self
    }

    /// Runs it as this user: `name|uid[:group|gid]`.
    #[must_use]
    pub fn user(mut self, user: impl Into<Vec<u8>>) -> Self {
        self.user = Some(ByteBuf::from(user.into()));
        self
    }
}

/// One variable of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvVar {
    /// Not empty, without `=`.
    pub name: ByteBuf,
    /// Any bytes but NUL.
    pub value: ByteBuf,
}

impl EnvVar {
    /// From anything that is bytes.
    pub fn new(name: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self { name: ByteBuf::from(name.into()), value: ByteBuf::from(value.into()) }
    }
}

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TtySize {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// It exited with this code.
    Code(u8),
    /// This signal killed it.
    Signal(u32),
}

impl ExitStatus {
    /// As a shell and docker report it: the code, or 128 and the signal's number.
    pub fn shell_code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128u8.saturating_add(u8::try_from(signal).unwrap_or(127)),
        }
    }

    /// Whether it exited with code 0.
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ExecFailure {
    /// What sort of failure; the host's exit code hangs on it.
    pub kind: FailureKind,
    /// One line that names the thing.
    pub message: String,
}

/// See [`ExecFailure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// No such program.
    NotFound,
    /// It is there and cannot be executed.
    NotExecutable,
    /// The user or group is not in the guest.
    NoSuchUser,
    /// The working directory cannot be entered.
    BadDirectory,
    /// Files cannot be copied from there, or to there.
    CannotCopy,
    /// Anything else, a malformed request or too many processes for instance.
    Other,
    /// Nobody in the guest listens on that port.
    Refused,
}

/// How the guest is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// The agent's version.
    pub agent_version: String,
    /// The guest kernel's release.
    pub kernel_release: String,
    /// Since the guest kernel started.
    pub uptime_ms: u64,
    /// Execs under way.
    pub execs: u32,
    /// Memory the kernel has, in KiB.
    pub memory_total_kib: u64,
    /// Memory it could give to processes, in KiB.
    pub memory_available_kib: u64,
}

/// The agent listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The agent's version.
    pub agent_version: String,
    /// The guest kernel's release.
    pub kernel_release: String,
    /// How long the boot's parts took.
    pub timings: BootTimings,
}

/// Nanoseconds since the guest kernel started its clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootTimings {
    /// Init's first instruction, nearly.
    pub init_started_ns: u64,
    /// The root device is the root directory.
    pub root_mounted_ns: u64,
    /// The agent takes connections.
    pub agent_listening_ns: u64,
}

/// What the host sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientFrame {
    /// What the connection is for; first, and once.
    Request(Request),
    /// For the process.
    Stdin(Vec<u8>),
    /// No more for the process.
    StdinEof,
    /// The terminal has another size now.
    Resize(TtySize),
    /// A signal for the process group.
    Signal(u32),
    /// The host took this much output.
    OutputCredit(u32),
    /// The process is to go on without the host; the guest answers by closing the connection.
    Detach,
    /// Of a copy to the guest.
    Part(CopyPart),
}

/// What the guest answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestFrame {
    /// The program runs.
    Started {
        /// Its process id in the guest.
        pid: u32,
    },
    /// From the process.
    Stdout(Vec<u8>),
    /// From the process.
    Stderr(Vec<u8>),
    /// The process took this much stdin.
    StdinCredit(u32),
    /// It ended; all its output was sent before.
    Exited(ExitStatus),
    /// The request was not carried out.
    Failed(ExecFailure),
    /// Answer to [`Request::Info`].
    Info(Info),
    /// Answer to [`Request::Shutdown`].
    ShuttingDown,
    /// Answer to [`Request::Connect`]: the server took the connection.
    Connected,
    /// The server will send no more; it may still be sent to.
    StreamEof,
    /// Answer to [`Request::SetClock`].
    ClockTaken,
    /// Of a copy from the guest.
    Part(CopyPart),
    /// All that came was put where it belongs.
    Copied(Copied),
}

/// What init reports, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadyFrame {
    /// The guest is up.
    Ready(Ready),
    /// It will not be, and powers off.
    BootFailed(String),
}

const EMPTY: Lengths = Lengths { least: 0, most: 0 };
const DATA: Lengths = Lengths { least: 1, most: DATA_LIMIT_BYTES };
const NUMBER: Lengths = Lengths { least: 4, most: 4 };
const ENTRY: Lengths = Lengths { least: 1, most: ENTRY_LIMIT_BYTES };
const ANSWER: Lengths = Lengths { least: 0, most: ANSWER_LIMIT_BYTES };

impl Message for ClientFrame {
    fn lengths(kind: u8) -> Option<Lengths> {
        match kind {
            REQUEST => Some(Lengths { least: 1, most: CONTROL_LIMIT_BYTES }),
            STDIN => Some(DATA),
            STDIN_EOF | DETACH => Some(EMPTY),
            RESIZE | SIGNAL | OUTPUT_CREDIT => Some(NUMBER),
            PUT_ENTRY => Some(ENTRY),
            PUT_CONTENT => Some(DATA),
            PUT_END => Some(EMPTY),
            _ => None,
        }
    }

    fn decode(kind: u8, payload: &[u8]) -> Result<Self, WireError> {
        Ok(match kind {
            REQUEST => Self::Request(from_postcard(kind, payload)?),
            STDIN => Self::Stdin(payload.to_vec()),
            STDIN_EOF => Self::StdinEof,
            RESIZE => match *payload {
                [a, b, c, d] => Self::Resize(TtySize {
                    rows: u16::from_le_bytes([a, b]),
                    columns: u16::from_le_bytes([c, d]),
                }),
                _ => return Err(WireError::BadPayload(kind)),
            },
            SIGNAL => Self::Signal(number(kind, payload)?),
            OUTPUT_CREDIT => Self::OutputCredit(number(kind, payload)?),
            DETACH => Self::Detach,
            PUT_ENTRY => Self::Part(CopyPart::Entry(from_postcard(kind, payload)?)),
            PUT_CONTENT => Self::Part(CopyPart::Content(payload.to_vec())),
            PUT_END => Self::Part(CopyPart::End),
            _ => return Err(WireError::UnknownKind(kind)),
        })
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        match self {
            Self::Request(request) => put_frame::<Self>(out, REQUEST, &to_postcard(REQUEST, request)?),
            Self::Stdin(data) => put_frame::<Self>(out, STDIN, data),
            Self::StdinEof => put_frame::<Self>(out, STDIN_EOF, &[]),
            Self::Resize(size) => {
                let ([a, b], [c, d]) = (size.rows.to_le_bytes(), size.columns.to_le_bytes());
                put_frame::<Self>(out, RESIZE, &[a, b, c, d])
            }
            Self::Signal(signal) => put_frame::<Self>(out, SIGNAL, &signal.to_le_bytes()),
            Self::OutputCredit(bytes) => put_frame::<Self>(out, OUTPUT_CREDIT, &bytes.to_le_bytes()),
            Self::Detach => put_frame::<Self>(out, DETACH, &[]),
            Self::Part(CopyPart::Entry(entry)) => {
                put_frame::<Self>(out, PUT_ENTRY, &to_postcard(PUT_ENTRY, entry)?)
            }
            Self::Part(CopyPart::Content(data)) => put_frame::<Self>(out, PUT_CONTENT, data),
            Self::Part(CopyPart::End) => put_frame::<Self>(out, PUT_END, &[]),
        }
    }
}

impl Message for GuestFrame {
    fn lengths(kind: u8) -> Option<Lengths> {
        match kind {
            STARTED | STDIN_CREDIT => Some(NUMBER),
            STDOUT | STDERR => Some(DATA),
            EXITED => Some(Lengths { least: 5, most: 5 }),
            FAILED | INFO => Some(ANSWER),
            SHUTTING_DOWN | CONNECTED | STREAM_EOF | CLOCK_TAKEN => Some(EMPTY),
            GET_ENTRY => Some(ENTRY),
            GET_CONTENT => Some(DATA),
            GET_END => Some(EMPTY),
            COPIED => Some(ANSWER),
            _ => None,
        }
    }

    fn decode(kind: u8, payload: &[u8]) -> Result<Self, WireError> {
        Ok(match kind {
            STARTED => Self::Started { pid: number(kind, payload)? },
            STDOUT => Self::Stdout(payload.to_vec()),
            STDERR => Self::Stderr(payload.to_vec()),
            STDIN_CREDIT => Self::StdinCredit(number(kind, payload)?),
            EXITED => Self::Exited(exit_status(payload)?),
            FAILED => Self::Failed(from_postcard(kind, payload)?),
            INFO => Self::Info(from_postcard(kind, payload)?),
            SHUTTING_DOWN => Self::ShuttingDown,
            CONNECTED => Self::Connected,
            STREAM_EOF => Self::StreamEof,
            CLOCK_TAKEN => Self::ClockTaken,
            GET_ENTRY => Self::Part(CopyPart::Entry(from_postcard(kind, payload)?)),
            GET_CONTENT => Self::Part(CopyPart::Content(payload.to_vec())),
            GET_END => Self::Part(CopyPart::End),
            COPIED => Self::Copied(from_postcard(kind, payload)?),
            _ => return Err(WireError::UnknownKind(kind)),
        })
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        match self {
            Self::Started { pid } => put_frame::<Self>(out, STARTED, &pid.to_le_bytes()),
            Self::Stdout(data) => put_frame::<Self>(out, STDOUT, data),
            Self::Stderr(data) => put_frame::<Self>(out, STDERR, data),
            Self::StdinCredit(bytes) => put_frame::<Self>(out, STDIN_CREDIT, &bytes.to_le_bytes()),
            Self::Exited(status) => {
                let (tag, number) = match status {
                    ExitStatus::Code(code) => (0, u32::from(*code)),
                    ExitStatus::Signal(signal) => (1, *signal),
                };
                let [a, b, c, d] = number.to_le_bytes();
                put_frame::<Self>(out, EXITED, &[tag, a, b, c, d])
            }
            Self::Failed(failure) => {
                let failure = ExecFailure { kind: failure.kind, message: cut(&failure.message).to_owned() };
                put_frame::<Self>(out, FAILED, &to_postcard(FAILED, &failure)?)
            }
            Self::Info(info) => put_frame::<Self>(out, INFO, &to_postcard(INFO, info)?),
            Self::ShuttingDown => put_frame::<Self>(out, SHUTTING_DOWN, &[]),
            Self::Connected => put_frame::<Self>(out, CONNECTED, &[]),
            Self::StreamEof => put_frame::<Self>(out, STREAM_EOF, &[]),
            Self::ClockTaken => put_frame::<Self>(out, CLOCK_TAKEN, &[]),
            Self::Part(CopyPart::Entry(entry)) => {
                put_frame::<Self>(out, GET_ENTRY, &to_postcard(GET_ENTRY, entry)?)
            }
            Self::Part(CopyPart::Content(data)) => put_frame::<Self>(out, GET_CONTENT, data),
            Self::Part(CopyPart::End) => put_frame::<Self>(out, GET_END, &[]),
            Self::Copied(copied) => put_frame::<Self>(out, COPIED, &to_postcard(COPIED, copied)?),
        }
    }
}

impl Message for ReadyFrame {
    fn lengths(kind: u8) -> Option<Lengths> {
        matches!(kind, READY | BOOT_FAILED).then_some(ANSWER)
    }

    fn decode(kind: u8, payload: &[u8]) -> Result<Self, WireError> {
        Ok(match kind {
            READY => Self::Ready(from_postcard(kind, payload)?),
            // What the guest says is shown to people: never refuse it for a stray byte.
            BOOT_FAILED => Self::BootFailed(String::from_utf8_lossy(payload).into_owned()),
            _ => return Err(WireError::UnknownKind(kind)),
        })
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        match self {
            Self::Ready(ready) => put_frame::<Self>(out, READY, &to_postcard(READY, ready)?),
            Self::BootFailed(message) => put_frame::<Self>(out, BOOT_FAILED, cut(message).as_bytes()),
        }
    }
}

fn cut(text: &str) -> &str {
    let mut end = TEXT_LIMIT_BYTES.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn number(kind: u8, payload: &[u8]) -> Result<u32, WireError> {
    payload.try_into().map(u32::from_le_bytes).map_err(|_| WireError::BadPayload(kind))
}

fn exit_status(payload: &[u8]) -> Result<ExitStatus, WireError> {
    let bad = WireError::BadPayload(EXITED);
    let (&tag, rest) = payload.split_first().ok_or(bad.clone())?;
    let number = number(EXITED, rest)?;
    match tag {
        0 => u8::try_from(number).map(ExitStatus::Code).map_err(|_| bad),
        1 => Ok(ExitStatus::Signal(number)),
        _ => Err(bad),
    }
}

fn to_postcard<T: Serialize>(kind: u8, value: &T) -> Result<Vec<u8>, WireError> {
    postcard::to_stdvec(value).map_err(|_| WireError::BadPayload(kind))
}

fn from_postcard<T: DeserializeOwned>(kind: u8, payload: &[u8]) -> Result<T, WireError> {
    match postcard::take_from_bytes(payload) {
        Ok((value, [])) => Ok(value),
        _ => Err(WireError::BadPayload(kind)),
    }
}
