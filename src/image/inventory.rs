//! What is in the store: listed, found by name, removed.
//!
//! An image is in use while somebody has a shared lock on its `base.ext4`: every [`Image`](super::Image) has one, so a
//! bottle has it for as long as it lives. Bottles that are kept have it pinned beyond that ([`pin`](super::pin)). Who removes an image has an exclusive one, and the import's lock too, so that
//! nobody is just making it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};

use super::config::{ImageConfig, ImageId};
use super::error::ImageError;
use super::key::ImageKey;
use super::record::{self, Record};
use super::registry::Reference;
use super::store::Store;
use super::work;

/// The shortest part of an ID that names an image.
const SHORTEST_PREFIX: usize = 4;

/// An image in the store, as far as its directory tells.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Stored {
    /// The digest of its config, and in which form it is there.
    pub key: ImageKey,
    /// What its config says; none if that is damaged.
    pub config: Option<ImageConfig>,
    /// Where it was imported from, in the words of the command line; the newest is last.
    pub sources: Vec<String>,
    /// When it was imported.
    pub imported: SystemTime,
    /// When a bottle was last started from it, or when it was last imported.
    pub last_used: SystemTime,
    /// What it takes on the host's disk, in bytes.
    pub disk_bytes: u64,
    /// The size of the file system in it, in bytes.
    pub nominal_bytes: u64,
    /// Of the file system's image, as [`bottle_ext4::checksum`] had it when it was made; none if that is not known any more.
    pub checksum: Option<u64>,
    /// What the import changed in it, a line each.
    pub fixups: Vec<String>,
    /// A bottle uses it, or an import is about to.
    pub in_use: bool,
    /// The names of the bottles that are kept and have their disk over it.
    pub bottles: Vec<String>,
}

impl Store {
    /// All images, the one used last first.
    ///
    /// # Errors
    ///
    /// When the store can't be read.
    pub fn list(&self) -> Result<Vec<Stored>, ImageError> {
        let read = |error| self.io("read", self.images(), error);
        let mut all = Vec::new();
        for entry in fs::read_dir(self.images()).map_err(read)? {
            let name = entry.map_err(read)?.file_name();
            let Some(key) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            // One that is removed meanwhile is not there.
            all.extend(self.look_at(key));
        }
        all.sort_by(|a, b| b.last_used.cmp(&a.last_used).then(a.key.cmp(&b.key)));
        Ok(all)
    }

    /// The image that `name` means: its ID or the beginning of it, or a source that it was imported from.
    ///
    /// # Errors
    ///
    /// [`ImageError::NotStored`], or [`ImageError::Ambiguous`].
    pub fn find(&self, name: &str) -> Result<Stored, ImageError> {
        let all = self.list()?;
        let short = name.strip_prefix("sha256:").unwrap_or(name);
        let by_id = |image: &&Stored| {
            short.len() >= SHORTEST_PREFIX && image.key.to_string().starts_with(&short.to_ascii_lowercase())
        };
        // A tag moves on: what came from there last is what is meant.
        let by_source = |image: &&Stored| image.sources.iter().any(|source| is_source(source, name));
        let mut fitting: Vec<&Stored> = all.iter().filter(by_id).collect();
        // Of the two forms of one image, the usual one.
        if let [one, other] = fitting[..]
            && one.key.id == other.key.id
        {
            fitting.retain(|image| image.key.fixups);
        }
        match (&fitting[..], all.iter().filter(by_source).max_by_key(|image| image.imported)) {
            ([one], _) => Ok((*one).clone()),
            ([], Some(image)) => Ok(image.clone()),
            ([], None) => Err(ImageError::NotStored { name: name.to_owned() }),
            (several, _) => Err(ImageError::Ambiguous {
                name: name.to_owned(),
                ids: several.iter().map(|image| image.key.to_string()).collect(),
            }),
        }
    }

    /// Removes an image, and returns how many bytes of the disk that frees.
    ///
    /// # Errors
    ///
    /// [`ImageError::InUse`] or [`ImageError::Kept`]; then, and when the system refuses, all of the image is still there.
    pub fn remove(&self, key: impl Into<ImageKey>) -> Result<u64, ImageError> {
        let key = key.into();
        let dir = self.place(key);
        let in_use = || ImageError::InUse { id: key.to_string() };
        let lock_path = self.lock_path(key);
        let lock = work::lock_file(&lock_path).map_err(|error| self.io("lock", &lock_path, error))?;
        if !work::try_lock(&lock).map_err(|error| self.io("lock", &lock_path, error))? {
            return Err(in_use());
        }
        if !dir.exists() {
            return Err(ImageError::NotStored { name: key.to_string() });
        }
        let base = File::open(dir.join("base.ext4"));
        if let Ok(base) = &base
            && !work::try_lock(base).map_err(|error| self.io("lock", &dir, error))?
        {
            return Err(in_use());
        }
        // Nobody has it in hand, so nobody is just pinning it.
        let bottles = self.kept_by(key).map_err(|error| self.io("read", &self.pins(key), error))?;
        if !bottles.is_empty() {
            return Err(ImageError::Kept { id: key.to_string(), bottles });
        }
        let freed = disk_bytes(&dir);
        // Out of its place in one step; what then stops us leaves only what the next import sweeps.
        let work = self.work_dir()?;
        fs::rename(&dir, work.path().join("removed")).map_err(|error| self.io("remove", &dir, error))?;
        self.forget_daemon_notes(key);
        drop((base, lock));
        Ok(freed)
    }

