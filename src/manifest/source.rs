//! A file of a manifest, read once and with limits, and where something stands in it.
//!
//! What is read may be anybody's, a repository that was just cloned for one: a pipe, a device, gigabytes, no text.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::error::FileError;

/// Hundreds of hosts and dozens of bottles are some tens of KiB.
const MOST_BYTES: u64 = 256 * 1024;

/// What is shown of a line: it fits into a terminal's.
const SHOWN_CHARS: usize = 120;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct SourceFile {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// Where something stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The file.
    pub path: PathBuf,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// That line, fit for a terminal.
    pub text: String,
}

impl SourceFile {
    /// Nothing if there is no such file.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, FileError> {
        let failed = |source| FileError::Read { path: path.to_owned(), source };
        // A pipe must not make us wait for who writes it.
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(FileError::NoFile { path: path.to_owned() });
        }
        let mut bytes = Vec::new();
        file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > MOST_BYTES {
            return Err(FileError::TooLarge { path: path.to_owned(), most_kib: MOST_BYTES / 1024 });
        }
        let text = String::from_utf8(bytes).map_err(|error| FileError::NoText {
            path: path.to_owned(),
            line: 1 + error.as_bytes()[..error.utf8_error().valid_up_to()]
                .iter()
                .filter(|b| **b == b'\n')
                .count(),
        })?;
        Ok(Some(Self { path: path.to_owned(), text }))
    }

    /// Where this byte stands. One in the middle of a character counts as that character, one behind the end as the end.
    pub(super) fn position(&self, byte: usize) -> Position {
        let mut byte = byte.min(self.text.len());
        while !self.text.is_char_boundary(byte) {
            byte -= 1;
        }
        let before = &self.text[..byte];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        self.position_at(line, column)
    }

    /// The same, by line and column.
    pub(super) fn position_at(&self, line: usize, column: usize) -> Position {
        let text = self.text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
        // One character for one, so that the column stays right.
        let shown = text.chars().take(SHOWN_CHARS).map(|c| if printable(c) { c } else { ' ' }).collect();
        Position { path: self.path.clone(), line, column, text: shown }
    }

    /// An error there.
    pub(super) fn wrong(&self, at: Range<usize>, what: impl Into<String>, hint: &str) -> FileError {
        FileError::wrong(self.position(at.start), what, hint)
    }
}

/// Is it a character that does nothing to a terminal but appear? `Debug` knows which are not: controls, and those that change
/// the direction of writing.
fn printable(c: char) -> bool {
    c == '\'' || c == '"' || c == '\\' || c.escape_debug().count() == 1
}

/// A word of a file, for a terminal: as it is if it is a word, else in quotes and with everything unusual escaped.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,*~#".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("{word:?}") }
}

/// `FILE:LINE:COLUMN`.
impl fmt::Display for Position {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}:{}", quoted(&self.path.to_string_lossy()), self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> Result<Option<SourceFile>, FileError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bottle.toml");
        std::fs::write(&path, bytes).unwrap();
        SourceFile::read(&path)
    }

    #[test]
    fn what_is_no_reasonable_text_file_is_refused() {
        assert!(SourceFile::read(Path::new("/nonexistent/bottle.toml")).unwrap().is_none());
        assert!(matches!(SourceFile::read(Path::new("/")), Err(FileError::NoFile { .. })));
        assert!(matches!(SourceFile::read(Path::new("/dev/zero")), Err(FileError::NoFile { .. })));
        assert!(matches!(file(b"a\nb\n\xff"), Err(FileError::NoText { line: 3, .. })));
        assert!(matches!(file(&vec![b' '; 1 << 20]), Err(FileError::TooLarge { .. })));
        assert_eq!(file(b"").unwrap().unwrap().text, "");
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert!(matches!(SourceFile::read(&pipe), Err(FileError::NoFile { .. })));
    }

    #[test]
    fn a_position_is_in_characters_and_its_line_harmless() {
        let file = file("a\nbäc \u{1b}[2J\u{202e}x".as_bytes()).unwrap().unwrap();
        let at = |byte| {
            let position = file.position(byte);
            (position.line, position.column)
        };
        assert_eq!([at(0), at(2), at(4), at(5), at(999)], [(1, 1), (2, 1), (2, 2), (2, 3), (2, 11)]);
        assert_eq!(file.position(2).text, "bäc  [2J x");
    }

    #[test]
    fn words_that_are_more_than_words_are_quoted() {
        assert_eq!(quoted("git@example.com:a/b.git"), "git@example.com:a/b.git");
        assert_eq!(quoted("a b\u{1b}\u{202e}"), r#""a b\u{1b}\u{202e}""#);
        assert_eq!(quoted(""), r#""""#);
    }
}
