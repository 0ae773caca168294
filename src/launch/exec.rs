//! `bottle exec`: one more process in a bottle that runs. Nothing but its agent's socket is needed for it.

use super::LaunchError;
use super::attach::{Attached, attach};
use super::detach_keys::DetachKeys;
use super::terminal::{self, RawTerminal};
use crate::plan::Process;
use crate::state;
use crate::vm::agent::{Agent, Exec, ExecControl, TtySize};

/// What to run, and where.
#[derive(Debug)]
pub struct ExecRun {
    /// The bottle's name.
    pub slug: String,
    /// The process. Nothing of an image is added to it.
    pub process: Process,
    /// It is not waited for: its stdin is empty, and its output goes nowhere.
    pub detached: bool,
    /// The keys that leave it running.
    pub detach_keys: DetachKeys,
}

/// A process that runs. Dropping it ends the process, unless it is detached.
#[derive(Debug)]
pub struct Executing {
    exec: Exec,
    size: Option<TtySize>,
    takes_terminal: bool,
    detach_keys: DetachKeys,
}

/// Starts the process.
///
/// # Errors
/// When there is no such bottle, it does not run, or its guest can't start the process.
pub fn start_exec(run: &ExecRun) -> Result<Executing, LaunchError> {
    let takes_terminal = run.process.takes_terminal() && !run.detached;
    if takes_terminal {
        terminal::check()?;
    }
    let bottle = state::find_running(&run.slug)?;
    let mut request = run.process.exec_request(&run.process.args);
    request.detached = run.detached;
    let exec = Agent::new(bottle.agent_socket()).exec(&request)?;
    Ok(Executing { exec, size: request.tty, takes_terminal, detach_keys: run.detach_keys.clone() })
}

impl Executing {
    /// For signals and terminal sizes.
    pub fn control(&self) -> ExecControl {
        self.exec.control()
    }

    /// Does the process get what is typed on our terminal, Ctrl-C and its kin included?
    pub fn takes_terminal(&self) -> bool {
        self.takes_terminal
    }

    /// Joins our stdio to the process's until it ends, or is left running.
    ///
    /// # Errors
    /// When the guest goes away, or our own terminal or output fails.
    pub fn attach(self) -> Result<Attached, LaunchError> {
        let raw = self.takes_terminal.then(RawTerminal::enter).transpose()?;
        let now = terminal::size();
        // It may have changed before anybody watched it.
        if self.size.is_some_and(|size| size != now) {
            self.exec.control().resize(now.rows, now.columns).unwrap_or_default();
        }
        attach(self.exec, raw.as_ref(), Some(self.detach_keys), || {})
    }
}
