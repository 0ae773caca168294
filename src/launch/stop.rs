//! Ending a bottle from outside: in order, and by force when that takes too long.
//!
//! ```text
//! in order    control.sock ─► "stop GRACE_MS", then its end is waited for
//! by force    control.sock, agent.sock ─► who listens there? ─► SIGKILL
//! either way  the lock is free
//! ```

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::control::Order;
use super::follow::is_gone;
use super::remove::remove;
use super::sys::Peer;
use crate::state::{Found, Outcome, Record, StateDir, StateError, Status, await_free, now};
use crate::vm::agent;

/// What a launcher may take behind the grace: to end a process that takes no SIGKILL (10 s), to shut a kept guest down (32 s)
/// and to remove a bundle (15 s and more on a busy machine).
const TEARDOWN_LIMIT: Duration = Duration::from_secs(90);

/// From a process's SIGKILL, or its last sign of life, until its lock is free.
const DEATH_LIMIT: Duration = Duration::from_secs(10);

/// SIGKILL, as [`Outcome::Signal`] has it.
const SIGKILL: u32 = 9;

/// How a bottle ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// It did not live any more.
    Already,
    /// Its launcher did it.
    InOrder,
    /// Its launcher did not answer, or took too long: it and the VM were killed.
    ByForce,
}

/// Why a bottle could not be ended.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// The directories of bottles.
    #[error(transparent)]
    State(#[from] StateError),
    /// A socket of the bottle, or a process of it.
    #[error("{action} of the bottle {slug}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The bottle.
        slug: String,
        /// Why it failed.
        source: io::Error,
    },
    /// What was killed is still there.
    #[error("the bottle {slug} was killed, and has not ended {} s later", DEATH_LIMIT.as_secs())]
    Stuck {
        /// The bottle.
        slug: String,
    },
}

impl StopError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::State(error) => error.hint(),
            Self::Io { .. } => None,
            Self::Stuck { .. } => {
                Some("a process of it hangs in the system, on a disk that does not answer for one".to_owned())
            }
        }
    }
}

/// Ends a bottle. Its process has `grace` to end by itself; the launch is ended in whatever step it is. Returns when the bottle
/// does not live any more. One that is not kept is gone then.
///
/// # Errors
/// See [`StopError`].
pub fn stop(bottle: &Found, grace: Duration) -> Result<Stopped, StopError> {
    if !bottle.alive {
        return Ok(Stopped::Already);
    }
    let ended = ends_in_order(bottle, grace).map_err(failed(bottle, "cannot speak to the launcher"))?;
    if ended && (await_free(bottle, DEATH_LIMIT)? || is_served(bottle)?) {
        return Ok(Stopped::InOrder);
    }
    // The launcher first: it would take the VM's end for news. One that has gone left its VMM behind.
    for (socket, action) in
        [("control.sock", "cannot kill the launcher"), ("agent.sock", "cannot kill the VM")]
    {
        kill(bottle, socket).map_err(failed(bottle, action))?;
    }
    if !await_free(bottle, DEATH_LIMIT)? {
        return Err(StopError::Stuck { slug: bottle.slug.clone() });
    }
    clean_up(bottle)?;
    Ok(Stopped::ByForce)
}

/// Tells the launcher, and waits until it has let go of the bottle, or is gone; `false` if it takes too long.
fn ends_in_order(bottle: &Found, grace: Duration) -> io::Result<bool> {
    let deadline = Instant::now().checked_add(grace.saturating_add(TEARDOWN_LIMIT));
    let Some(mut stream) = connect(bottle, "control.sock")? else { return Ok(true) };
    match stream.write_all(Order::Stop(grace).line().as_bytes()) {
        Err(error) if !is_gone(&error) => Err(error),
        _ => ends_by(&stream, deadline),
    }
}

/// Does a launcher serve this bottle? Where the one that was told to stop has ended, it is another one, and that is no failure.
fn is_served(bottle: &Found) -> Result<bool, StopError> {
    let stream = connect(bottle, "control.sock").map_err(failed(bottle, "cannot speak to the launcher"))?;
    Ok(stream.is_some())
}

/// Kills who listens on a socket of the bottle's, if anybody does.
fn kill(bottle: &Found, socket: &str) -> io::Result<()> {
    let killed = match connect(bottle, socket)? {
        Some(stream) => Peer::of(&stream).and_then(|peer| peer.kill()),
        None => Ok(()),
    };
    match killed {
        Err(error) if is_gone(&error) || is_no_process(&error) => Ok(()),
        killed => killed,
    }
}

/// The process ended before it was killed.
fn is_no_process(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// What a launcher that was killed can't do any more.
fn clean_up(bottle: &Found) -> Result<(), StopError> {
    let dir = match StateDir::take(&bottle.slug) {
        // Its launcher came to its end all the same, or somebody was as fast as we were.
        Err(StateError::Unknown { .. } | StateError::Running { .. }) => return Ok(()),
        dir => dir?,
    };
    match Record::read(dir.path()) {
        Ok(mut record) if record.plan.keep => {
            record.status = Status::Ended { outcome: Outcome::Signal(SIGKILL), at: now() };
            dir.write(&record)?;
        }
        _ => remove(dir)?,
    }
    Ok(())
}

/// Connects to a socket of the bottle's; nothing if nobody listens there.
fn connect(bottle: &Found, socket: &str) -> io::Result<Option<UnixStream>> {
    match agent::connect(&bottle.dir.join(socket)) {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn failed(bottle: &Found, action: &'static str) -> impl FnOnce(io::Error) -> StopError {
    let slug = bottle.slug.clone();
    move |source| StopError::Io { action, slug, source }
}

/// Does the connection end by then? What comes on it is not looked at.
fn ends_by(mut stream: &UnixStream, deadline: Option<Instant>) -> io::Result<bool> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(stream, PollFlags::IN)], left.as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        match stream.read(&mut [0; 64]) {
            Ok(0) => return Ok(true),
            Ok(_) => {}
            Err(error) if is_gone(&error) => return Ok(true),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Has the connection ended?
pub(super) fn has_ended(stream: &UnixStream) -> io::Result<bool> {
    ends_by(stream, Some(Instant::now()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_connection_that_ended_is_told_from_one_that_was_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("s")).unwrap();
        let stream = UnixStream::connect(dir.path().join("s")).unwrap();
        assert!(!has_ended(&stream).unwrap());
        assert!(Peer::of(&stream).is_ok());
        drop(listener);
        assert!(has_ended(&stream).unwrap());
    }

    #[test]
    fn who_listens_is_killed_and_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let script = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); \
                      print('listens', flush=True); sys.stdin.read()";
        let mut child = std::process::Command::new("python3")
            .args(["-c", script])
            .arg(&path)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdout.take().unwrap().read_exact(&mut [0; 7]).unwrap();
        let stream = UnixStream::connect(&path).unwrap();
        Peer::of(&stream).unwrap().kill().unwrap();
        assert!(ends_by(&stream, Instant::now().checked_add(Duration::from_secs(20))).unwrap());
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()), Some(9));
        assert!(Peer::of(&stream).is_err(), "a process that has gone");
    }
}
