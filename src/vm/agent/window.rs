//! The two credit windows of an exec, shared by its reading thread and its users.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bottle_protocol::{DATA_LIMIT_BYTES, ExitStatus, OUTPUT_WINDOW_BYTES, STDIN_WINDOW_BYTES};

use super::AgentError;

/// Which output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Stdout,
    Stderr,
}

/// How the exec ended.
#[derive(Debug)]
pub(super) enum End {
    Exited(ExitStatus),
    Detached,
    Error(AgentError),
}

/// A piece of what an exec has to say.
#[derive(Debug)]
pub(super) enum Item {
    Output(Source, Vec<u8>),
    Exited(ExitStatus),
    Detached,
}

#[derive(Debug)]
struct State {
    output: VecDeque<(Source, Vec<u8>)>,
    buffered: u32,
    stdin_credit: u32,
    /// When the guest must have let go of a process that is detached.
    detach_by: Option<Instant>,
    end: Option<End>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Windows {
    state: Mutex<State>,
    changed: Condvar,
}

impl Windows {
    pub(super) fn new() -> Self {
        let state = State {
            output: VecDeque::new(),
            buffered: 0,
            stdin_credit: STDIN_WINDOW_BYTES,
            detach_by: None,
            end: None,
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps output that came; false if that is more than the guest had credit for. Small pieces are joined, so that
    /// many of them take no more room than a few large ones.
    pub(super) fn put_output(&self, source: Source, data: Vec<u8>) -> bool {
        let mut state = self.lock();
        let Some(buffered) =
            u32::try_from(data.len()).ok().and_then(|length| state.buffered.checked_add(length))
        else {
            return false;
        };
        if buffered > OUTPUT_WINDOW_BYTES {
            return false;
        }
        state.buffered = buffered;
        match state.output.back_mut() {
            Some((last, piece)) if *last == source && piece.len() + data.len() <= DATA_LIMIT_BYTES => {
                piece.extend_from_slice(&data);
            }
            _ => state.output.push_back((source, data)),
        }
        drop(state);
        self.changed.notify_all();
        true
    }

    /// Waits for the next piece of output, or the end, up to a deadline if there is one. After the end, only the end. `what` is
    /// under way, for errors.
    pub(super) fn next(&self, what: &str, deadline: Option<Instant>) -> Result<Item, AgentError> {
        let mut state = self.lock();
        loop {
            if let Some((source, data)) = state.output.pop_front() {
                state.buffered = state.buffered.saturating_sub(u32::try_from(data.len()).unwrap_or(u32::MAX));
                return Ok(Item::Output(source, data));
            }
            match &state.end {
                Some(End::Exited(status)) => return Ok(Item::Exited(*status)),
                Some(End::Detached) => return Ok(Item::Detached),
                Some(End::Error(error)) => return Err(error.again()),
                None => {}
            }
            let until = deadline.into_iter().chain(state.detach_by).min();
            state = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return Err(AgentError::TimedOut { what: what.to_owned() }),
                Some(left) => {
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.wait(state),
            };
        }
    }

    /// From now on the connection's end is what is waited for, for at most `limit`.
    pub(super) fn detaching(&self, limit: Duration) {
        self.lock().detach_by.get_or_insert_with(|| Instant::now() + limit);
        self.changed.notify_all();
    }

    /// Whether the connection's end is waited for.
    pub(super) fn is_detaching(&self) -> bool {
        self.lock().detach_by.is_some()
    }

    /// Waits until some stdin may be sent and takes as much of `wanted` as that; `None` when the exec has ended.
    pub(super) fn take_stdin_credit(&self, wanted: usize) -> Option<usize> {
        let mut state = self.lock();
        while state.end.is_none() && state.stdin_credit == 0 {
            state = self.wait(state);
        }
        if state.end.is_some() {
            return None;
        }
        let taken = state.stdin_credit.min(u32::try_from(wanted).unwrap_or(u32::MAX));
        state.stdin_credit -= taken;
        usize::try_from(taken).ok()
    }

    /// The guest took stdin.
    pub(super) fn grant_stdin(&self, bytes: u32) {
        let mut state = self.lock();
        state.stdin_credit = state.stdin_credit.saturating_add(bytes).min(STDIN_WINDOW_BYTES);
        drop(state);
        self.changed.notify_all();
    }

    /// Nothing comes any more. The first end counts.
    pub(super) fn end(&self, end: End) {
        self.lock().end.get_or_insert(end);
        self.changed.notify_all();
    }

    /// Whether the process has ended or the connection is gone.
    pub(super) fn ended(&self) -> bool {
        self.lock().end.is_some()
    }
}
