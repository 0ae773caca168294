//! What the allowlist refused: out of what libkrun logs, into a file of its own.
//!
//! ```text
//! libkrun  [2026-11-21T12:34:56.123456Z WARN  devices::…] TSI refused: connect tcp 10.0.0.1:443
//!          [2026-11-21T12:34:57.123456Z WARN  devices::…] TSI refused: 132 more
//!             │ pipe
//!             ▼
//! Sieve ──► denials.log   2026-11-21T12:34:56.123456Z connect tcp 10.0.0.1:443
//!   │                     2026-11-21T12:34:57.123456Z omitted 132
//!   └─────► vmm.log       all else
//! ```
//!
//! Our patch to libkrun decides the lines (`vendor/libkrun/files/`, `denials.rs`): there is no text of the guest's choice in
//! them, and a guest that tries without end makes no more than some lines a second.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::config::{denials_log, vmm_log};
use super::log_file::{LogFile, Sink};

/// What our patch puts before what it says.
const MARK: &str = "] TSI refused: ";

/// No line of libkrun's is longer. Of what is, the pieces go to the log as they come.
const LINE_LIMIT_BYTES: usize = 4096;

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// When, in RFC 3339.
    pub time: String,
    /// What was refused.
    pub what: Denied,
}

/// What was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// One attempt.
    Attempt {
        /// `connect`, `send` or `accept`.
        operation: String,
        /// `tcp`, `udp`, `unix`, or `-` where the guest's request made no sense.
        protocol: String,
        /// Where to. A UNIX socket's path is the guest's choice, and not logged.
        address: Option<SocketAddr>,
    },
    /// So many that there are no entries of.
    Omitted(u64),
}

impl Denial {
    /// Reads a line of libkrun's log; nothing for one that is about something else.
    fn from_libkrun(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(MARK)?;
        let time = before.strip_prefix('[')?.split(' ').next()?;
        let what = match after.strip_suffix(" more") {
            Some(count) => format!("omitted {count}"),
            None => after.to_owned(),
        };
        format!("{time} {what}").parse().ok()
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = &self.time;
        match &self.what {
            Denied::Attempt { operation, protocol, address: Some(address) } => {
                write!(f, "{time} {operation} {protocol} {address}")
            }
            Denied::Attempt { operation, protocol, address: None } => {
                write!(f, "{time} {operation} {protocol} -")
            }
            Denied::Omitted(count) => write!(f, "{time} omitted {count}"),
        }
    }
}

/// A line that is no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an entry of a log of denials")]
pub struct NotADenial;

impl FromStr for Denial {
    type Err = NotADenial;

    fn from_str(line: &str) -> Result<Self, NotADenial> {
        let words: Vec<&str> = line.split(' ').collect();
        let is_time = |time: &str| time.parse::<jiff::Timestamp>().is_ok();
        let is_word = |word: &str| word == "-" || word.bytes().all(|byte| byte.is_ascii_lowercase());
        let (time, what) = match words[..] {
            [time, "omitted", count] => (time, Denied::Omitted(count.parse().map_err(|_| NotADenial)?)),
            [time, operation, protocol, address] if is_word(operation) && is_word(protocol) => {
                let address = match address {
                    "-" => None,
                    address => Some(address.parse().map_err(|_| NotADenial)?),
                };
                (time, Denied::Attempt { operation: operation.into(), protocol: protocol.into(), address })
            }
            _ => return Err(NotADenial),
        };
        if is_time(time) { Ok(Self { time: time.to_owned(), what }) } else { Err(NotADenial) }
    }
}

/// As `bottle logs --denials --json` has it.
impl Serialize for Denial {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(untagged)]
        enum Entry<'a> {
            Attempt { time: &'a str, operation: &'a str, protocol: &'a str, address: Option<SocketAddr> },
            Omitted { time: &'a str, omitted: u64 },
        }
        let time = &*self.time;
        let entry = match &self.what {
            Denied::Attempt { operation, protocol, address } => {
                Entry::Attempt { time, operation, protocol, address: *address }
            }
            Denied::Omitted(count) => Entry::Omitted { time, omitted: *count },
        };
        entry.serialize(serializer)
    }
}

/// Parts what libkrun logs.
#[derive(Debug)]
pub(super) struct Sieve {
    denials: LogFile,
    rest: LogFile,
    /// A line whose end has not come yet.
    cut: Vec<u8>,
}

