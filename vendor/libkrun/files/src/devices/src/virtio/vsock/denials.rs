//! What the allowlist refused, in the log.
//!
//! ```text
//! TSI refused: OPERATION PROTOCOL ADDRESS      TSI refused: connect tcp 10.0.0.1:443
//! TSI refused: COUNT more                      since the line before
//! ```
//!
//! Nothing in a line is text of the guest's choice, and a guest that floods us does not flood the
//! log: after some lines in one second, the rest is counted.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// More than a program that tries one address after the other makes.
const LINES_A_SECOND: u32 = 20;

const SECOND: Duration = Duration::from_secs(1);

/// The log's memory of the last second.
#[derive(Debug)]
pub struct Denials {
    since: Instant,
    lines: u32,
    omitted: u64,
}

impl Denials {
    pub fn new() -> Self {
        Denials {
            since: Instant::now(),
            lines: 0,
            omitted: 0,
        }
    }

    /// What to log of a refusal; nothing, if it is only counted. Without an address, the request had
    /// none that makes sense.
    pub fn lines(
        &mut self,
        now: Instant,
        operation: &str,
        protocol: &str,
        address: Option<SocketAddr>,
    ) -> Vec<String> {
        let Some(omitted) = self.admit(now) else {
            return Vec::new();
        };
        let address = address.map_or_else(|| "-".to_string(), |address| address.to_string());
        let line = format!("TSI refused: {operation} {protocol} {address}");
        if omitted == 0 {
            vec![line]
        } else {
            vec![format!("TSI refused: {omitted} more"), line]
        }
    }

    /// Whether there is to be a line, and how many were omitted before it.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if now.duration_since(self.since) >= SECOND {
            self.since = now;
            self.lines = 0;
        }
        if self.lines == LINES_A_SECOND {
            self.omitted += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.omitted))
    }
}

impl Default for Denials {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_what_was_refused() {
        let mut denials = Denials::new();
        let now = denials.since;
        let address = "[::1]:80".parse().ok();
        assert_eq!(
            denials.lines(now, "connect", "tcp", address),
            ["TSI refused: connect tcp [::1]:80"]
        );
        assert_eq!(
            denials.lines(now, "send", "udp", None),
            ["TSI refused: send udp -"]
        );
    }

    #[test]
    fn a_flood_is_counted_and_the_next_second_says_so() {
        let mut denials = Denials::new();
        let start = denials.since;
        for _ in 0..LINES_A_SECOND {
            assert_eq!(denials.lines(start, "send", "udp", None).len(), 1);
        }
        for _ in 0..1000 {
            assert!(denials.lines(start + SECOND / 2, "send", "udp", None).is_empty());
        }
        assert_eq!(
            denials.lines(start + SECOND, "send", "udp", None),
            ["TSI refused: 1000 more", "TSI refused: send udp -"]
        );
        assert_eq!(denials.lines(start + SECOND, "send", "udp", None).len(), 1);
    }
}
