//! What is noted beside an image: where it came from, when, and what the import changed.
//!
//! ```text
//! record.json    Record; written before the image is in its place, replaced as a whole when a further source is noted
//! used           empty; its time of modification is that of the last use
//! ```

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::build::Built;
use super::check::Seal;
use super::sys;

const RECORD: &str = "record.json";
const NEW_RECORD: &str = "record.json.new";
const USED: &str = "used";

/// More sources of one image than this are not noted: what is newest is known.
const MAX_SOURCES: usize = 64;

/// See the module. A field that an older version did not write has its default.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Record {
    /// Where it was imported from, in the words of the command line; the newest is last.
    pub(super) sources: Vec<String>,
    /// Seconds since 1970.
    pub(super) imported: u64,
    /// One line for each thing in the image that the import changed.
    pub(super) fixups: Vec<String>,
    /// Of `base.ext4`, as [`bottle_ext4::checksum`] has it.
    pub(super) checksum: Option<u64>,
    /// Of `base.ext4`, as it was put into its place.
    pub(super) seal: Option<Seal>,
    /// The run of the machine in which all this was written; none once it was read back in a later one. What is written goes
    /// to the disk when the system likes, so a power cut may take of it.
    pub(super) unproven_since: Option<String>,
}

impl Record {
    pub(super) fn new(source: &str, built: Built, seal: Option<Seal>) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let Built { fixups, checksum } = built;
        Self {
            sources: vec![source.to_owned()],
            imported: now.as_secs(),
            fixups,
            checksum: Some(checksum),
            seal,
            unproven_since: sys::boot_id(),
        }
    }

    /// Whether the machine was started anew since the image was made, and the image not read since.
    pub(super) fn is_to_be_proven(&self) -> bool {
        self.unproven_since.is_some() && self.unproven_since != sys::boot_id()
    }

    /// What is noted in an image's directory: nothing, if that can't be read.
    pub(super) fn read(dir: &Path) -> Self {
        let bytes = std::fs::read(dir.join(RECORD)).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// Replaces what is noted.
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        // Always the same name, so that what a killed process leaves is used up by the next one. Each has the image's lock.
        let new = dir.join(NEW_RECORD);
        serde_json::to_writer(File::create(&new)?, self)?;
        std::fs::rename(new, dir.join(RECORD))
    }

    /// Puts a source last. Tells whether that changed anything.
    pub(super) fn add_source(&mut self, source: &str) -> bool {
        if self.sources.last().is_some_and(|last| last == source) {
            return false;
        }
        self.sources.retain(|known| known != source);
        self.sources.push(source.to_owned());
        let surplus = self.sources.len().saturating_sub(MAX_SOURCES);
        self.sources.drain(..surplus);
        true
    }

    pub(super) fn imported(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
            .checked_add(Duration::from_secs(self.imported))
            .unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// Notes that the image in this directory is used now.
pub(super) fn touch(dir: &Path) -> io::Result<()> {
    File::create(dir.join(USED))?.set_modified(SystemTime::now())
}

/// When the image in this directory was last used.
pub(super) fn last_used(dir: &Path) -> Option<SystemTime> {
    std::fs::metadata(dir.join(USED)).and_then(|meta| meta.modified()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_source_is_last_and_each_is_noted_once() {
        let mut record = Record::new("a", Built { fixups: Vec::new(), checksum: 1 }, None);
        assert!(!record.add_source("a"));
        assert!(record.add_source("b") && record.add_source("a"));
        assert_eq!(record.sources, ["b", "a"]);
        assert!((0..2 * MAX_SOURCES).all(|n| record.add_source(&n.to_string())));
        assert_eq!(record.sources.len(), MAX_SOURCES);
        assert_eq!(record.sources.last().unwrap(), "127");
    }

    #[test]
    fn a_record_that_cannot_be_read_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Record::read(dir.path()), Record::default());
        std::fs::write(dir.path().join(RECORD), b"{").unwrap();
        assert_eq!(Record::read(dir.path()), Record::default());
        let record = Record::new(
            "docker-daemon:x",
            Built { fixups: vec!["/tmp: 1777".to_owned()], checksum: u64::MAX },
            Some(Seal::of(&dir.path().metadata().unwrap())),
        );
        record.write(dir.path()).unwrap();
        assert_eq!(Record::read(dir.path()), record);
    }
}
