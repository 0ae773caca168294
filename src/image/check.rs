//! Whether an image in the store is still what the import made.
//!
//! Each use looks at what costs nothing: the config's digest, and size and time of `base.ext4` as `record.json` has them
//! ([`glance`]). [`Store::check`] also reads all of `base.ext4` for its checksum, and so does the first import of it after the
//! machine was started anew: a power cut may have taken what was not yet on the disk. A damaged image is nowhere repaired
//! in place: it is not used, and the next import puts a new one there.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::config::ImageId;
use super::error::ImageError;
use super::key::ImageKey;
use super::record::Record;
use super::store::{Store, open_for_use};
use super::work;

/// What is wrong with an image in the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// A file is missing, or can't be read.
    #[error("{file} can't be read: {source}")]
    Unreadable {
        /// Its name in the image's directory.
        file: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The config is another one.
    #[error("config.json was changed: its digest is not the image's ID")]
    Config,
    /// Without its record, nothing is known of what the image was.
    #[error("record.json does not say what base.ext4 is to be")]
    NoRecord,
    /// The base was cut off or grew.
    #[error("base.ext4 has {is} bytes, and had {was} when it was made")]
    Size {
        /// Now.
        is: u64,
        /// After the import.
        was: u64,
    },
    /// Something wrote to the base.
    #[error("base.ext4 was written to after it was made")]
    Touched,
    /// The base holds something else.
    #[error("base.ext4 has not the checksum that it had when it was made")]
    Checksum,
}

/// What of `base.ext4` is seen without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seal {
    bytes: u64,
    /// When it was last written to: seconds since 1970, and nanoseconds.
    modified: (i64, i64),
}

impl Seal {
    pub(super) fn of(base: &Metadata) -> Self {
        Self { bytes: base.len(), modified: (base.mtime(), base.mtime_nsec()) }
    }
}

/// An image that was looked at: its files are there, and nothing is known to be wrong with them.
pub(super) struct Seen {
    pub(super) config_json: Vec<u8>,
    /// `base.ext4`, with the lock of those who use it.
    pub(super) base: File,
    record: Record,
}

/// Looks at the image in `dir`, without reading its base.
pub(super) fn glance(dir: &Path, id: ImageId) -> Result<Seen, Damage> {
    let unreadable = |file| move |source| Damage::Unreadable { file, source };
    let config_json = fs::read(dir.join("config.json")).map_err(unreadable("config.json"))?;
    if ImageId::of(&config_json) != id {
        return Err(Damage::Config);
    }
    let record = Record::read(dir);
    let base = open_for_use(&dir.join("base.ext4")).map_err(unreadable("base.ext4"))?;
    let is = Seal::of(&base.metadata().map_err(unreadable("base.ext4"))?);
    match record.seal {
        None => Err(Damage::NoRecord),
        Some(was) if was.bytes != is.bytes => Err(Damage::Size { is: is.bytes, was: was.bytes }),
        Some(was) if was != is => Err(Damage::Touched),
        Some(_) => {
            let seen = Seen { config_json, base, record };
            if seen.record.is_to_be_proven() { seen.read().map(|()| seen) } else { Ok(seen) }
        }
    }
}

impl Seen {
    /// Of the base, as it is to be.
    pub(super) fn checksum(&self) -> Option<u64> {
        self.record.checksum
    }

    /// Reads all of the base.
    fn read(&self) -> Result<(), Damage> {
        match bottle_ext4::checksum(&self.base) {
            Ok(is) if self.record.checksum == Some(is) => Ok(()),
            Ok(_) => Err(Damage::Checksum),
            Err(source) => Err(Damage::Unreadable { file: "base.ext4", source }),
        }
    }
}

impl Store {
    /// Whether an image is still what the import made, byte for byte: `None`, or what is wrong with it. Waits for an import
    /// or a removal of that image.
    ///
    /// # Errors
    ///
    /// [`ImageError::NotStored`], or when the image can't be locked.
    pub fn check(&self, key: impl Into<ImageKey>) -> Result<Option<Damage>, ImageError> {
        let key = key.into();
        let lock_path = self.lock_path(key);
        let lock = work::lock_file(&lock_path).and_then(|file| work::lock(&file).map(|()| file));
        let lock = lock.map_err(|error| self.io("lock", &lock_path, error))?;
        let dir = self.place(key);
        if !dir.exists() {
            return Err(ImageError::NotStored { name: key.to_string() });
        }
        let seen = glance(&dir, key.id);
        // To read it all takes long, and who wants to use the image need not wait for that.
        drop(lock);
        Ok(seen.and_then(|seen| seen.read()).err())
    }
}
