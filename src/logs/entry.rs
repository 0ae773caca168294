//! One entry of a log, in the format of CRI (kubelet's `logs.go`):
//!
//! ```text
//! 2026-11-21T12:34:56.123456789Z stdout F the content, which has no line feed
//! time, RFC 3339                 stream tag: F for a whole line or its end, P for a piece of one that goes on
//! ```

/// Where an entry was printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// The process's stdout, or its terminal.
    Stdout,
    /// The process's stderr.
    Stderr,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When it was logged.
    pub time: String,
    /// Where it was printed.
    pub stream: Stream,
    /// The line ends behind it.
    pub ends: bool,
    /// The bytes, which have no line feed.
    pub content: Vec<u8>,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

impl Entry {
    /// Reads one without the line feed behind it; nothing for what is none.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.splitn(4, |byte| *byte == b' ');
        let time = String::from_utf8(fields.next()?.to_vec()).ok()?;
        let stream = match fields.next()? {
            b"stdout" => Stream::Stdout,
            b"stderr" => Stream::Stderr,
            _ => return None,
        };
        let ends = match fields.next()? {
            b"F" => true,
            b"P" => false,
            _ => return None,
        };
        Some(Self { time, stream, ends, content: fields.next()?.to_vec() })
    }
}

/// Appends the entries for what was printed at `time`.
pub(super) fn write(to: &mut Vec<u8>, time: &str, stream: Stream, printed: &[u8]) {
    for line in printed.split_inclusive(|byte| *byte == b'\n') {
        let (content, tag) = line.strip_suffix(b"\n").map_or((line, "P"), |content| (content, "F"));
        to.extend_from_slice(format!("{time} {} {tag} ", stream.name()).as_bytes());
        to.extend_from_slice(content);
        to.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut bytes = Vec::new();
        write(&mut bytes, "T", Stream::Stdout, b"one\n\ntwo \xff\0 x");
        write(&mut bytes, "T", Stream::Stderr, b"\n");
        assert_eq!(bytes, b"T stdout F one\nT stdout F \nT stdout P two \xff\0 x\nT stderr F \n");
        let entry = |stream, ends, content: &[u8]| Entry {
            time: "T".to_owned(),
            stream,
            ends,
            content: content.to_vec(),
        };
        let read: Vec<Entry> = bytes.split(|b| *b == b'\n').filter_map(Entry::parse).collect();
        assert_eq!(
            read,
            [
                entry(Stream::Stdout, true, b"one"),
                entry(Stream::Stdout, true, b""),
                entry(Stream::Stdout, false, b"two \xff\0 x"),
                entry(Stream::Stderr, true, b""),
            ]
        );
    }

    #[test]
    fn what_is_no_entry_is_none() {
        for line in
            [&b""[..], b"T", b"T stdout", b"T stdout F", b"T stdin F x", b"T stdout X x", b"\xff stdout F x"]
        {
            assert_eq!(Entry::parse(line), None, "{line:?}");
        }
    }
}
