//! Waits for every process of the guest, and hands the exit statuses of our own children to those who started them.
//!
//! One thread waits for any child: peeks (`WNOWAIT`), so that the process id stays taken, then takes the lock and
//! reaps. Children are started under the same lock, so that a child that ends at once is known by then, and signals
//! are sent under it, so that none goes to a process that merely got the number of a dead one.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bottle_protocol::ExitStatus;
use rustix::event::{EventfdFlags, eventfd};

use crate::sys;

/// See the module.
#[derive(Debug, Default)]
pub struct Reaper {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    children: HashMap<i32, Arc<Ending>>,
    /// Counts the children ever started, so that "there are no children" is not believed when it is out of date.
    started: u64,
    /// No process is left but this one (and, for process 1, the kernel's).
    childless: bool,
}

#[derive(Debug)]
struct Ending {
    status: OnceLock<ExitStatus>,
    /// Readable once `status` is there.
    event: OwnedFd,
}

/// A process that we started.
#[derive(Debug)]
pub struct Child {
    /// Its id, and that of its process group and session.
    pub pid: i32,
    ending: Arc<Ending>,
}

impl Child {
    /// Becomes readable when the process has ended.
    pub fn ended(&self) -> BorrowedFd<'_> {
        self.ending.event.as_fd()
    }

    /// How it ended, if it has.
    pub fn status(&self) -> Option<ExitStatus> {
        self.ending.status.get().copied()
    }
}

impl Reaper {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start() -> io::Result<Arc<Self>> {
        let reaper = Arc::new(Self::default());
        let thread = Arc::clone(&reaper);
        std::thread::Builder::new()
            .name("reaper".into())
            .stack_size(128 * 1024)
            .spawn(move || thread.run())?;
        Ok(reaper)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `fork`, which returns a new child's id, and knows that child from its first moment on.
    ///
    /// # Errors
    /// Those of `fork`.
    pub fn spawn(&self, fork: impl FnOnce() -> io::Result<i32>) -> io::Result<Child> {
        let event = eventfd(0, EventfdFlags::CLOEXEC)?;
        let ending = Arc::new(Ending { status: OnceLock::new(), event });
        let mut state = self.lock();
        let pid = fork()?;
        state.children.insert(pid, Arc::clone(&ending));
        state.started += 1;
        state.childless = false;
        drop(state);
        self.changed.notify_all();
        Ok(Child { pid, ending })
    }

    /// Sends a signal to the child's process group, unless the child has ended.
    pub fn signal(&self, child: &Child, signal: i32) {
        let state = self.lock();
        if state.children.contains_key(&child.pid) {
            sys::kill_group(child.pid, signal);
        }
    }

    /// Sends a signal to the process groups of all children.
    pub fn signal_children(&self, signal: i32) {
        let state = self.lock();
        for &pid in state.children.keys() {
            sys::kill_group(pid, signal);
        }
    }

    /// Waits until no process is left, for at most `limit`; says whether none is.
    pub fn wait_childless(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        while !state.childless {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return false };
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn run(&self) {
        loop {
            let started = self.lock().started;
            match sys::peek_ended_child() {
                Ok(pid) => self.reap(pid),
                Err(error) if error.raw_os_error() == Some(libc::ECHILD) => self.rest(started),
                Err(_) => {}
            }
        }
    }

    fn reap(&self, pid: i32) {
        let mut state = self.lock();
        let status = sys::reap(pid);
        if let (Some(ending), Some(status)) = (state.children.remove(&pid), status) {
            let _ = ending.status.set(status);
            sys::raise_event(&ending.event);
        }
    }

    /// Until there is a child again.
    fn rest(&self, started: u64) {
        let mut state = self.lock();
        if state.started != started {
            return;
        }
        state.childless = true;
        self.changed.notify_all();
        while state.childless {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
