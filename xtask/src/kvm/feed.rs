//! Our stdin, for the command: read once by one thread, sent by each attempt from its beginning.
//!
//! What has been read is kept, so that a second attempt (after a dead emulation) can have it again; when that grows over
//! [`KEPT_BYTES`], the sent part is dropped, and no second attempt is possible.

use std::{
    io::{self, Read, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use super::wire;

/// What is kept for a second attempt.
const KEPT_BYTES: usize = 64 * 1024 * 1024;
/// How far reading may be ahead of sending.
const AHEAD_BYTES: usize = 1024 * 1024;

/// Our stdin as far as it has been read.
#[derive(Clone, Default)]
pub(crate) struct Feed(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    kept: Vec<u8>,
    /// How many bytes in front of `kept` were dropped.
    dropped: usize,
    /// How many bytes the present attempt has sent.
    sent: usize,
    ended: bool,
    /// Which attempt may send: the sender of an earlier one sees that it is over.
    attempt: u32,
}

impl Feed {
    /// Starts to read stdin.
    pub(crate) fn start() -> Self {
        let feed = Self::default();
        let reader = feed.clone();
        thread::spawn(move || reader.read(&mut io::stdin()));
        feed
    }

    /// Sends all of stdin to `port`, from its beginning, on a thread of its own. `false` if the beginning is gone.
    pub(crate) fn send<W: Write + Send + 'static>(&self, mut port: W) -> bool {
        let mut state = self.state();
        if state.dropped > 0 {
            return false;
        }
        state.sent = 0;
        state.attempt += 1;
        let attempt = state.attempt;
        self.0.1.notify_all();
        drop(state);
        let feed = self.clone();
        thread::spawn(move || {
            while let Some(chunk) = feed.next(attempt) {
                // A port that fails is the end of this attempt; that is told elsewhere, with its reason.
                if wire::write_frame(&mut port, &chunk).is_err() || chunk.is_empty() {
                    return;
                }
            }
        });
        true
    }

    fn read(&self, from: &mut impl Read) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            // A stdin that cannot be read (closed, for instance) has nothing to say.
            let count = match from.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(count) => count,
                Err(_) => 0,
            };
            let (_, changed) = &*self.0;
            let mut state = self.state();
            if count == 0 {
                state.ended = true;
                changed.notify_all();
                return;
            }
            state.kept.extend_from_slice(&buffer[..count]);
            changed.notify_all();
            while state.dropped + state.kept.len() > state.sent + AHEAD_BYTES {
                state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// The next piece for this attempt, an empty one at the end of stdin; `None` once another attempt has begun.
    fn next(&self, attempt: u32) -> Option<Vec<u8>> {
        let (_, changed) = &*self.0;
        let mut state = self.state();
        loop {
            if state.attempt != attempt {
                return None;
            }
            let from = state.sent - state.dropped;
            if from < state.kept.len() {
                let to = state.kept.len().min(from + wire::MAX_FRAME_BYTES / 4);
                let chunk = state.kept[from..to].to_vec();
                state.sent += chunk.len();
                if state.kept.len() > KEPT_BYTES {
                    state.kept.drain(..to);
                    state.dropped += to;
                }
                changed.notify_all();
                return Some(chunk);
            }
            if state.ended {
                return Some(Vec::new());
            }
            state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(feed: &Feed) -> Vec<u8> {
        let attempt = feed.state().attempt;
        let mut all = Vec::new();
        loop {
            match feed.next(attempt) {
                Some(chunk) if !chunk.is_empty() => all.extend(chunk),
                _ => return all,
            }
        }
    }

    #[test]
    fn a_second_attempt_has_it_all_again() {
        let feed = Feed::default();
        feed.read(&mut &b"once and again"[..]);
        assert_eq!(drained(&feed), b"once and again");
        assert!(feed.send(io::sink()));
        feed.state().attempt += 1;
        feed.state().sent = 0;
        assert_eq!(drained(&feed), b"once and again");
    }

    #[test]
    fn too_much_to_keep_arrives_once() {
        let feed = Feed::default();
        let reader = feed.clone();
        let length = (KEPT_BYTES + 3 * AHEAD_BYTES) as u64;
        let thread = thread::spawn(move || reader.read(&mut io::repeat(7).take(length)));
        assert_eq!(drained(&feed).len() as u64, length);
        thread.join().unwrap();
        assert!(!feed.send(io::sink()));
    }
}
