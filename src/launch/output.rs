//! What becomes of a process's output.

use std::path::Path;

use super::LaunchError;
use super::control::Followers;
use crate::logs::{OutputLog, Stream, output_log};
use crate::plan::Process;
use crate::vm::agent::{AgentError, Exec, ExecEvent, ExitStatus};

/// Where a process's streams go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// They are ours, with our stdin, and our terminal if the process is to have one.
    Ours,
    /// Into the bottle's log. Its stdin is empty.
    Logged,
}

impl Output {
    /// The process as it can be there.
    pub(super) fn fit(self, process: Process) -> Process {
        let interactive = process.interactive && self == Self::Ours;
        Process { interactive, ..process }
    }
}

/// Logs a process's output until it ends.
pub(super) fn log_output(
    mut exec: Exec,
    bottle: &Path,
    followers: &Followers,
) -> Result<ExitStatus, LaunchError> {
    let path = output_log(bottle);
    drop(exec.take_stdin());
    let log = OutputLog::append_to(&path);
    let mut log = log.map_err(|source| LaunchError::Host { what: "cannot open the output's log", source })?;
    let mut complete = true;
    loop {
        let (stream, printed) = match exec.next_event()? {
            ExecEvent::Stdout(printed) => (Stream::Stdout, printed),
            ExecEvent::Stderr(printed) => (Stream::Stderr, printed),
            ExecEvent::Exited(status) => return Ok(status),
            // Nobody has asked for that.
            ExecEvent::Detached => {
                return Err(AgentError::Detached { what: "the command runs".to_owned() }.into());
            }
        };
        // On a full disk the process goes on, and its output is lost: there is nobody to wait for.
        if let Err(error) = log.append(stream, &printed)
            && std::mem::take(&mut complete)
        {
            log::error!("output is lost: cannot write {}: {error}", path.display());
        }
        followers.notify();
    }
}
