//! Two kinds of lock, both flock(2), so that the kernel lets go of them however a process ends.
//!
//! - A bottle's own: exclusive, held by who runs or removes it. Who gets it knows that nobody does.
//! - The root's: exclusive, for the moment in which a bottle's directory comes or goes or its lock changes hands; shared,
//!   for the moment in which somebody tries a bottle's lock only to see whether it is free. So nobody who looks is ever
//!   mistaken for one who runs the bottle, and a directory whose lock is not taken yet for a dead one.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::StateError;

/// The lock of a directory, a bottle's or the root.
const FILE: &str = "lock";
const ROOT_FILE: &str = ".lock";

/// The root's lock, for who changes something.
pub(super) fn change(root: &Path) -> Result<File, StateError> {
    wait(root, FlockOperation::LockExclusive)
}

/// The root's lock, for who only looks.
pub(super) fn look(root: &Path) -> Result<File, StateError> {
    wait(root, FlockOperation::LockShared)
}

fn wait(root: &Path, operation: FlockOperation) -> Result<File, StateError> {
    let path = root.join(ROOT_FILE);
    let file = open(&path)?;
    loop {
        match flock(&file, operation) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(StateError::io("lock", &path)(error.into())),
            Ok(()) => return Ok(file),
        }
    }
}

/// Takes a bottle's lock; nothing when somebody else has it. Wants the root's lock, for changes.
pub(super) fn take(bottle: &Path) -> Result<Option<File>, StateError> {
    let path = bottle.join(FILE);
    let file = open(&path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(StateError::io("lock", &path)(error.into())),
    }
}

/// Does somebody have a bottle's lock? Wants the root's lock, for looks.
pub(super) fn is_taken(bottle: &Path) -> bool {
    File::open(bottle.join(FILE))
        .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK))
}

/// Removes a bottle's lock, the last file in its directory. Wants the root's lock, for changes.
pub(super) fn remove(bottle: &Path) -> io::Result<()> {
    std::fs::remove_file(bottle.join(FILE))
}

/// Is this the name of a bottle's lock?
pub(super) fn is_lock(name: &std::ffi::OsStr) -> bool {
    name == FILE
}

fn open(path: &Path) -> Result<File, StateError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(StateError::io("open", path))
}

/// Waits until nobody has a bottle's lock, for at most `limit`; says whether nobody has.
pub(super) fn await_free(bottle: &Path, limit: Duration) -> Result<bool, StateError> {
    let path = bottle.join(FILE);
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        file => file.map_err(StateError::io("open", &path))?,
    };
    // flock(2) knows no deadline, so a thread waits, and is left to it when the time is over.
    let (sender, receiver) = mpsc::channel();
    let waiting = thread::Builder::new().name("lock".to_owned()).spawn(move || {
        let locked = loop {
            match flock(&file, FlockOperation::LockShared) {
                Err(Errno::INTR) => {}
                locked => break locked,
            }
        };
        // The lock goes before the news of it, and nobody listens any more after the deadline.
        drop(file);
        sender.send(locked).unwrap_or_default();
    });
    drop(waiting.map_err(StateError::io("wait for", &path))?);
    match receiver.recv_timeout(limit) {
        Ok(locked) => {
            locked.map(|()| true).map_err(io::Error::from).map_err(StateError::io("wait for", &path))
        }
        Err(_) => Ok(false),
    }
}
