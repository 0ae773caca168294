//! Where the developer commands keep things.
//!
//! ```text
//! $XDG_CACHE_HOME/bottle-dev/      (~/.cache/bottle-dev: shared by all clones)
//!   kernel/VERSION/                the emulated host's kernel, unpacked: boot/vmlinuz-…, lib/modules/…
//!   initramfs/HASH                 its initramfs
//!   kvm-probe                      whether KVM works here, and for which boot that holds
//!   images/NAME-HASH.tar           the images of tests and demo
//!   lock                           held while something of this is being made
//! $XDG_DATA_HOME/bottle/lib/       (~/.local/share/bottle/lib: where `bottle` looks for it)
//!   libkrunfw.so.5
//! ```

use std::{
    env,
    fs::{self, File},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use rustix::fs::FlockOperation;

use crate::error::{Context, Error, Result};

/// The cache directory, made if it is not there.
pub(crate) fn cache_dir() -> Result<PathBuf> {
    let dir = base("XDG_CACHE_HOME", ".cache")?.join("bottle-dev");
    make_dir(&dir)?;
    Ok(dir)
}

/// The directory in which `bottle` looks for its libkrunfw.
pub(crate) fn library_dir() -> Result<PathBuf> {
    Ok(base("XDG_DATA_HOME", ".local/share")?.join("bottle/lib"))
}

/// This program's file. A build that this program has run may have replaced it: then it is the one that took its place.
pub(crate) fn this_program() -> Result<PathBuf> {
    let path = env::current_exe().doing("find this program")?;
    // What Linux puts behind the path of a file that is gone (proc(5)).
    let gone = path.to_str().and_then(|path| path.strip_suffix(" (deleted)"));
    Ok(gone.map(PathBuf::from).unwrap_or(path))
}

/// The root of this checkout.
pub(crate) fn workspace() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// Makes a directory and its parents; one that exists is all right.
pub(crate) fn make_dir(dir: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(dir).file("create", dir)
}

/// Holds the cache's lock until the returned file is dropped, so that two commands never make the same thing.
pub(crate) fn lock_cache() -> Result<File> {
    let path = cache_dir()?.join("lock");
    let file = File::create(&path).file("open", &path)?;
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        eprintln!("xtask: waiting for another xtask that holds {}", path.display());
        rustix::fs::flock(&file, FlockOperation::LockExclusive).file("lock", &path)?;
    }
    Ok(file)
}

fn base(variable: &str, below_home: &str) -> Result<PathBuf> {
    // The XDG specification says that a relative path there is to be ignored.
    match env::var_os(variable).map(PathBuf::from) {
        Some(dir) if dir.is_absolute() => Ok(dir),
        _ => env::home_dir()
            .filter(|home| home.is_absolute())
            .map(|home| home.join(below_home))
            .ok_or_else(|| Error::other(format!("neither {variable} nor HOME names a directory"))),
    }
}
