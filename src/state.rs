//! Where things lie on disk.
//!
//! ```text
//! $BOTTLE_STATE_DIR, or $XDG_STATE_HOME/bottle, or ~/.local/state/bottle        0700
//! └── <slug>/                     one bottle                                       0700
//!     ├── lock                    held (flock) by the process that runs the bottle, so that a
//!     │                           lock that is free is a bottle that is dead, whatever crashed
//!     ├── disk.qcow2              what the guest changed, over the image's base.ext4
//!     ├── agent.sock              the guest agent (the VMM listens)                0600
//!     ├── ready.sock              where the guest says, once, that it is up        0600
//!     ├── console.log             what the guest's kernel and init print
//!     └── vmm.log                 what libkrun prints
//!
//! $BOTTLE_CACHE_DIR, or $XDG_CACHE_HOME/bottle, or ~/.cache/bottle
//! └── images/                     see `image`
//!
//! $XDG_DATA_HOME/bottle, or ~/.local/share/bottle
//! └── lib/libkrunfw.so.5          the guest kernel, see `vm::kernel`
//! ```

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// The longest slug: a host name's label is no longer, and the guest's host name is the slug.
const SLUG_LIMIT_BYTES: usize = 63;

/// How often another random slug is tried before giving up: with 65,536 of them, only a full state directory
/// gets there.
const SLUG_TRIES: u32 = 64;

/// What can go wrong with the directories.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Neither the variable nor a home directory is set.
    #[error("no place for {what}: neither {variable} nor HOME is set to an absolute path")]
    NoHome {
        /// What was to be placed.
        what: &'static str,
        /// The variable that would say where.
        variable: &'static str,
    },
    /// A directory or file of a bottle could not be made, opened or removed.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another bottle has this name.
    #[error("a bottle named {slug} exists already")]
    Taken {
        /// The name.
        slug: String,
    },
    /// Not a name for a bottle.
    #[error(
        "{slug:?} is not a name for a bottle: it takes 1 to 63 letters, digits, `-`, `_` or `.`, the first a letter or digit"
    )]
    BadSlug {
        /// What was given.
        slug: String,
    },
}

impl StateError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoHome { variable, .. } => Some(format!("set {variable} to a directory of yours")),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("free some space, or set BOTTLE_STATE_DIR to a directory on another disk".to_owned())
            }
            Self::Io { .. } => Some("set BOTTLE_STATE_DIR to a directory that you may write to".to_owned()),
            Self::Taken { .. } => {
                Some("choose another --name, or run `bottle gc` if it is a dead one".to_owned())
            }
            Self::BadSlug { .. } => None,
        }
    }

    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// The directory that holds all bottles of this user.
pub fn state_root() -> Result<PathBuf, StateError> {
    place("the bottles' state", "BOTTLE_STATE_DIR", "XDG_STATE_HOME", ".local/state")
}

/// The directory that holds the imported images.
pub fn cache_root() -> Result<PathBuf, StateError> {
    place("the image cache", "BOTTLE_CACHE_DIR", "XDG_CACHE_HOME", ".cache")
}

/// The directory that holds what is installed for this user, the guest kernel for one.
pub fn data_root() -> Result<PathBuf, StateError> {
    place("the installed files", "BOTTLE_DATA_DIR", "XDG_DATA_HOME", ".local/share")
}

fn place(
    what: &'static str,
    variable: &'static str,
    xdg: &'static str,
    home: &'static str,
) -> Result<PathBuf, StateError> {
    // Our own variable may be relative to where we are; the XDG specification says to ignore paths that are not absolute.
    let own = std::env::var_os(variable).and_then(|path| std::path::absolute(path).ok());
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    own.or_else(|| absolute(xdg).map(|dir| dir.join("bottle")))
        .or_else(|| absolute("HOME").map(|dir| dir.join(home).join("bottle")))
        .ok_or(StateError::NoHome { what, variable })
}

