//! Writes the log.

use std::io;
use std::path::Path;

use super::entry::{self, Stream};
use crate::vm::log_file::LogFile;

/// Of one of the two files: some hours of a talkative build.
const LIMIT_BYTES: u64 = 16 * 1024 * 1024;

/// A log that does not grow beyond its limit.
#[derive(Debug)]
pub(crate) struct OutputLog {
    file: LogFile,
    entries: Vec<u8>,
}

impl OutputLog {
    /// Opens the log, and goes on behind what is in it.
    pub(crate) fn append_to(path: &Path) -> io::Result<Self> {
        Ok(Self { file: LogFile::with_limit(path, LIMIT_BYTES)?, entries: Vec::new() })
    }

    /// Logs what was printed just now.
    pub(crate) fn append(&mut self, stream: Stream, printed: &[u8]) -> io::Result<()> {
        self.entries.clear();
        let time = format!("{:.9}", jiff::Timestamp::now());
        entry::write(&mut self.entries, &time, stream, printed);
        self.file.append(&self.entries)
    }
}
