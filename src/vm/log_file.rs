//! Log files that a guest can fill and that end at a limit.
//!
//! ```text
//! pipe ─► pump ─► NAME.log       at most its limit, then it becomes
//!                 NAME.log.old   (the one before that is gone)
//! ```
//!
//! The VMM may open no files later, and rename none: it has both open from the start, and copies the one to the other.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Of a log of the VM's. A boot prints some KiB; the rest is room for a guest's last words, after much noise.
const VM_LIMIT_BYTES: u64 = 1024 * 1024;

/// How much of a log an error quotes: some twenty lines.
const QUOTE_BYTES: u64 = 2048;

/// A log that does not grow beyond its limit.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    limit_bytes: u64,
    file: File,
    /// What it is copied to when it is full, if it can't be renamed.
    previous: Option<File>,
    len_bytes: u64,
}

impl LogFile {
    /// Opens a log of the VM's, and goes on behind what is in it.
    pub(super) fn append_to(path: &Path) -> io::Result<Self> {
        let previous = Some(open(&old(path))?);
        Ok(Self { previous, ..Self::with_limit(path, VM_LIMIT_BYTES)? })
    }

    /// Opens a log of which two files of this size are kept, and goes on behind what is in it.
    pub(crate) fn with_limit(path: &Path, limit_bytes: u64) -> io::Result<Self> {
        let file = open(path)?;
        let len_bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), limit_bytes, file, previous: None, len_bytes })
    }

    /// Appends these bytes, all to the same file.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.len_bytes > 0 && self.len_bytes + bytes.len() as u64 > self.limit_bytes {
            self.begin_anew()?;
        }
        self.file.write_all(bytes)?;
        self.len_bytes += bytes.len() as u64;
        Ok(())
    }

    fn begin_anew(&mut self) -> io::Result<()> {
        let Some(previous) = &mut self.previous else {
            fs::rename(&self.path, old(&self.path))?;
            *self = Self::with_limit(&self.path, self.limit_bytes)?;
            return Ok(());
        };
        let mut whole = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        self.file.read_to_end(&mut whole)?;
        previous.set_len(0)?;
        previous.write_all(&whole)?;
        self.file.set_len(0)?;
        self.len_bytes = 0;
        Ok(())
    }
}

/// What bytes out of a pipe are logged to.
pub(super) trait Sink {
    /// Logs these.
    fn take(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// There are no more.
    fn end(&mut self) -> io::Result<()>;

    /// Logs what comes out of `source`, until its end. When a log can't be written (a full disk), the rest is thrown away:
    /// whoever writes to the pipe must not be held up by it.
    fn pump(&mut self, mut source: impl Read)
    where
        Self: Sized,
    {
        let mut buffer = [0; 8192];
        loop {
            match source.read(&mut buffer) {
                Ok(count @ 1..) => self.take(&buffer[..count]).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return self.end().unwrap_or_default(),
            }
        }
    }
}

impl Sink for LogFile {
    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.append(bytes)
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where a log is that reached its limit.
pub(crate) fn old(path: &Path) -> PathBuf {
    path.with_extension("log.old")
}

/// Opens a log for appending. Who may read the directory may not therefore read the log.
pub(super) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)
}

/// The end of a log, for an error: printable, each line indented. Empty if there is nothing in it.
pub(super) fn tail(path: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let len_bytes = file.metadata()?.len();
        file.seek(SeekFrom::Start(len_bytes.saturating_sub(QUOTE_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(QUOTE_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    // A log that isn't there has no end to quote.
    printable(&read().unwrap_or_default())
}

fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<String> = text
        .lines()
        .map(without_controls)
        .filter(|line| !line.trim().is_empty())
        .map(|line| format!("  {line}"))
        .collect();
    lines.join("\n")
}

/// The guest wrote this: nothing in it may reach the terminal as a command.
pub fn without_controls(line: &str) -> String {
    line.chars().filter(|c| !c.is_control() || *c == '\t').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_ends_at_the_limit_and_its_end_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        let flood = io::repeat(b'x').take(5 * VM_LIMIT_BYTES);
        LogFile::append_to(&path).unwrap().pump(flood.chain(&b"\nthe end\n"[..]));
        let sizes: u64 =
            fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
        assert!(sizes <= 2 * VM_LIMIT_BYTES, "{sizes} bytes");
        assert!(tail(&path).ends_with("  the end"));
    }

    #[test]
    fn quoted_lines_hold_no_control_characters() {
        assert_eq!(printable(b"a\x1b[31mb\r\n\n\x07\xffc\n"), "  a[31mb\n  \u{fffd}c");
        assert_eq!(tail(Path::new("/nonexistent")), "");
    }
}
