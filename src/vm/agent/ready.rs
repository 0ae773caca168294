//! What the guest's init reports, on a connection that it opens to the host's socket for
//! [`READY_PORT`](bottle_protocol::READY_PORT).

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bottle_protocol::{MessageReader, Ready, ReadyFrame};

use super::AgentError;
use crate::vm::clock::unix_ns;

/// Reads init's report off an accepted connection: [`AgentError::BootFailed`] if that is what it says. Answers with the time.
///
/// # Errors
/// When the guest breaks the protocol, goes away, or has not said everything within `limit`.
pub fn accept_ready(stream: UnixStream, limit: Duration) -> Result<Ready, AgentError> {
    const WHAT: &str = "it reported its start";
    stream.set_nonblocking(false)?;
    let mut reader = MessageReader::<_, ReadyFrame>::new(Until::within(stream, limit));
    match reader.message().map_err(|error| AgentError::read(error, WHAT))? {
        Some(ReadyFrame::Ready(ready)) => {
            // The guest goes on without it.
            drop(reader.get_mut().stream.write_all(&unix_ns().to_le_bytes()));
            Ok(ready)
        }
        Some(ReadyFrame::BootFailed(message)) => Err(AgentError::BootFailed(message)),
        None => Err(AgentError::Lost { what: WHAT.to_owned() }),
    }
}

/// A stream with one deadline for all of its reads, so that a byte now and then does not prolong it.
#[derive(Debug)]
pub(super) struct Until {
    stream: UnixStream,
    /// Without one, it waits for good.
    deadline: Option<Instant>,
}

impl Until {
    /// All reads together may take `limit`.
    pub(super) fn within(stream: UnixStream, limit: Duration) -> Self {
        Self { stream, deadline: Some(Instant::now() + limit) }
    }

    /// From now on, all reads together may take `limit`.
    pub(super) fn renew(&mut self, limit: Duration) {
        self.deadline = Some(Instant::now() + limit);
    }

    /// The stream itself, for whoever has a deadline of their own.
    pub(super) fn into_stream(self) -> UnixStream {
        self.stream
    }

    /// From now on, they may take any time.
    pub(super) fn no_deadline(&mut self) -> io::Result<()> {
        self.deadline = None;
        self.stream.set_read_timeout(None)
    }
}

impl Read for Until {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(deadline) = self.deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
        }
        self.stream.read(buffer)
    }
}
