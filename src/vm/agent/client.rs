//! The requests.

use std::fmt;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use bottle_protocol::{ClientFrame, ExecRequest, GuestFrame, Info, Message, MessageReader, Request, hello};

use super::connect::connect;
use super::ready::Until;
use super::{AgentError, Exec, tunnel};

/// For an answer that takes the guest no work. A busy or emulated machine needs seconds; longer means that it hangs.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// A guest's agent. Cheap to make and to clone, and of use to any thread: it connects anew for each thing that it is asked,
/// so nothing asked waits behind anything else. The VM may have been started by another process.
#[derive(Debug, Clone)]
pub struct Agent {
    socket: PathBuf,
}

impl Agent {
    /// The agent behind the UNIX socket that libkrun forwards to the guest.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// Starts a process in the guest. Returns when it runs. One that is to be detached from the start has no other event than
    /// [`super::ExecEvent::Detached`].
    ///
    /// # Errors
    /// [`AgentError::Failed`] when the guest cannot start it.
    pub fn exec(&self, request: &ExecRequest) -> Result<Exec, AgentError> {
        let what = format!("{} ran", CommandName(request));
        let stream = self.send(&Request::Exec(request.clone()))?;
        Exec::start(stream, request, what, ANSWER_LIMIT)
    }

    /// Asks how the guest is.
    ///
    /// # Errors
    /// When it does not answer, or not with that.
    pub fn info(&self) -> Result<Info, AgentError> {
        let what = "it was asked how it is";
        match self.ask(&Request::Info, what)? {
            GuestFrame::Info(info) => Ok(info),
            GuestFrame::Failed(failure) => Err(failure.into()),
            _ => Err(AgentError::Unexpected { what: what.to_owned(), sent: "another answer" }),
        }
    }

    /// Tells the guest to end its processes (SIGTERM, and SIGKILL after `grace`), write its disk out and power off.
    /// Returns when the guest has taken the order; the end of the VMM process is the end of the guest.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn shutdown(&self, grace: Duration) -> Result<(), AgentError> {
        let what = "it was told to power off";
        let grace_ms = u32::try_from(grace.as_millis()).unwrap_or(u32::MAX);
        match self.ask(&Request::Shutdown { grace_ms }, what)? {
            GuestFrame::ShuttingDown => Ok(()),
            GuestFrame::Failed(failure) => Err(failure.into()),
            _ => Err(AgentError::Unexpected { what: what.to_owned(), sent: "another answer" }),
        }
    }

    /// Connects to a server that listens on this TCP port of the guest's loopback interface: what a port of docker's is
    /// published for, without the host having one. The guest gets no network by it, and nobody but the caller a way in.
    ///
    /// Each half of the stream ends by itself, as with TCP. A connection that breaks ends like one that is closed; dropping
    /// the stream closes it, and what was written before that arrives. A server that is being started does not listen yet:
    /// what it prints when it does is better to wait for than to be guessed.
    ///
    /// # Errors
    /// [`AgentError::Failed`] with [`FailureKind::Refused`](super::FailureKind::Refused) when nobody listens there.
    pub fn connect(&self, port: u16) -> Result<UnixStream, AgentError> {
        let stream = self.send(&Request::Connect { port })?;
        tunnel::open(stream, &format!("port {port} was connected to"), ANSWER_LIMIT)
    }

    /// Connects for telling the guest what time it is, from time to time: for the first time soon, since it waits for a
    /// connection's first request only so long.
    ///
    /// # Errors
    /// When nobody takes the connection.
    pub(in crate::vm) fn clock(&self) -> Result<ClockLink, AgentError> {
        let mut stream = self.connect_socket()?;
        stream.set_write_timeout(Some(ANSWER_LIMIT))?;
        stream.write_all(&hello())?;
        let answers = MessageReader::new(Until::within(stream.try_clone()?, ANSWER_LIMIT));
        Ok(ClockLink { stream, answers, unanswered: false })
    }

    fn ask(&self, request: &Request, what: &str) -> Result<GuestFrame, AgentError> {
        let stream = self.send(request)?;
        let mut reader = MessageReader::new(Until::within(stream, ANSWER_LIMIT));
        match reader.message().map_err(|error| AgentError::read(error, what))? {
            Some(frame) => Ok(frame),
            None => Err(AgentError::Lost { what: what.to_owned() }),
        }
    }

    /// Greets and asks in one go. If the guest does not take it, that shows when its answer is read.
    pub(super) fn send(&self, request: &Request) -> Result<UnixStream, AgentError> {
        let mut bytes = hello().to_vec();
        ClientFrame::Request(request.clone()).encode(&mut bytes).map_err(AgentError::TooLarge)?;
        let mut stream = self.connect_socket()?;
        stream.set_write_timeout(Some(ANSWER_LIMIT))?;
        drop(stream.write_all(&bytes));
        stream.set_write_timeout(None)?;
        Ok(stream)
    }

    fn connect_socket(&self) -> Result<UnixStream, AgentError> {
        connect(&self.socket).map_err(|source| AgentError::Connect { socket: self.socket.clone(), source })
    }
}

/// A connection on which the guest takes the time, as often as it is told.
#[derive(Debug)]
pub(in crate::vm) struct ClockLink {
    stream: UnixStream,
    answers: MessageReader<Until, GuestFrame>,
    /// An answer that did not come in time is the next one that comes.
    unanswered: bool,
}

impl ClockLink {
    /// Tells the guest what time it is, in nanoseconds since 1970, once it has answered all that it was told before.
    ///
    /// # Errors
    /// When it does not answer. After [`AgentError::TimedOut`] it can be told again.
    pub(in crate::vm) fn set(&mut self, unix_ns: impl Fn() -> u64) -> Result<(), AgentError> {
        if self.unanswered {
            self.answer()?;
        }
        let mut bytes = Vec::new();
        ClientFrame::Request(Request::SetClock { unix_ns: unix_ns() })
            .encode(&mut bytes)
            .map_err(AgentError::TooLarge)?;
        self.unanswered = true;
        // If the guest does not take it, that shows when its answer is read.
        self.stream.write_all(&bytes).unwrap_or_default();
        self.answer()
    }

    fn answer(&mut self) -> Result<(), AgentError> {
        let what = "it was told the time";
        self.answers.get_mut().renew(ANSWER_LIMIT);
        match self.answers.message().map_err(|error| AgentError::read(error, what))? {
            Some(GuestFrame::ClockTaken) => {
                self.unanswered = false;
                Ok(())
            }
            Some(GuestFrame::Failed(failure)) => Err(failure.into()),
            Some(_) => Err(AgentError::Unexpected { what: what.to_owned(), sent: "another answer" }),
            None => Err(AgentError::Lost { what: what.to_owned() }),
        }
    }
}

/// The program's name as errors show it.
struct CommandName<'a>(&'a ExecRequest);

impl fmt::Display for CommandName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.argv.first().map(|name| String::from_utf8_lossy(name)).unwrap_or_default();
        write!(f, "`{name}`")
    }
}