impl Sieve {
    /// Opens both logs, and goes on behind what is in them.
    pub(super) fn open(state_dir: &Path) -> io::Result<Self> {
        let denials = LogFile::append_to(&denials_log(state_dir))?;
        Ok(Self { denials, rest: LogFile::append_to(&vmm_log(state_dir))?, cut: Vec::new() })
    }

    fn put(&mut self, line: &[u8]) -> io::Result<()> {
        match std::str::from_utf8(line).ok().and_then(|line| Denial::from_libkrun(line.trim_end())) {
            Some(denial) => self.denials.append(format!("{denial}\n").as_bytes()),
            None => self.rest.append(line),
        }
    }
}

impl Sink for Sieve {
    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut result = Ok(());
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.cut.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.cut.len() > LINE_LIMIT_BYTES {
                let line = std::mem::take(&mut self.cut);
                result = self.put(&line).and(result);
            }
        }
        result
    }

    fn end(&mut self) -> io::Result<()> {
        let line = std::mem::take(&mut self.cut);
        self.put(&line)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const TIME: &str = "2026-11-21T12:34:56.123456Z";

    #[test]
    fn what_is_logged_is_read() {
        let line = |what: &str| format!("[{TIME} WARN  devices::virtio::vsock::muxer] {what}");
        for (said, logged) in [
            ("TSI refused: connect tcp 10.0.0.1:443", "connect tcp 10.0.0.1:443"),
            ("TSI refused: connect udp [::1]:53", "connect udp [::1]:53"),
            ("TSI refused: send udp -", "send udp -"),
            ("TSI refused: connect - -", "connect - -"),
            ("TSI refused: 132 more", "omitted 132"),
        ] {
            let denial = Denial::from_libkrun(&line(said)).unwrap();
            assert_eq!(denial.to_string(), format!("{TIME} {logged}"));
            assert_eq!(denial.to_string().parse(), Ok(denial));
        }
        for other in [
            "TSI refused: ",
            "TSI refused: many more",
            "TSI refused: connect tcp",
            "TSI refused: connect tcp example.com:80",
            "TSI refused: connect tcp 10.0.0.1:443 \x1b[31m",
            "TSI refused: CONNECT tcp 10.0.0.1:443",
            "immediately removing proxy: 7",
        ] {
            assert_eq!(Denial::from_libkrun(&line(other)), None, "{other}");
        }
        assert_eq!(Denial::from_libkrun("[today WARN] TSI refused: send udp -"), None);
    }

    #[test]
    fn an_entry_is_an_object() {
        let json = |what: &str| serde_json::to_string(&format!("{TIME} {what}").parse::<Denial>().unwrap());
        assert_eq!(
            json("connect tcp 10.0.0.1:443").unwrap(),
            format!(r#"{{"time":"{TIME}","operation":"connect","protocol":"tcp","address":"10.0.0.1:443"}}"#)
        );
        assert_eq!(json("omitted 132").unwrap(), format!(r#"{{"time":"{TIME}","omitted":132}}"#));
    }

    #[test]
    fn lines_are_parted_however_they_come() {
        let text = format!("one\n[{TIME} WARN  x] TSI refused: send udp 1.2.3.4:53\ntwo\nthe last words");
        for size in [1, 7, 8192] {
            let dir = tempfile::tempdir().unwrap();
            let mut sieve = Sieve::open(dir.path()).unwrap();
            for piece in text.as_bytes().chunks(size) {
                sieve.take(piece).unwrap();
            }
            sieve.end().unwrap();
            let read = |path| fs::read_to_string(path).unwrap();
            assert_eq!(read(denials_log(dir.path())), format!("{TIME} send udp 1.2.3.4:53\n"));
            assert_eq!(read(vmm_log(dir.path())), "one\ntwo\nthe last words");
        }
    }

    #[test]
    fn a_line_without_an_end_takes_no_memory() {
        let dir = tempfile::tempdir().unwrap();
        let mut sieve = Sieve::open(dir.path()).unwrap();
        for _ in 0..100 {
            sieve.take(&[b'x'; 8192]).unwrap();
            assert!(sieve.cut.len() <= LINE_LIMIT_BYTES);
        }
    }
}
