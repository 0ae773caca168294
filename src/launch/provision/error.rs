//! Why a guest could not be provided with what it needs.

use std::io;

use crate::vm::agent::{AgentError, CopyError};
use crate::worktree::WorktreeError;

/// See the module. The step is named in each: `ca`, `git`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProvisionError {
    /// A file could not be put into the guest, or read from it.
    #[error("{step}: cannot {action} {path} in the guest: {source}")]
    File {
        /// The step.
        step: &'static str,
        /// `write` or `read`.
        action: &'static str,
        /// The file, in the guest.
        path: &'static str,
        /// Why.
        source: Box<CopyError>,
    },
    /// A program of the guest's could not be run.
    #[error("{step}: cannot run {program} in the guest: {source}")]
    Run {
        /// The step.
        step: &'static str,
        /// The program.
        program: &'static str,
        /// Why.
        source: Box<AgentError>,
    },
    /// A program of the guest's ran, and failed.
    #[error("{step}: {program} {how} in the guest{}", quoted(.said))]
    Failed {
        /// The step.
        step: &'static str,
        /// The program.
        program: &'static str,
        /// How it ended.
        how: String,
        /// The end of what it printed, fit for a terminal.
        said: String,
    },
    /// It is not among the CAs, although it was put there.
    #[error("ca: the CA of {daemon} is not in {path} of the guest, although {how}")]
    NotTrusted {
        /// Whose CA it is.
        daemon: String,
        /// The guest's bundle of CAs.
        path: &'static str,
        /// How it was put there.
        how: &'static str,
    },
    /// The working tree.
    #[error("worktree: {0}")]
    Worktree(#[source] Box<WorktreeError>),
    /// The guest took too long.
    #[error("{step}: not done within {limit_s} s")]
    Late {
        /// The step.
        step: &'static str,
        /// The limit, in seconds.
        limit_s: u64,
    },
    /// A thread could not be started.
    #[error("{step}: cannot start a thread: {source}")]
    Thread {
        /// The step.
        step: &'static str,
        /// Why not.
        source: io::Error,
    },
}

impl ProvisionError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::File { path, .. } => {
                format!("the image must have room for {path}, and no link or file where its directory is to be")
            }
            Self::Run { program, .. } => format!("the image's {program} must be a program that root can run"),
            Self::Failed { program, .. } => {
                format!("`docker run --user 0 IMAGE {program}` shows whether it works in the image at all")
            }
            Self::NotTrusted { .. } => {
                "the image's update-ca-certificates must read /usr/local/share/ca-certificates; without that program the CA is \
                 added by `bottle` itself"
                    .to_owned()
            }
            Self::Worktree(error) => return error.hint(),
            Self::Late { .. } => {
                "give the VM more processors or memory (--cpus, --memory); `bottle vm run` shows how the image does without a bundle"
                    .to_owned()
            }
            Self::Thread { .. } => return None,
        })
    }
}

fn quoted(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said}") }
}