/// Refuses what can't be a bottle's name.
pub fn check_slug(slug: &str) -> Result<(), StateError> {
    let first = slug.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = slug.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if first && rest && slug.len() <= SLUG_LIMIT_BYTES {
        Ok(())
    } else {
        Err(StateError::BadSlug { slug: slug.to_owned() })
    }
}

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
            let slug = format!("{prefix}-{:04x}", random_u16());
            match Self::claim(&root, &slug) {
                Err(StateError::Taken { .. }) if tries < SLUG_TRIES => tries += 1,
                result => return result,
            }
        }
    }

    fn claim(root: &Path, slug: &str) -> Result<Self, StateError> {
        // While this is held nobody sweeps, so a directory whose lock is not taken yet is not mistaken for a dead one.
        let _root_lock = lock_root(root)?;
        let path = root.join(slug);
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(StateError::Taken { slug: slug.to_owned() });
            }
            made => made.map_err(StateError::io("create", &path))?,
        }
        match lock_file(&path.join("lock")) {
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
        remove_tree(&self.path)
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.path) {
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
    let _root_lock = lock_root(&root)?;
    let mut found = Vec::new();
    for entry in fs::read_dir(&root).map_err(StateError::io("read", &root))? {
        let entry = entry.map_err(StateError::io("read", &root))?;
        let path = entry.path();
        let Some(slug) = entry.file_name().to_str().map(str::to_owned) else { continue };
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_dir || check_slug(&slug).is_err() {
            continue;
        }
        if let Some(lock) = lock_file(&path.join("lock"))? {
            found.push(StateDir { slug, root: root.clone(), path, _lock: lock });
        }
    }
    Ok(found)
}

/// Does this bottle live? Somebody holds its lock then.
pub fn is_alive(root: &Path, slug: &str) -> bool {
    let path = root.join(slug).join("lock");
    match File::open(&path) {
        Ok(file) => flock(&file, FlockOperation::NonBlockingLockShared).is_err(),
        Err(_) => false,
    }
}

/// Makes a directory that only its owner may look into, and its parents.
fn make_private_dir(path: &Path) -> Result<(), StateError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(StateError::io("create", path))
}

fn lock_root(root: &Path) -> Result<File, StateError> {
    let path = root.join(".lock");
    let file = open_lock(&path)?;
    flock(&file, FlockOperation::LockExclusive)
        .map_err(io::Error::from)
        .map_err(StateError::io("lock", &path))?;
    Ok(file)
}

/// Takes a lock; nothing when somebody else has it.
fn lock_file(path: &Path) -> Result<Option<File>, StateError> {
    let file = open_lock(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(StateError::io("lock", path)(error.into())),
    }
}

fn open_lock(path: &Path) -> Result<File, StateError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(StateError::io("open", path))
}

fn remove_tree(path: &Path) -> Result<(), StateError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StateError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Sixteen bits that differ from run to run: what std seeds its hash tables with.
fn random_u16() -> u16 {
    use std::hash::{BuildHasher, Hasher};
    let bits = std::collections::hash_map::RandomState::new().build_hasher().finish();
    u16::try_from(bits & 0xffff).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_that_are_paths_or_options_are_refused() {
        for slug in ["", "-a", ".", "..", ".a", "a/b", "a b", "a\0", "ä", &"a".repeat(64)] {
            assert!(check_slug(slug).is_err(), "{slug:?}");
        }
        for slug in ["a", "reviewer-7f3a", "A.b_c", &"a".repeat(63)] {
            assert!(check_slug(slug).is_ok(), "{slug:?}");
        }
    }

    #[test]
    fn a_name_is_taken_once_and_free_again_after_removal() {
        let root = tempfile::tempdir().unwrap();
        let first = StateDir::claim(root.path(), "one").unwrap();
        assert!(matches!(StateDir::claim(root.path(), "one"), Err(StateError::Taken { .. })));
        assert!(is_alive(root.path(), "one"));
        first.remove().unwrap();
        assert!(!is_alive(root.path(), "one"));
        drop(StateDir::claim(root.path(), "one").unwrap());
        assert!(!root.path().join("one").exists());
    }
}
