//! A process under way in the guest. One thread reads the connection all the time, as fast as the guest sends: credit
//! bounds what it may send, and libkrun, which writes to this socket, must never have to wait for us.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bottle_protocol::{
    ClientFrame, DATA_LIMIT_BYTES, ExecRequest, ExitStatus, GuestFrame, Message, MessageReader,
    OUTPUT_WINDOW_BYTES, ReadError, TtySize, WireError,
};

use super::AgentError;
use super::ready::Until;
use super::window::{End, Item, Source, Windows};

/// Credit is given back in pieces of this.
const GRANT_BYTES: u32 = OUTPUT_WINDOW_BYTES / 4;

/// The guest only has to close a connection.
const DETACH_LIMIT: Duration = Duration::from_secs(10);

/// What a process does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecEvent {
    /// It wrote to stdout, or to its terminal.
    Stdout(Vec<u8>),
    /// It wrote to stderr.
    Stderr(Vec<u8>),
    /// It ended. Everything it wrote came before this.
    Exited(ExitStatus),
    /// It goes on without us: it was started so, or [`ExecControl::detach`] asked for it.
    Detached,
}

/// All that a process wrote, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutput {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to stdout, or to its terminal.
    pub stdout: Vec<u8>,
    /// What it wrote to stderr.
    pub stderr: Vec<u8>,
}

/// A process in the guest. When this is dropped before the process has ended or was detached, the process gets SIGHUP,
/// and SIGKILL two seconds later.
#[derive(Debug)]
pub struct Exec {
    pid: u32,
    what: String,
    stdin: Option<ExecStdin>,
    shared: Arc<Shared>,
    ungranted: u32,
}

/// A process's stdin. Blocks when the process does not read. Dropping it closes the process's stdin, unless the process was
/// detached.
#[derive(Debug)]
pub struct ExecStdin {
    shared: Arc<Shared>,
    open: bool,
}

/// Signals and terminal sizes, from any thread, never behind stdin.
#[derive(Debug, Clone)]
pub struct ExecControl {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    windows: Windows,
    /// Frames go out whole, one at a time.
    writer: Mutex<UnixStream>,
    /// The same stream, to end it while somebody writes.
    closer: UnixStream,
}

impl Shared {
    fn send(&self, frame: &ClientFrame) -> io::Result<()> {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).write_all(&bytes)
    }
}

impl Exec {
    /// Waits for the guest's answer to `request`, which was sent on `stream`.
    pub(super) fn start(
        stream: UnixStream,
        request: &ExecRequest,
        what: String,
        limit: Duration,
    ) -> Result<Self, AgentError> {
        let (writer, closer) = (stream.try_clone()?, stream.try_clone()?);
        let mut reader = MessageReader::new(Until::within(stream, limit));
        let pid = match reader.message().map_err(|error| AgentError::read(error, &what))? {
            Some(GuestFrame::Started { pid }) => pid,
            Some(GuestFrame::Failed(failure)) => return Err(failure.into()),
            Some(_) => return Err(AgentError::Unexpected { what, sent: "another answer" }),
            None => return Err(AgentError::Lost { what }),
        };
        // A process may be silent for as long as it likes.
        reader.get_mut().no_deadline()?;
        let shared = Arc::new(Shared { windows: Windows::new(), writer: Mutex::new(writer), closer });
        if request.detached {
            shared.windows.end(End::Detached);
            return Ok(Self { pid, what, stdin: None, shared, ungranted: 0 });
        }
        let (thread, under_way) = (Arc::clone(&shared), what.clone());
        std::thread::Builder::new().name("exec".into()).stack_size(256 * 1024).spawn(move || {
            let end = read_all(&mut reader, &thread.windows, &under_way);
            thread.windows.end(end);
        })?;
        let stdin = (!request.null_stdin).then(|| ExecStdin { shared: Arc::clone(&shared), open: true });
        Ok(Self { pid, what, stdin, shared, ungranted: 0 })
    }

    /// The process's id in the guest.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its stdin; once, and not if it was asked for without. Not taken, it is closed when this is dropped, and by
    /// [`Exec::output`].
    pub fn take_stdin(&mut self) -> Option<ExecStdin> {
        self.stdin.take()
    }

    /// Its control, as often as wanted.
    pub fn control(&self) -> ExecControl {
        ExecControl { shared: Arc::clone(&self.shared) }
    }

    /// Waits for what it does next. After its end, the end again.
    ///
    /// # Errors
    /// When the guest goes away or breaks the protocol.
    pub fn next_event(&mut self) -> Result<ExecEvent, AgentError> {
        self.next_event_before(None)
    }

    /// The same, up to a deadline if there is one: then it is [`AgentError::TimedOut`], and the process goes on.
    pub(crate) fn next_event_before(&mut self, deadline: Option<Instant>) -> Result<ExecEvent, AgentError> {
        match self.shared.windows.next(&self.what, deadline)? {
            Item::Exited(status) => Ok(ExecEvent::Exited(status)),
            Item::Detached => Ok(ExecEvent::Detached),
            Item::Output(source, data) => {
                self.grant(data.len());
                Ok(match source {
                    Source::Stdout => ExecEvent::Stdout(data),
                    Source::Stderr => ExecEvent::Stderr(data),
                })
            }
        }
    }

