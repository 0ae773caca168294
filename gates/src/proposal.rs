//! What the agent asks of the operator, and what the operator says.
//!
//! ```text
//! proposals/<id>.json      { "version": 1, "id": "3f9a1c2e", "asked": 1790000000, "grant": { "host": { "host": "docs.example.com" } },
//!                            "reason": "cargo fetches the index" }
//! answers/<id>.json        { "version": 1, "id": "3f9a1c2e", "answered": 1790000060, "approved": false, "reason": "not today" }
//! ```

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::file;
use crate::grant::{Grant, Invalid, is_unseen, short_text};

/// The format of both files.
pub const VERSION: u32 = 1;

/// Some sentences.
pub const REASON_CHARS: usize = 1000;

/// How many proposals can wait for an answer at a time: as many as a person reads.
pub const WAITING_MAX: usize = 16;

/// How many files of each kind there can be. The answered ones stay until there are so many.
pub const FILES_MAX: usize = 256;

/// A proposal with everything as long as it may be has less than half of that.
const FILE_BYTES: u64 = 16 * 1024;

/// Something the agent asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    /// [`VERSION`].
    pub version: u32,
    /// See [`is_id`].
    pub id: String,
    /// Seconds since 1970.
    pub asked: u64,
    /// What.
    pub grant: Grant,
    /// Why, on one line.
    pub reason: String,
}

/// What the operator says to a proposal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// [`VERSION`].
    pub version: u32,
    /// The proposal's.
    pub id: String,
    /// Seconds since 1970.
    pub answered: u64,
    /// Yes or no.
    pub approved: bool,
    /// Why, on one line; may be empty.
    pub reason: String,
}

/// Is this the ID of a proposal: eight hexadecimal digits in lower case?
pub fn is_id(text: &str) -> bool {
    text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// A reason on one line: what would not be seen becomes a space.
pub fn one_line(reason: &str) -> String {
    reason.split(is_unseen).map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

impl Proposal {
    /// Refuses what must not be shown or granted.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn check(&self) -> Result<(), Invalid> {
        check(self.version, &self.id)?;
        short_text("reason", &self.reason, REASON_CHARS)?;
        self.grant.check()
    }

    /// The file of the proposal with this ID.
    pub fn path(dir: &Path, id: &str) -> PathBuf {
        dir.join(format!("{id}.json"))
    }

    /// Reads one that somebody else wrote, and checks it.
    ///
    /// # Errors
    /// When it can't be read, or is not what it should be.
    pub fn read(dir: &Path, id: &str) -> io::Result<Self> {
        let proposal: Self = file::read(&Self::path(dir, id), FILE_BYTES)?;
        proposal.check().map_err(invalid)?;
        same_id(id, &proposal.id)?;
        Ok(proposal)
    }
}

impl Answer {
    /// The file of the answer to the proposal with this ID.
    pub fn path(dir: &Path, id: &str) -> PathBuf {
        dir.join(format!("{id}.json"))
    }

    /// Reads one that somebody else wrote, and checks it; nothing if there is none.
    ///
    /// # Errors
    /// When it can't be read, or is not what it should be.
    pub fn read(dir: &Path, id: &str) -> io::Result<Option<Self>> {
        let answer: Self = match file::read(&Self::path(dir, id), FILE_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            answer => answer?,
        };
        check(answer.version, &answer.id).map_err(invalid)?;
        if !answer.reason.is_empty() {
            short_text("reason", &answer.reason, REASON_CHARS).map_err(invalid)?;
        }
        same_id(id, &answer.id)?;
        Ok(Some(answer))
    }
}

fn check(version: u32, id: &str) -> Result<(), Invalid> {
    if version != VERSION {
        return Err(Invalid::new(format!("it is of version {version}, not {VERSION}")));
    }
    if is_id(id) { Ok(()) } else { Err(Invalid::new("its ID is none")) }
}

fn same_id(name: &str, id: &str) -> io::Result<()> {
    if name == id { Ok(()) } else { Err(invalid(Invalid::new("it is named for another ID than its own"))) }
}

fn invalid(error: Invalid) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::grant::Host;

    fn proposal() -> Proposal {
        Proposal {
            version: VERSION,
            id: "3f9a1c2e".to_owned(),
            asked: 1_790_000_000,
            grant: Grant::Host(Host { host: "docs.example.com".to_owned() }),
            reason: "cargo fetches the index".to_owned(),
        }
    }

    #[test]
    fn a_proposal_comes_back_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        file::create(&Proposal::path(dir.path(), "3f9a1c2e"), &proposal()).unwrap();
        assert_eq!(Proposal::read(dir.path(), "3f9a1c2e").unwrap(), proposal());
        assert_eq!(Answer::read(dir.path(), "3f9a1c2f").unwrap(), None);
        assert!(Answer::read(dir.path(), "3f9a1c2e").is_err(), "a proposal is no answer");
    }

    #[test]
    fn a_hostile_proposal_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let long = "x".repeat(REASON_CHARS + 1);
        let bad = [
            Proposal { version: 2, ..proposal() },
            Proposal { id: "00000000".to_owned(), ..proposal() },
            Proposal { reason: "a\u{1b}[2J".to_owned(), ..proposal() },
            Proposal { reason: "a\nb".to_owned(), ..proposal() },
            Proposal { reason: "\u{202e}txet".to_owned(), ..proposal() },
            Proposal { reason: String::new(), ..proposal() },
            Proposal { reason: long, ..proposal() },
            Proposal { grant: Grant::Host(Host { host: "127.0.0.1".to_owned() }), ..proposal() },
        ];
        for bad in bad {
            file::write(&Proposal::path(dir.path(), "3f9a1c2e"), &bad).unwrap();
            assert!(Proposal::read(dir.path(), "3f9a1c2e").is_err(), "{bad:?}");
        }
        fs::write(Proposal::path(dir.path(), "3f9a1c2e"), "{\"version\":1,".repeat(10_000)).unwrap();
        assert!(Proposal::read(dir.path(), "3f9a1c2e").is_err());
    }

    #[test]
    fn ids_are_eight_digits() {
        assert!(is_id("00ff12ab"));
        for bad in ["", "00FF12AB", "00ff12a", "00ff12abc", "../../a", "0000000g", "é00000"] {
            assert!(!is_id(bad), "{bad}");
        }
    }

    #[test]
    fn a_reason_becomes_one_line() {
        assert_eq!(one_line(" a\r\n\tb \u{200b}c\u{1b}[1m "), "a b c [1m");
        assert_eq!(one_line("\n"), "");
    }
}
