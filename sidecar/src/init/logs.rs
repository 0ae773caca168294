//! What the daemons print: each line goes to the container's own output, with the daemon's name before it, and to a file.
//!
//! ```text
//! pipe ─► lines ─┬─► stdout            "NAME | LINE": docker's log
//!                └─► DIR/NAME.log      at most LIMIT_BYTES, then it becomes
//!                    DIR/NAME.log.old  (the one before that is gone)
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Two of these a daemon. An audit line has some 300 bytes: 50,000 requests are kept at least.
const LIMIT_BYTES: u64 = 16 * 1024 * 1024;

/// Of a line; the rest of a longer one is another line. An audit line quotes a URL of some KiB.
const LINE_MAX: u64 = 16 * 1024;

/// The log of one daemon, over all its starts.
#[derive(Debug, Clone)]
pub(super) struct Log {
    name: String,
    /// None where it cannot be written: docker has the lines then.
    file: Arc<Mutex<Option<LogFile>>>,
}

impl Log {
    /// Opens the daemon's log and goes on behind what is in it.
    pub(super) fn open(dir: &Path, name: &str) -> Self {
        let path = dir.join(format!("{name}.log"));
        let file = match LogFile::open(&path, LIMIT_BYTES) {
            Ok(file) => Some(file),
            Err(error) => {
                crate::log(&format!("{}: {error}: {name} has no log of its own", path.display()));
                None
            }
        };
        Self { name: name.to_owned(), file: Arc::new(Mutex::new(file)) }
    }

    /// Takes lines until the last process that holds the other end is gone. What cannot be written is lost: no daemon waits
    /// for a disk that is full.
    pub(super) fn pump(&self, source: impl io::Read) {
        each_line(source, LINE_MAX, |line| self.line(line));
    }

    /// Takes one line.
    pub(super) fn line(&self, line: &[u8]) {
        let text = printable(line);
        let prefixed = format!("{} | {text}\n", self.name);
        drop(io::stdout().lock().write_all(prefixed.as_bytes()));
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = file.as_mut() {
            file.append(format!("{text}\n").as_bytes()).unwrap_or_default();
        }
    }
}

fn each_line(source: impl io::Read, max: u64, mut take: impl FnMut(&[u8])) {
    let mut source = BufReader::new(source);
    let mut line = Vec::new();
    loop {
        line.clear();
        match source.by_ref().take(max).read_until(b'\n', &mut line) {
            Ok(0) => return,
            Ok(_) => take(&line),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// A line without its end, and without what could move a terminal's cursor.
fn printable(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let shown = |c: char| if c.is_control() && c != '\t' { '\u{fffd}' } else { c };
    String::from_utf8_lossy(line).chars().map(shown).collect()
}

#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    limit_bytes: u64,
    file: File,
    len_bytes: u64,
}

impl LogFile {
    fn open(path: &Path, limit_bytes: u64) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let len_bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), limit_bytes, file, len_bytes })
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.len_bytes > 0 && self.len_bytes + bytes.len() as u64 > self.limit_bytes {
            let mut old = self.path.clone().into_os_string();
            old.push(".old");
            fs::rename(&self.path, old)?;
            *self = Self::open(&self.path, self.limit_bytes)?;
        }
        self.file.write_all(bytes)?;
        self.len_bytes += bytes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_move_the_cursor() {
        assert_eq!(printable(b"a\x1b[2J\tb\r\n"), "a\u{fffd}[2J\tb");
        assert_eq!(printable(b"\xff"), "\u{fffd}");
    }

    #[test]
    fn a_log_ends_at_its_limit_and_keeps_one_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut log = LogFile::open(&path, 10).unwrap();
        for line in ["one\n", "two\n", "three\n", "four\n", "five\n"] {
            log.append(line.as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "four\nfive\n");
        assert_eq!(fs::read_to_string(dir.path().join("a.log.old")).unwrap(), "three\n");
    }

    #[test]
    fn long_lines_are_cut() {
        let mut lines = Vec::new();
        each_line(&b"abcdefghij\nend"[..], 4, |line| lines.push(line.to_vec()));
        assert_eq!(lines, [&b"abcd"[..], b"efgh", b"ij\n", b"end"]);
    }
}
