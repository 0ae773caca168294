//! The connection of a copy. One thread reads it all the time, as fast as the guest sends: credit bounds what it may
//! send, and libkrun, which writes to this socket, must never have to wait for a disk of ours.

use std::collections::VecDeque;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bottle_protocol::{
    ClientFrame, Copied, CopyPart, GuestFrame, Message, MessageReader, OUTPUT_WINDOW_BYTES,
    STDIN_WINDOW_BYTES,
};

use crate::vm::agent::AgentError;

/// How long a guest may take to go on, when nothing but the guest is waited for. A disk that is written out takes seconds, on
/// a busy machine a minute; a guest that is silent for longer is not going to speak.
const STALL_LIMIT: Duration = Duration::from_secs(180);

/// Small frames are collected up to this, so that a tree of small files is not a call of the system for each.
const FLUSH_BYTES: usize = 64 * 1024;

/// Credit is given back in pieces of this.
const GRANT_BYTES: u32 = OUTPUT_WINDOW_BYTES / 4;

/// See the module. Dropping it ends the connection.
#[derive(Debug)]
pub(super) struct Channel {
    stream: UnixStream,
    shared: Arc<Shared>,
    what: &'static str,
    out: Vec<u8>,
    ungranted: u32,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// What may be sent.
    credit: u32,
    /// What came and was not taken yet.
    parts: VecDeque<CopyPart>,
    queued: u32,
    end: Option<Result<Copied, AgentError>>,
}

impl Channel {
    /// Takes a connection on which the request was sent. `what` is what a copy does, for errors.
    pub(super) fn new(stream: UnixStream, what: &'static str) -> Result<Self, AgentError> {
        let state = State { credit: STDIN_WINDOW_BYTES, parts: VecDeque::new(), queued: 0, end: None };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let (reading, thread) = (stream.try_clone()?, Arc::clone(&shared));
        std::thread::Builder::new().name("copy".into()).stack_size(256 * 1024).spawn(move || {
            let end = thread.read_all(MessageReader::new(reading), what);
            thread.lock().end.get_or_insert(end);
            thread.changed.notify_all();
        })?;
        Ok(Self { stream, shared, what, out: Vec::new(), ungranted: 0 })
    }

    /// Sends a part when the guest has room for it.
    pub(super) fn send(&mut self, part: CopyPart) -> Result<(), AgentError> {
        let cost = part.cost();
        let without_waiting = {
            let state = self.shared.lock();
            state.end.is_none() && state.credit >= cost
        };
        if !without_waiting {
            self.flush()?;
        }
        self.take_credit(cost)?;
        ClientFrame::Part(part).encode(&mut self.out).map_err(AgentError::TooLarge)?;
        if self.out.len() >= FLUSH_BYTES { self.flush() } else { Ok(()) }
    }

    /// Says that all was sent, and waits until the guest has all in place.
    pub(super) fn finish(&mut self) -> Result<Copied, AgentError> {
        self.send(CopyPart::End)?;
        self.flush()?;
        let mut state = self.shared.lock();
        let deadline = Instant::now() + STALL_LIMIT;
        loop {
            if let Some(end) = state.end.take() {
                return end;
            }
            state = self.shared.wait(state, deadline).ok_or_else(|| self.timed_out())?;
        }
    }

    /// The next part that the guest sent.
    pub(super) fn next(&mut self) -> Result<CopyPart, AgentError> {
        let mut state = self.shared.lock();
        let deadline = Instant::now() + STALL_LIMIT;
        let part = loop {
            // What came before an error is of no use: the copy has failed.
            if let Some(end) = &state.end {
                return Err(self.early(end));
            }
            if let Some(part) = state.parts.pop_front() {
                break part;
            }
            state = self.shared.wait(state, deadline).ok_or_else(|| self.timed_out())?;
        };
        let cost = part.cost();
        state.queued = state.queued.saturating_sub(cost);
        drop(state);
        self.ungranted = self.ungranted.saturating_add(cost);
        if self.ungranted >= GRANT_BYTES {
            let grant = ClientFrame::OutputCredit(std::mem::take(&mut self.ungranted));
            grant.encode(&mut self.out).map_err(AgentError::TooLarge)?;
            self.flush()?;
        }
        Ok(part)
    }

    fn take_credit(&self, cost: u32) -> Result<(), AgentError> {
        let mut state = self.shared.lock();
        let deadline = Instant::now() + STALL_LIMIT;
        loop {
            if let Some(end) = &state.end {
                return Err(self.early(end));
            }
            if let Some(left) = state.credit.checked_sub(cost) {
                state.credit = left;
                return Ok(());
            }
            state = self.shared.wait(state, deadline).ok_or_else(|| self.timed_out())?;
        }
    }

    fn flush(&mut self) -> Result<(), AgentError> {
        let written = self.stream.write_all(&self.out);
        self.out.clear();
        // The guest may have said why it takes no more: the reading thread has seen that, or the end.
        written.or_else(|_| {
            let mut state = self.shared.lock();
            let deadline = Instant::now() + STALL_LIMIT;
            loop {
                if let Some(end) = &state.end {
                    return Err(self.early(end));
                }
                state = self.shared.wait(state, deadline).ok_or_else(|| self.timed_out())?;
            }
        })
    }

    /// The error for an end that came before its time.
    fn early(&self, end: &Result<Copied, AgentError>) -> AgentError {
        match end {
            Ok(_) => AgentError::Unexpected { what: self.what.to_owned(), sent: "its answer too early" },
            Err(error) => error.again(),
        }
    }

    fn timed_out(&self) -> AgentError {
        AgentError::TimedOut { what: self.what.to_owned() }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // The reading thread has the descriptor open too; the guest has to see the end nevertheless.
        self.stream.shutdown(Shutdown::Both).unwrap_or_default();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change; `None` at the deadline.
    fn wait<'a>(&self, state: MutexGuard<'a, State>, deadline: Instant) -> Option<MutexGuard<'a, State>> {
        let left = deadline.checked_duration_since(Instant::now())?;
        Some(self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0)
    }

    /// Until the end, whatever it is.
    fn read_all(
        &self,
        mut reader: MessageReader<UnixStream, GuestFrame>,
        what: &str,
    ) -> Result<Copied, AgentError> {
        let unexpected = |sent| Err(AgentError::Unexpected { what: what.to_owned(), sent });
        loop {
            match reader.message().map_err(|error| AgentError::read(error, what))? {
                Some(GuestFrame::Part(part)) => {
                    if !self.keep(part) {
                        return unexpected("more than it had credit for");
                    }
                }
                Some(GuestFrame::StdinCredit(bytes)) => {
                    let mut state = self.lock();
                    state.credit = state.credit.saturating_add(bytes).min(STDIN_WINDOW_BYTES);
                }
                Some(GuestFrame::Copied(copied)) => return Ok(copied),
                Some(GuestFrame::Failed(failure)) => return Err(failure.into()),
                Some(_) => return unexpected("an answer to something else"),
                None => return Err(AgentError::Lost { what: what.to_owned() }),
            }
            self.changed.notify_all();
        }
    }

    fn keep(&self, part: CopyPart) -> bool {
        let mut state = self.lock();
        let queued = state.queued.saturating_add(part.cost());
        // An end costs nothing, so there must be one only.
        let after_end = matches!(state.parts.back(), Some(CopyPart::End));
        if queued > OUTPUT_WINDOW_BYTES || after_end {
            return false;
        }
        state.queued = queued;
        state.parts.push_back(part);
        true
    }
}
