//! The lock of a mirror: held by who changes it.
//!
//! A hook can't hold it until the change is made, since receive-pack makes it when the hook has ended. So the hook leaves the lock
//! to a process that does nothing but wait for receive-pack's end: `bottle-sidecar git-gate-hold PID`, the lock on its stdin.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bottle_gates::git_gate::{GitGateConfig, Upstream};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, getppid};

use super::{git, setup};

/// Another fetch or push of the same mirror: as long as those may take.
const WAIT: Duration = Duration::from_secs(600);

/// What receive-pack does after the hook: it moves some files and refs.
const HOLD_MAX: Duration = Duration::from_secs(60);

/// The lock; let go when dropped.
pub(super) struct Lock(File);

/// Waits for the lock of an upstream's mirror.
pub(super) fn lock(config: &GitGateConfig, upstream: &Upstream) -> io::Result<Lock> {
    let path = setup::lock(config, upstream);
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    // flock(2) knows no deadline: a thread waits, and ends with the process.
    let (sender, receiver) = mpsc::channel();
    let waiting = thread::Builder::new().name("lock".to_owned()).spawn(move || {
        let locked = rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive)).map(|()| file);
        sender.send(locked).unwrap_or_default();
    });
    drop(waiting?);
    match receiver.recv_timeout(WAIT) {
        Ok(locked) => Ok(Lock(locked?)),
        Err(_) => Err(io::Error::other(format!("{} was busy for {} s", upstream.name, WAIT.as_secs()))),
    }
}

impl Lock {
    /// Leaves the lock held until the process has ended that started this one.
    pub(super) fn leave_to_parent(self) -> io::Result<()> {
        let parent = getppid().ok_or_else(|| io::Error::other("this hook was started by nobody"))?;
        let mut holder = Command::new(std::env::current_exe()?);
        holder.arg("git-gate-hold").arg(parent.as_raw_nonzero().to_string()).env_clear();
        // Its output would keep receive-pack waiting for this hook's end.
        holder.stdin(Stdio::from(self.0)).stdout(Stdio::null()).stderr(Stdio::null());
        holder.spawn().map(drop)
    }
}

/// Holds the lock on stdin until the process has ended.
pub(crate) fn main(arguments: Vec<OsString>) -> ExitCode {
    let pid = arguments.first().and_then(|pid| pid.to_str()?.parse().ok()).and_then(Pid::from_raw);
    match pid.map(|pid| git::await_end(pid, Some(HOLD_MAX))) {
        Some(Ok(_)) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
