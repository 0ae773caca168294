//! The directory of one run, in the temporary directory: the console's log, QEMU's, and a copy of this program.
//!
//! It is removed when the run ends. A run that was killed outright (SIGKILL) cannot do that, so each holds a lock on its
//! directory, and the next one removes those that nobody holds.

use std::{
    fs::{self, File},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::FlockOperation;

use crate::error::{Context, Error, Result};

const PREFIX: &str = "bottle-kvm-";

/// A run's own directory; removed when dropped.
pub(crate) struct RunDir {
    path: PathBuf,
    _lock: File,
}

impl RunDir {
    /// Makes the directory, and removes those that killed runs have left.
    pub(crate) fn new() -> Result<Self> {
        let temporary = std::env::temp_dir();
        sweep(&temporary);
        // The process id is enough: a directory of an earlier process with this id has just been swept, unless it is
        // someone else's, and then we must not use it.
        let path = temporary.join(format!("{PREFIX}{}", std::process::id()));
        if path.as_os_str().as_encoded_bytes().iter().any(|byte| byte.is_ascii_whitespace() || *byte == b',')
        {
            // It is named on a kernel's command line and in QEMU's options.
            return Err(Error::other(format!(
                "{}: the temporary directory's name may hold no space or comma",
                path.display()
            )));
        }
        fs::DirBuilder::new().mode(0o700).create(&path).file("create", &path)?;
        let lock = File::open(&path).file("open", &path)?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).file("lock", &path)?;
        Ok(Self { path, _lock: lock })
    }

    /// A path in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Puts a copy of this program there, so that a build that replaces it meanwhile does not change what runs.
    pub(crate) fn copy_of_this_program(&self) -> Result<PathBuf> {
        let copy = self.join("xtask");
        // Through /proc, which leads to the program even when its name has gone.
        fs::copy("/proc/self/exe", &copy).file("copy xtask to", &copy)?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).file("make executable", &copy)?;
        Ok(copy)
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("xtask: remove {}: {error}", self.path.display());
        }
    }
}

fn sweep(temporary: &Path) {
    let Ok(entries) = fs::read_dir(temporary) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(owner) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        // A process that lives may be about to lock what it has just made.
        if Path::new("/proc").join(owner).exists() {
            continue;
        }
        let Ok(dir) = File::open(entry.path()) else { continue };
        if rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // What cannot be removed is another user's, or being removed by another run.
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}
