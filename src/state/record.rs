//! `bottle.json`: what was launched, and how it stands.
//!
//! It is written by the process that has the bottle's lock, always as a whole: a reader sees the old one or the new one,
//! whatever crashed. What it says of the bottle's state is true together with the lock only ([`Life`]): a record that says
//! `running` beside a lock that is free is that of a bottle that crashed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::plan::Plan;
use crate::vm::AllowRule;

const FILE: &str = "bottle.json";
const NEW_FILE: &str = "bottle.json.new";

/// Of the format. A record of a later one is left alone by everything here.
const VERSION: u32 = 1;

/// A plan holds a command line and an environment, and Linux bounds those at 6 MiB; in JSON, a byte is at most four.
const LIMIT_BYTES: u64 = 32 * 1024 * 1024;

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    version: u32,
    /// What was launched, with the name that the bottle has.
    pub plan: Plan,
    /// What the disk lies over, once that is known.
    pub base: Option<Base>,
    /// What the guest may connect to, its bundle included, once that is known. Older records don't say.
    #[serde(default)]
    pub allowed: Option<Vec<AllowRule>>,
    /// When the bottle was made, in seconds since 1970.
    pub created: u64,
    /// Its process has run, in this launch or an earlier one: before that, there is nothing on its disk to keep.
    pub has_run: bool,
    /// How it stood when this was written.
    pub status: Status,
}

/// The image below a bottle's disk. Over any other, the disk would be garbage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// The image in the store, as [`ImageKey`](crate::image::ImageKey) is written.
    pub key: String,
    /// Its `base.ext4`.
    pub path: PathBuf,
    /// What `base.ext4` holds, as [`bottle_ext4::checksum`] has it.
    pub checksum: Option<u64>,
}

/// How a bottle stands. Times are in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Status {
    /// Its process does not run yet.
    Starting,
    /// Its process runs.
    Running {
        /// From when on.
        since: u64,
    },
    /// Its process has ended.
    Ended {
        /// How.
        outcome: Outcome,
        /// When.
        at: u64,
    },
}

/// How a bottle's process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// By itself, with this code.
    Code(u8),
    /// By a signal, with Linux's number.
    Signal(u32),
    /// With its VM, or not seen by us: why.
    Failed(String),
}

/// Why there is no record.
#[derive(Debug, thiserror::Error)]
pub enum NoRecord {
    /// It is missing, or garbled: nothing is known of the bottle.
    #[error("{} can't be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A later version of `bottle` wrote it.
    #[error("{} is of version {version}, and this bottle knows {VERSION}", path.display())]
    Later {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
}

/// Enough to tell which version it is.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

impl Record {
    /// That of a bottle that is just being made.
    pub fn new(plan: Plan) -> Self {
        Self {
            version: VERSION,
            plan,
            base: None,
            allowed: None,
            created: now(),
            has_run: false,
            status: Status::Starting,
        }
    }

    /// Reads that of the bottle in this directory.
    ///
    /// # Errors
    /// See [`NoRecord`].
    pub fn read(dir: &Path) -> Result<Self, NoRecord> {
        let path = dir.join(FILE);
        let read = || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            File::open(&path)?.take(LIMIT_BYTES).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let unreadable = |source| NoRecord::Unreadable { path: path.clone(), source };
        let json = read().map_err(unreadable)?;
        match serde_json::from_slice(&json) {
            Ok(Version { version }) if version > VERSION => Err(NoRecord::Later { path, version }),
            _ => serde_json::from_slice(&json).map_err(|error| unreadable(error.into())),
        }
    }

    /// Replaces that of the bottle in this directory, whose lock the caller has. That of a kept bottle is on the disk when this
    /// returns; any other is of no use after a power cut.
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        // Always the same name, so that what a killed process left is used up by the next one.
        let new = dir.join(NEW_FILE);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        if self.plan.keep {
            file.sync_all()?;
        }
        fs::rename(new, dir.join(FILE))?;
        if self.plan.keep { File::open(dir)?.sync_all() } else { Ok(()) }
    }