    /// Removes every image that nobody uses or keeps and that was not used for at least `unused_for`, and what dead imports left.
    /// Returns what was removed, each with the bytes that it freed.
    ///
    /// # Errors
    ///
    /// When one can't be removed; those before it are gone.
    pub fn prune(&self, unused_for: Duration) -> Result<Vec<(ImageKey, u64)>, ImageError> {
        drop(self.work_dir()?);
        let mut removed = Vec::new();
        for image in self.list()? {
            // A clock that was set back makes an image new.
            if image.last_used.elapsed().unwrap_or_default() < unused_for {
                continue;
            }
            match self.remove(image.key) {
                Ok(freed) => removed.push((image.key, freed)),
                Err(ImageError::InUse { .. } | ImageError::Kept { .. } | ImageError::NotStored { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }

    fn look_at(&self, key: ImageKey) -> Option<Stored> {
        let dir = self.place(key);
        let made = fs::metadata(&dir).ok()?.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let record = Record::read(&dir);
        let base = File::open(dir.join("base.ext4"));
        let in_use = base.as_ref().is_ok_and(|base| !could_lock(base));
        let config = fs::read(dir.join("config.json")).ok().filter(|json| ImageId::of(json) == key.id);
        Some(Stored {
            key,
            config: config.and_then(|json| ImageConfig::parse(&json).ok()),
            imported: if record.imported == 0 { made } else { record.imported() },
            last_used: record::last_used(&dir).unwrap_or(made),
            disk_bytes: disk_bytes(&dir),
            nominal_bytes: base.and_then(|base| base.metadata()).map_or(0, |meta| meta.len()),
            sources: record.sources,
            checksum: record.checksum,
            fixups: record.fixups,
            in_use,
            bottles: self.kept_by(key).unwrap_or_default(),
        })
    }

    /// What leads from a daemon's own IDs to an image that is gone.
    fn forget_daemon_notes(&self, key: ImageKey) {
        if self.place(ImageKey { fixups: !key.fixups, ..key }).exists() {
            return;
        }
        let Ok(notes) = fs::read_dir(self.images().join("daemon")) else { return };
        for note in notes.flatten() {
            let noted = fs::read_to_string(note.path()).ok().and_then(|noted| noted.trim().parse().ok());
            let leads_here = noted == Some(key.id);
            if leads_here && let Err(error) = fs::remove_file(note.path()) {
                log::warn!("can't remove {}: {error}", note.path().display());
            }
        }
    }
}

/// `docker-daemon:debian:12` and `docker://docker.io/library/debian:12` are meant by `debian:12` too, and
/// `docker-archive:/a/b.tar` by `/a/b.tar`.
fn is_source(source: &str, name: &str) -> bool {
    if let Some(reference) = source.strip_prefix("docker://") {
        let name = name.strip_prefix("docker://").unwrap_or(name);
        return name.parse::<Reference>().is_ok_and(|name| name.to_string() == reference);
    }
    let bare = ["docker-daemon:", "docker-archive:", "oci-archive:", "oci:"]
        .iter()
        .find_map(|transport| source.strip_prefix(transport));
    source == name || bare.is_some_and(|bare| bare == name)
}

/// Whether nobody has a lock on it. Ours is given back at once.
fn could_lock(file: &File) -> bool {
    work::try_lock(file).is_ok_and(|locked| {
        if locked {
            flock(file, FlockOperation::Unlock).unwrap_or_default();
        }
        locked
    })
}

/// What the files of a directory take on the disk. They are sparse.
fn disk_bytes(dir: &Path) -> u64 {
    let sum = || -> io::Result<u64> {
        let mut bytes = 0;
        for entry in fs::read_dir(dir)? {
            bytes += entry?.metadata()?.blocks() * 512;
        }
        Ok(bytes)
    };
    sum().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_known_with_and_without_its_transport() {
        assert!(is_source("docker-daemon:debian:12", "debian:12"));
        assert!(is_source("docker-daemon:debian:12", "docker-daemon:debian:12"));
        assert!(is_source("oci:/a:b", "/a:b"));
        assert!(!is_source("docker-daemon:debian:12", "debian"));
        let hub = "docker://docker.io/library/debian:latest";
        assert!(["debian", "docker://debian", hub].iter().all(|name| is_source(hub, name)));
        assert!(!is_source(hub, "debian:12") && !is_source(hub, "/a/b.tar"));
    }
}
