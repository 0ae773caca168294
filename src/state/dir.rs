//! The directory of a bottle, in the hands of the process that runs or removes it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::find::slugs;
use super::{NoRecord, Record, StateError, check_slug, lock, slug, state_root};

/// How often another random slug is tried before giving up: with 65,536 of them, only a full state directory
/// gets there.
const SLUG_TRIES: u32 = 64;

/// Where a launcher listens.
pub(super) const CONTROL_SOCKET: &str = "control.sock";

/// What a run that crashed leaves in the directory of a kept bottle, and the next one makes anew.
const SOCKETS: [&str; 3] = [CONTROL_SOCKET, "agent.sock", "ready.sock"];

/// The directory of one bottle, and the lock that says that it lives. Dropping it gives the lock up; a directory that was made
/// for this value goes as well, unless it is to be left ([`StateDir::leave`]).
#[derive(Debug)]
pub struct StateDir {
    slug: String,
    root: PathBuf,
    path: PathBuf,
    remove_at_drop: bool,
    lock: Arc<File>,
}

impl StateDir {
    /// Makes the directory of a new bottle: `name` if given, else `prefix` and four random hexadecimal digits. Its control
    /// socket listens from the moment on in which anybody else can see that the bottle lives.
    ///
    /// # Errors
    /// [`StateError::Taken`] when there is a bottle of this name, dead or alive.
    pub fn create(name: Option<&str>, prefix: &str) -> Result<(Self, UnixListener), StateError> {
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

    pub(super) fn claim(root: &Path, slug: &str) -> Result<(Self, UnixListener), StateError> {
        let _root_lock = lock::change(root)?;
        let path = root.join(slug);
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(StateError::Taken { slug: slug.to_owned() });
            }
            made => made.map_err(StateError::io("create", &path))?,
        }
        let made = lock::take(&path).and_then(|lock| {
            let lock = lock.ok_or_else(|| StateError::Taken { slug: slug.to_owned() })?;
            Ok((lock, listen(&path)?))
        });
        match made {
            Ok((lock, listener)) => Ok((Self::new(root, slug, lock, true), listener)),
            Err(error) => {
                // Nothing of worth is in it yet, and the first error is the one to report.
                fs::remove_dir_all(&path).unwrap_or_default();
                Err(error)
            }
        }
    }

    /// Takes the directory of a bottle that does not live, to run it again, and clears away what the last run left. Its
    /// control socket listens.
    ///
    /// # Errors
    /// [`StateError::Running`] when it lives, [`StateError::Unknown`] when there is none.
    pub fn reopen(slug: &str) -> Result<(Self, UnixListener), StateError> {
        let root = state_root()?;
        super::find::find_in(&root, slug)?;
        // Held until the socket listens: who sees that the bottle lives can speak to its launcher.
        let _root_lock = lock::change(&root)?;
        let dir = Self::seize(&root, slug)?;
        dir.remove_sockets()?;
        let listener = listen(&dir.path)?;
        Ok((dir, listener))
    }

    /// Takes the directory of a bottle that does not live, to remove it.
    ///
    /// # Errors
    /// [`StateError::Running`] when it lives, [`StateError::Unknown`] when there is none.
    pub fn take(slug: &str) -> Result<Self, StateError> {
        let root = state_root()?;
        super::find::find_in(&root, slug)?;
        let _root_lock = lock::change(&root)?;
        Self::seize(&root, slug)
    }

    /// Wants the root's lock, for changes.
    fn seize(root: &Path, slug: &str) -> Result<Self, StateError> {
        match lock::take(&root.join(slug))? {
            Some(lock) => Ok(Self::new(root, slug, lock, false)),
            None => Err(StateError::Running { slug: slug.to_owned() }),
        }
    }

    fn new(root: &Path, slug: &str, lock: File, remove_at_drop: bool) -> Self {
        let (root, slug) = (root.to_owned(), slug.to_owned());
        Self { path: root.join(&slug), slug, root, remove_at_drop, lock: Arc::new(lock) }
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

    /// The lock, for the VMM to hold as well.
    pub fn lock(&self) -> Arc<File> {
        Arc::clone(&self.lock)
    }

    /// Writes the bottle's record.
    ///
    /// # Errors
    /// When the disk does not take it; the old one is there then.
    pub fn write(&self, record: &Record) -> Result<(), StateError> {
        record.write(&self.path).map_err(StateError::io("write the record in", &self.path))
    }

    /// Lets the directory stay when this is dropped.
    pub fn leave(&mut self) {
        self.remove_at_drop = false;
    }

    /// Removes the sockets that nobody listens on any more.
    ///
    /// # Errors
    /// The first one.
    pub fn remove_sockets(&self) -> Result<(), StateError> {
        for path in SOCKETS.map(|socket| self.path.join(socket)) {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StateError::io("remove", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes the directory, and says what went wrong.
    ///
    /// # Errors
    /// The first one; all that can be removed is.
    pub fn remove(mut self) -> Result<(), StateError> {
        self.remove_at_drop = false;
        self.remove_all()
    }

    /// The record goes first and the lock last, so that what is left of an interrupted removal is a dead bottle that nobody
    /// wants to keep.
    fn remove_all(&self) -> Result<(), StateError> {
        let mut first = Ok(());
        let mut note = |action, path: &Path, result: io::Result<()>| match result {
            Err(error) if error.kind() != io::ErrorKind::NotFound && first.is_ok() => {
                first = Err(StateError::io(action, path)(error));
            }
            _ => {}
        };
        note("remove the record in", &self.path, Record::remove(&self.path));
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
        note("remove", &self.path, lock::remove(&self.path).and_then(|()| fs::remove_dir(&self.path)));
        first
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        if self.remove_at_drop
            && let Err(error) = self.remove_all()
        {
            log::warn!("{error}");
        }
    }
}

/// The bottles that do not live.
#[derive(Debug, Default)]
pub struct Dead {
    /// Nobody wants to keep them: they were not to be kept, their process never ran, or nothing is known of them.
    pub leftovers: Vec<StateDir>,
    /// Their owner wants them: they can be resumed.
    pub kept: Vec<StateDir>,
}

/// The bottles that do not live. Each one comes with its lock taken.
///
/// # Errors
/// When the directory of all bottles can't be read or locked.
pub fn dead() -> Result<Dead, StateError> {
    let root = state_root()?;
    let mut found = Dead::default();
    if !root.exists() {
        return Ok(found);
    }
    let _root_lock = lock::change(&root)?;
    for slug in slugs(&root)? {
        let path = root.join(&slug);
        let Some(lock) = lock::take(&path)? else { continue };
        let dir = StateDir::new(&root, &slug, lock, false);
        match Record::read(&path) {
            Ok(record) if record.plan.keep && record.has_run => found.kept.push(dir),
            // Whoever wrote it may want to keep it.
            Err(error @ NoRecord::Later { .. }) => log::warn!("{slug} is left alone: {error}"),
            Ok(_) | Err(NoRecord::Unreadable { .. }) => found.leftovers.push(dir),
        }
    }
    Ok(found)
}

/// Listens on the control socket of the bottle in this directory.
fn listen(dir: &Path) -> Result<UnixListener, StateError> {
    let path = dir.join(CONTROL_SOCKET);
    if std::os::unix::net::SocketAddr::from_pathname(&path).is_err() {
        return Err(StateError::LongPath { path });
    }
    // Nobody else may enter the directory, so nobody can be faster.
    UnixListener::bind(&path)
        .and_then(|listener| {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        })
        .map_err(StateError::io("listen on", &path))
}

/// Makes a directory that only its owner may look into, and its parents.
fn make_private_dir(path: &Path) -> Result<(), StateError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(StateError::io("create", path))
}

#[cfg(test)]
mod tests {
    use super::super::is_alive;
    use super::super::record::tests::plan;
    use super::*;

    #[test]
    fn a_name_is_taken_once_and_free_again_after_removal() {
        let root = tempfile::tempdir().unwrap();
        let (first, _listener) = StateDir::claim(root.path(), "one").unwrap();
        assert!(matches!(StateDir::claim(root.path(), "one"), Err(StateError::Taken { .. })));
        assert!(matches!(StateDir::seize(root.path(), "one"), Err(StateError::Running { .. })));
        assert!(is_alive(root.path(), "one"));
        fs::create_dir(first.path().join("dir")).unwrap();
        fs::write(first.path().join("dir/file"), b"").unwrap();
        first.remove().unwrap();
        assert!(!is_alive(root.path(), "one"));
        drop(StateDir::claim(root.path(), "one").unwrap());
        assert!(!root.path().join("one").exists());
    }

    #[test]
    fn a_bottle_that_is_left_keeps_its_name_and_can_be_taken_again() {
        let root = tempfile::tempdir().unwrap();
        let (mut first, _listener) = StateDir::claim(root.path(), "one").unwrap();
        first.write(&Record::new(plan(true))).unwrap();
        first.leave();
        drop(first);
        assert!(!is_alive(root.path(), "one"));
        assert!(matches!(StateDir::claim(root.path(), "one"), Err(StateError::Taken { .. })));
        drop(StateDir::seize(root.path(), "one").unwrap());
        assert!(
            Record::read(&root.path().join("one")).unwrap().plan.keep,
            "a drop removed what was there before"
        );
        assert!(StateDir::seize(root.path(), "two").is_err());
    }

    #[test]
    fn a_lock_lives_as_long_as_any_descriptor_of_it() {
        let root = tempfile::tempdir().unwrap();
        let (mut first, _listener) = StateDir::claim(root.path(), "one").unwrap();
        first.leave();
        let vmm = first.lock();
        drop(first);
        assert!(is_alive(root.path(), "one"));
        drop(vmm);
        assert!(!is_alive(root.path(), "one"));
    }

    #[test]
    fn a_path_without_room_for_a_socket_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("d".repeat(100));
        make_private_dir(&deep).unwrap();
        assert!(matches!(StateDir::claim(&deep, "one"), Err(StateError::LongPath { .. })));
        assert!(!deep.join("one").exists());
    }
}
