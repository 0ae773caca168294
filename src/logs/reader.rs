//! Reads the log, also while it is written.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Entry;
use crate::vm::log_file;

const PIECE_BYTES: usize = 64 * 1024;

/// No entry is longer: a piece of output, and what stands before it. A file with longer lines is not ours.
const LINE_LIMIT_BYTES: usize = 1024 * 1024;

/// A place in a log.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    /// What was not read yet, the oldest first. The last one is the one that is written, or was when it was opened.
    files: Vec<File>,
    /// The beginning of an entry whose end was not there yet.
    cut: Vec<u8>,
}

impl LogReader {
    /// Opens the log at its beginning.
    ///
    /// # Errors
    /// When it can't be opened; [`ErrorKind::NotFound`] when there is none.
    pub fn open(path: &Path) -> io::Result<Self> {
        // The current one first: when it becomes the old one in between, it is met twice, not missed.
        let current = File::open(path)?;
        let old = match File::open(log_file::old(path)) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            old => Some(old?).filter(|old| !is_same(old, &current)),
        };
        Ok(Self { path: path.to_owned(), files: old.into_iter().chain([current]).collect(), cut: Vec::new() })
    }

    /// Reads all entries that are there and were not read before.
    ///
    /// # Errors
    /// When the log can't be read, or `each` fails.
    pub fn read(&mut self, mut each: impl FnMut(Entry) -> io::Result<()>) -> io::Result<()> {
        loop {
            self.read_files(&mut each)?;
            let next = match File::open(&self.path) {
                // It is renamed, and the next one not there yet.
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                next => next?,
            };
            if self.files.last().is_some_and(|last| is_same(last, &next)) {
                return Ok(());
            }
            // What was written to the last one before it was renamed comes first.
            self.files.push(next);
        }
    }

    fn read_files(&mut self, each: &mut impl FnMut(Entry) -> io::Result<()>) -> io::Result<()> {
        let mut piece = vec![0; PIECE_BYTES];
        let last = self.files.len().saturating_sub(1);
        for (index, file) in self.files.iter_mut().enumerate() {
            loop {
                let count = match file.read(&mut piece) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    count => count?,
                };
                if count == 0 {
                    break;
                }
                take(&mut self.cut, &piece[..count], each)?;
            }
            if index < last {
                // Entries are never split between files: this one's writer died in the middle of it.
                self.cut.clear();
            }
        }
        self.files.drain(..last);
        Ok(())
    }
}

/// Passes on the entries that end in `piece`.
fn take(cut: &mut Vec<u8>, piece: &[u8], each: &mut impl FnMut(Entry) -> io::Result<()>) -> io::Result<()> {
    for line in piece.split_inclusive(|byte| *byte == b'\n') {
        cut.extend_from_slice(line);
        if let Some(whole) = cut.strip_suffix(b"\n") {
            let entry = Entry::parse(whole);
            cut.clear();
            entry.map_or(Ok(()), &mut *each)?;
        } else if cut.len() > LINE_LIMIT_BYTES {
            return Err(io::Error::new(ErrorKind::InvalidData, "it is no log of bottle's"));
        }
    }
    Ok(())
}

fn is_same(one: &File, other: &File) -> bool {
    let id = |file: &File| file.metadata().map(|meta| (meta.dev(), meta.ino())).ok();
    id(one).is_some_and(|one| Some(one) == id(other))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::{OutputLog, Stream, output_log};
    use super::*;

    fn read(reader: &mut LogReader) -> Vec<String> {
        let mut lines = Vec::new();
        reader
            .read(|entry| {
                let end = if entry.ends { "|" } else { "" };
                lines.push(format!("{}{end}", String::from_utf8(entry.content).unwrap()));
                Ok(())
            })
            .unwrap();
        lines
    }

    #[test]
    fn a_log_is_read_while_it_is_written_and_across_its_renaming() {
        let dir = tempfile::tempdir().unwrap();
        let path = output_log(dir.path());
        assert_eq!(LogReader::open(&path).unwrap_err().kind(), ErrorKind::NotFound);
        let mut log = OutputLog::append_to(&path).unwrap();
        log.append(Stream::Stdout, b"one\ntw").unwrap();
        let mut reader = LogReader::open(&path).unwrap();
        assert_eq!(read(&mut reader), ["one|", "tw"]);
        assert!(read(&mut reader).is_empty());
        log.append(Stream::Stderr, b"o\n").unwrap();
        std::fs::rename(&path, log_file::old(&path)).unwrap();
        assert_eq!(read(&mut reader), ["o|"]);
        drop(log);
        OutputLog::append_to(&path).unwrap().append(Stream::Stdout, b"three\n").unwrap();
        assert_eq!(read(&mut reader), ["three|"]);
        assert_eq!(read(&mut LogReader::open(&path).unwrap()), ["one|", "tw", "o|", "three|"]);
    }

    #[test]
    fn an_entry_that_is_half_there_waits_for_its_other_half() {
        let dir = tempfile::tempdir().unwrap();
        let path = output_log(dir.path());
        let mut file = File::create(&path).unwrap();
        let mut reader = LogReader::open(&path).unwrap();
        file.write_all(b"T stdout F on").unwrap();
        assert!(read(&mut reader).is_empty());
        file.write_all(b"e\nnonsense\nT stdout").unwrap();
        assert_eq!(read(&mut reader), ["one|"]);
        std::fs::rename(&path, log_file::old(&path)).unwrap();
        std::fs::write(&path, b"T stdout F two\n").unwrap();
        assert_eq!(read(&mut reader), ["two|"]);
    }

    #[test]
    fn a_file_without_lines_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = output_log(dir.path());
        std::fs::write(&path, vec![b'x'; 2 * LINE_LIMIT_BYTES]).unwrap();
        assert!(LogReader::open(&path).unwrap().read(|_| Ok(())).is_err());
    }

    #[test]
    fn a_flood_ends_at_the_limit_and_its_end_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = output_log(dir.path());
        let mut log = OutputLog::append_to(&path).unwrap();
        for _ in 0..640 {
            log.append(Stream::Stdout, &vec![b'x'; 1 << 16]).unwrap();
        }
        log.append(Stream::Stdout, b"\nthe end\n").unwrap();
        let sizes: u64 =
            std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
        assert!(sizes > 16 << 20 && sizes <= 32 << 20, "{sizes} bytes");
        assert_eq!(read(&mut LogReader::open(&path).unwrap()).last().unwrap(), "the end|");
    }
}
