//! Directories in which imports do their work, and the removal of those that a killed import left.
//!
//! Each holds a file `lock`, locked by the process that works there for as long as it lives. A directory whose lock can be
//! had belongs to nobody any more. `work/.lock` is held while a directory is made and while leftovers are swept, so that
//! one that is just being made is not taken for a leftover.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// A directory that goes with this value, or with the next import if the process does not live to drop it.
pub(crate) struct WorkDir {
    path: PathBuf,
    /// Holds the lock.
    _lock: File,
}

impl WorkDir {
    /// Makes a directory in `parent`, and removes what dead imports left there.
    pub(crate) fn new(parent: &Path) -> io::Result<Self> {
        make_dir(parent)?;
        let guard = lock_file(&parent.join(".lock"))?;
        lock(&guard)?;
        sweep(parent)?;
        let path = tempfile::Builder::new().prefix("import-").rand_bytes(8).tempdir_in(parent)?.keep();
        let own = lock_file(&path.join("lock"))?;
        lock(&own)?;
        Ok(Self { path, _lock: own })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            log::warn!("can't remove {}: {error}", self.path.display());
        }
    }
}

/// Removes what dead imports left in `parent`, unless somebody is just doing that.
pub(crate) fn tidy(parent: &Path) -> io::Result<()> {
    make_dir(parent)?;
    let guard = lock_file(&parent.join(".lock"))?;
    if try_lock(&guard)? { sweep(parent) } else { Ok(()) }
}

/// Removes the directories in `parent` that nobody works in. What can't be removed is left for the next time.
fn sweep(parent: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        let dead = match OpenOptions::new().read(true).open(path.join("lock")) {
            Ok(file) => flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok(),
            // Killed between making the directory and its lock.
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if dead && let Err(error) = fs::remove_dir_all(&path) {
            log::warn!("can't remove {}: {error}", path.display());
        }
    }
    Ok(())
}

/// Makes a directory and its parents for this user alone: images hold files that only their root may read.
pub(crate) fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Opens a file to lock, made if need be. It is never removed: another process might hold the lock of a file that has no
/// name any more.
pub(crate) fn lock_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)
}

/// Waits for the lock. It is released with the file, or with the process.
pub(crate) fn lock(file: &File) -> io::Result<()> {
    loop {
        match flock(file, FlockOperation::LockExclusive) {
            Err(Errno::INTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}

/// Takes the lock if nobody has it.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Takes a lock that others can have too, once nobody has an exclusive one.
pub(crate) fn share(file: &File) -> io::Result<()> {
    loop {
        match flock(file, FlockOperation::LockShared) {
            Err(Errno::INTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_dead_are_swept() {
        let parent = tempfile::tempdir().unwrap();
        let leftover = parent.path().join("import-dead");
        fs::create_dir(&leftover).unwrap();
        fs::write(leftover.join("lock"), b"").unwrap();
        fs::create_dir(parent.path().join("import-unlocked")).unwrap();
        let first = WorkDir::new(parent.path()).unwrap();
        assert!(!leftover.exists());
        let second = WorkDir::new(parent.path()).unwrap();
        assert!(first.path().exists() && second.path().exists());
        drop((first, second));
        let left: Vec<_> = fs::read_dir(parent.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, [".lock"]);
    }
}