    /// Closes its stdin, unless that was taken, and collects all it writes, in memory, up to its end.
    ///
    /// # Errors
    /// When the guest goes away or breaks the protocol, and [`AgentError::Detached`] for a process whose end is not ours to
    /// know.
    pub fn output(mut self) -> Result<ExecOutput, AgentError> {
        self.stdin = None;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        loop {
            match self.next_event()? {
                ExecEvent::Stdout(data) => stdout.extend(data),
                ExecEvent::Stderr(data) => stderr.extend(data),
                ExecEvent::Exited(status) => return Ok(ExecOutput { status, stdout, stderr }),
                ExecEvent::Detached => return Err(AgentError::Detached { what: self.what.clone() }),
            }
        }
    }

    fn grant(&mut self, bytes: usize) {
        self.ungranted = self.ungranted.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        if self.ungranted >= GRANT_BYTES && !self.shared.windows.ended() {
            // If it cannot be sent, the reading thread sees the end of the connection as well.
            drop(self.shared.send(&ClientFrame::OutputCredit(std::mem::take(&mut self.ungranted))));
        }
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        // Whoever still has stdin or control keeps the descriptor open; the guest has to see the end nevertheless.
        drop(self.shared.closer.shutdown(Shutdown::Both));
    }
}

/// Until the process has ended, or something else did.
fn read_all(reader: &mut MessageReader<Until, GuestFrame>, windows: &Windows, what: &str) -> End {
    let unexpected = |sent| End::Error(AgentError::Unexpected { what: what.to_owned(), sent });
    loop {
        let (source, data) = match reader.message() {
            Ok(Some(GuestFrame::Stdout(data))) => (Source::Stdout, data),
            Ok(Some(GuestFrame::Stderr(data))) => (Source::Stderr, data),
            Ok(Some(GuestFrame::StdinCredit(bytes))) => {
                windows.grant_stdin(bytes);
                continue;
            }
            Ok(Some(GuestFrame::Exited(status))) => return End::Exited(status),
            // However the connection ended, in the middle of some output perhaps: it was let go of.
            Ok(None) | Err(ReadError::Io(_) | ReadError::Wire(WireError::Truncated))
                if windows.is_detaching() =>
            {
                return End::Detached;
            }
            Ok(Some(_)) => return unexpected("an answer to something else"),
            Ok(None) => return End::Error(AgentError::Lost { what: what.to_owned() }),
            Err(error) => return End::Error(AgentError::read(error, what)),
        };
        if !windows.put_output(source, data) {
            return unexpected("more output than it had credit for");
        }
    }
}

impl Write for ExecStdin {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        let wanted = data.len().min(DATA_LIMIT_BYTES);
        let taken = self.shared.windows.take_stdin_credit(wanted).ok_or(io::ErrorKind::BrokenPipe)?;
        self.shared.send(&ClientFrame::Stdin(data[..taken].to_vec()))?;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ExecStdin {
    /// Closes the process's stdin. In a terminal, types the end of the input.
    ///
    /// # Errors
    /// When the guest went away.
    pub fn close(mut self) -> io::Result<()> {
        self.send_end()
    }

    fn send_end(&mut self) -> io::Result<()> {
        let windows = &self.shared.windows;
        if std::mem::take(&mut self.open) && !windows.ended() && !windows.is_detaching() {
            self.shared.send(&ClientFrame::StdinEof)?;
        }
        Ok(())
    }
}

impl Drop for ExecStdin {
    fn drop(&mut self) {
        drop(self.send_end());
    }
}

impl ExecControl {
    /// Sends a signal, by its Linux number, to the process and its group.
    ///
    /// # Errors
    /// When the guest went away. A process that has ended is no error.
    pub fn signal(&self, signal: u32) -> io::Result<()> {
        self.send(&ClientFrame::Signal(signal))
    }

    /// Tells it the new size of its terminal.
    ///
    /// # Errors
    /// When the guest went away. A process that has ended is no error.
    pub fn resize(&self, rows: u16, columns: u16) -> io::Result<()> {
        self.send(&ClientFrame::Resize(TtySize { rows, columns }))
    }

    /// Leaves it running without us: its output goes nowhere from now on, and it keeps its terminal if it has one.
    /// [`ExecEvent::Detached`] says when the guest has let it go.
    ///
    /// # Errors
    /// When the guest went away. A process that has ended is no error.
    pub fn detach(&self) -> io::Result<()> {
        self.shared.windows.detaching(DETACH_LIMIT);
        self.send(&ClientFrame::Detach)
    }

    fn send(&self, frame: &ClientFrame) -> io::Result<()> {
        if self.shared.windows.ended() { Ok(()) } else { self.shared.send(frame) }
    }
}
