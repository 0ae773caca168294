//! Numbers that differ from run to run, and can be had again by their seed.

use std::time::{Duration, SystemTime};

/// Marsaglia's xorshift. Shown with `{:?}`, it is its seed.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// From the time.
    pub(crate) fn new() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Self(u64::try_from(now.as_nanos() & u128::from(u64::MAX)).unwrap() | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// One of `0..len`.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(len).unwrap()).unwrap()
    }

    /// From nothing to `limit`.
    pub(crate) fn below(&mut self, limit: Duration) -> Duration {
        Duration::from_micros(self.next() % u64::try_from(limit.as_micros()).unwrap().max(1))
    }
}