    /// Removes that of the bottle in this directory.
    pub(super) fn remove(dir: &Path) -> io::Result<()> {
        fs::remove_file(dir.join(FILE))
    }
}

/// Seconds since 1970. A clock before that counts as there.
pub fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// How a bottle stands, by its record and its lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Life {
    /// Image, bundle or VM are being made ready.
    Starting,
    /// Its process runs, since then.
    Running {
        /// In seconds since 1970.
        since: u64,
    },
    /// Its process has ended, and what was around it is being taken away.
    Ending,
    /// It does not live, and all about it was orderly.
    Ended {
        /// How its process ended.
        outcome: Outcome,
        /// When, in seconds since 1970.
        at: u64,
    },
    /// It does not live, and nobody saw it end.
    Crashed,
}

impl Life {
    /// Puts the two together. Somebody who has the lock and has written nothing yet is just starting.
    pub(super) fn of(alive: bool, record: Option<&Record>) -> Self {
        match (alive, record.map(|record| &record.status)) {
            (true, None | Some(Status::Starting)) => Self::Starting,
            (true, Some(Status::Running { since })) => Self::Running { since: *since },
            (true, Some(Status::Ended { .. })) => Self::Ending,
            (false, Some(Status::Ended { outcome, at })) => Self::Ended { outcome: outcome.clone(), at: *at },
            (false, _) => Self::Crashed,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::image::ImportOptions;
    use crate::plan::{Machine, Process, Provide};

    pub(crate) fn plan(keep: bool) -> Plan {
        Plan {
            name: Some("one".to_owned()),
            image: "docker-daemon:debian".parse().unwrap(),
            import: ImportOptions::default(),
            machine: Machine::default(),
            allow: Vec::new(),
            bundle: None,
            process: Process::default(),
            provide: Provide::default(),
            called: None,
            keep,
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_garbled_ones_are_told_from_later_ones() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Record::read(dir.path()), Err(NoRecord::Unreadable { .. })));
        for keep in [true, false] {
            let mut record = Record::new(plan(keep));
            record.status = Status::Ended { outcome: Outcome::Signal(9), at: 5 };
            record.write(dir.path()).unwrap();
            let again = Record::read(dir.path()).unwrap();
            assert_eq!((again.plan.keep, again.created, again.status), (keep, record.created, record.status));
        }
        assert!(!dir.path().join(NEW_FILE).exists());
        let file = dir.path().join(FILE);
        let json = fs::read(&file).unwrap();
        for end in 0..json.len() {
            fs::write(&file, &json[..end]).unwrap();
            assert!(matches!(Record::read(dir.path()), Err(NoRecord::Unreadable { .. })), "cut at {end}");
        }
        fs::write(&file, br#"{"version": 2, "whatever": []}"#).unwrap();
        assert!(matches!(Record::read(dir.path()), Err(NoRecord::Later { version: 2, .. })));
    }

    #[test]
    fn the_lock_says_whether_a_record_is_to_be_believed() {
        let mut record = Record::new(plan(true));
        assert_eq!(Life::of(true, None), Life::Starting);
        assert_eq!(Life::of(false, None), Life::Crashed);
        assert_eq!(Life::of(true, Some(&record)), Life::Starting);
        assert_eq!(Life::of(false, Some(&record)), Life::Crashed);
        record.status = Status::Running { since: 7 };
        assert_eq!(Life::of(true, Some(&record)), Life::Running { since: 7 });
        assert_eq!(Life::of(false, Some(&record)), Life::Crashed);
        record.status = Status::Ended { outcome: Outcome::Code(3), at: 8 };
        assert_eq!(Life::of(true, Some(&record)), Life::Ending);
        assert_eq!(Life::of(false, Some(&record)), Life::Ended { outcome: Outcome::Code(3), at: 8 });
    }
}
