//! The directory of a bottle, in the hands of the process that runs or removes it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::find::slugs;
use super::{StateError, check_slug, lock, slug, state_root};

/// How often another random slug is tried before giving up: with 65,536 of them, only a full state directory
/// gets there.
const SLUG_TRIES: u32 = 64;

/// The directory of one bottle, and the lock that says that it lives. Dropping it removes both.
#[derive(Debug)]
pub struct StateDir {
    slug: String,
    root: PathBuf,
    path: PathBuf,
    /// Held until the directory is gone.
    _lock: File,
}

impl StateDir {
    /// Makes the directory of a new bottle: `name` if given, else `prefix` and four random hexadecimal digits.
    pub fn create(name: Option<&str>, prefix: &str) -> Result<Self, StateError> {
        let root = state_root()?;
        make_private_dir(&root)?;
        if let Some(name) = name {
            check_slug(name)?;
            return Self::claim(&root, name);
        }
        let mut tries = 0;
        loop {
            match Self::claim(&root, &slug::random(prefix)) {
                Err(StateError::Taken { .. }) if tries < SLUG_TRIES => tries += 1,
                result => return result,
            }
        }
    }

    pub(super) fn claim(root: &Path, slug: &str) -> Result<Self, StateError> {
        let _root_lock = lock::change(root)?;
        let path = root.join(slug);
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(StateError::Taken { slug: slug.to_owned() });
            }
            made => made.map_err(StateError::io("create", &path))?,
        }
        match lock::take(&path) {
            Ok(Some(lock)) => Ok(Self { slug: slug.to_owned(), root: root.to_owned(), path, _lock: lock }),
            Ok(None) => Err(StateError::Taken { slug: slug.to_owned() }),
            Err(error) => {
                // Nothing is in it yet, and the first error is the one to report.
                fs::remove_dir_all(&path).unwrap_or_default();
                Err(error)
            }
        }
    }

    /// The bottle's name.
    pub fn slug(&self) -> &str {
        &self.slug
    }

    /// The directory of all bottles.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The bottle's own directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the directory, and says what went wrong.
    pub fn remove(self) -> Result<(), StateError> {
        self.remove_all()
    }

    /// The lock goes last, so that what is left of an interrupted removal is a dead bottle like any other.
    fn remove_all(&self) -> Result<(), StateError> {
        let mut first = Ok(());
        let mut note = |action, path: &Path, result: io::Result<()>| match result {
            Err(error) if error.kind() != io::ErrorKind::NotFound && first.is_ok() => {
                first = Err(StateError::io(action, path)(error));
            }
            _ => {}
        };
        match fs::read_dir(&self.path) {
            Ok(entries) => {
                for entry in entries.flatten().filter(|entry| !lock::is_lock(&entry.file_name())) {
                    let path = entry.path();
                    let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
                    let removed = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                    note("remove", &path, removed);
                }
            }
            Err(error) => note("read", &self.path, Err(error)),
        }
        let _root_lock = lock::change(&self.root)?;
        if self.path.exists() {
            note("remove", &self.path, lock::remove(&self.path).and_then(|()| fs::remove_dir(&self.path)));
        }
        first
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        if let Err(error) = self.remove_all() {
            log::warn!("{error}");
        }
    }
}

/// The dead bottles: directories whose lock nobody holds. Each one comes with its lock taken; dropping it removes it.
pub fn dead() -> Result<Vec<StateDir>, StateError> {
    let root = state_root()?;
    if !root.exists() {
        return Ok(Vec::new());
    }
    let _root_lock = lock::change(&root)?;
    let mut found = Vec::new();
    for slug in slugs(&root)? {
        let path = root.join(&slug);
        if let Some(lock) = lock::take(&path)? {
            found.push(StateDir { slug, root: root.clone(), path, _lock: lock });
        }
    }
    Ok(found)
}

/// Makes a directory that only its owner may look into, and its parents.
fn make_private_dir(path: &Path) -> Result<(), StateError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(StateError::io("create", path))
}

#[cfg(test)]
mod tests {
    use super::super::is_alive;
    use super::*;

    #[test]
    fn a_name_is_taken_once_and_free_again_after_removal() {
        let root = tempfile::tempdir().unwrap();
        let first = StateDir::claim(root.path(), "one").unwrap();
        assert!(matches!(StateDir::claim(root.path(), "one"), Err(StateError::Taken { .. })));
        assert!(is_alive(root.path(), "one"));
        fs::create_dir(first.path().join("dir")).unwrap();
        fs::write(first.path().join("dir/file"), b"").unwrap();
        first.remove().unwrap();
        assert!(!is_alive(root.path(), "one"));
        drop(StateDir::claim(root.path(), "one").unwrap());
        assert!(!root.path().join("one").exists());
    }
}
