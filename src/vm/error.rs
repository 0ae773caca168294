//! What can go wrong between a configuration and a guest that answers.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bottle_protocol::{CANNOT_GROW, ConfigError};

use super::agent::AgentError;
use super::{VolumeError, sys};

/// See the module.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmError {
    /// This machine, or this user, can't run VMs.
    #[error("{what}")]
    NoVirtualisation {
        /// What is missing.
        what: String,
        /// How to get it.
        hint: &'static str,
    },
    /// The second wall is not whole here, and it is to be ([`super::Confine::Require`]).
    #[error("the microVM's VMM can't be confined as required; missing: {missing}")]
    NoWall {
        /// The parts that can't be had, each with what it takes.
        missing: String,
    },
    /// There is no guest kernel.
    #[error("{} is nowhere to be found (looked at: {looked_at})", libkrun_sys::LIBKRUNFW_FILE)]
    NoKernel {
        /// The places.
        looked_at: String,
    },
    /// More processors than libkrun takes, or none.
    #[error("{cpus} virtual processors can't be had: 1 to {most} can")]
    BadCpus {
        /// How many were asked for.
        cpus: u8,
        /// How many there can be.
        most: u8,
    },
    /// More memory than the machine has, or too little for a kernel.
    #[error(
        "a guest with {memory_mib} MiB of memory can't be had: this machine has {total_mib} MiB, and a guest needs {least_mib}"
    )]
    BadMemory {
        /// What was asked for.
        memory_mib: u32,
        /// What there is.
        total_mib: u64,
        /// What a guest needs.
        least_mib: u32,
    },
    /// The state directory's path leaves no room for a socket's name in it.
    #[error("the path of the socket {} is too long: a socket's path has at most {limit} bytes", path.display())]
    LongPath {
        /// The socket.
        path: PathBuf,
        /// The system's limit.
        limit: usize,
    },
    /// A directory that can't be given to the guest.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// Something on the host failed.
    #[error("{action}: {source}")]
    Host {
        /// What was tried.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The configuration is too large for the guest.
    #[error("the environment and settings are too large for the guest")]
    Config(#[from] ConfigError),
    /// The VMM ended before the guest was up.
    #[error("the microVM ended before its guest was up ({status}){}", quoted(log))]
    Died {
        /// How the process ended.
        status: String,
        /// The end of the logs.
        log: String,
    },
    /// The VMM ended while the guest was at work.
    #[error("the microVM ended while {what} ({status}){}", quoted(log))]
    Ended {
        /// What was under way: "`cmd` ran" for instance.
        what: String,
        /// How the process ended.
        status: String,
        /// The end of the logs.
        log: String,
    },
    /// The guest was not up in time.
    #[error("the guest did not answer within {} s of its start{}", limit.as_secs(), quoted(log))]
    TimedOut {
        /// How long it had.
        limit: Duration,
        /// The end of the logs.
        log: String,
    },
    /// The guest answered that it could not boot, or nonsense.
    #[error("{source}{}", quoted(log))]
    Boot {
        /// What it said.
        source: AgentError,
        /// The end of the logs.
        log: String,
    },
    /// The program that was to become the VMM did something else.
    #[error("{program} was started to become the microVM's VMM, and did something else")]
    NotVmm {
        /// "this program", or its path.
        program: String,
    },
    /// [`super::VmKiller::kill`] was called.
    #[error("the microVM was stopped")]
    Stopped,
}

impl VmError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoVirtualisation { hint, .. } => Some(hint),
            Self::Volume(error) => error.hint(),
            Self::NoWall { .. } => {
                Some("use a newer kernel, or run it with what there is: leave --confine out")
            }
            Self::NoKernel { .. } => Some(sys::KERNEL_HINT),
            Self::BadCpus { .. } => Some("choose another number with --cpus"),
            Self::BadMemory { .. } => Some("choose another size with --memory"),
            Self::LongPath { .. } => Some("set BOTTLE_STATE_DIR to a directory with a shorter path"),
            Self::Died { status, .. } | Self::Ended { status, .. } if status.contains("seccomp") => Some(
                "either libkrun does what was not known of it, a bug worth a report with these lines, or a guest made it",
            ),
            Self::Died { log, .. } if log.contains("Cannot allocate memory") || log.contains("ENOMEM") => {
                Some("the machine is short of memory: choose less with --memory, or stop something")
            }
            Self::Ended { log, .. } if log.contains("Out of memory") => {
                Some("the guest was out of memory: give it more with --memory")
            }
            Self::Boot { source: AgentError::BootFailed(why), .. } if why.starts_with(CANNOT_GROW) => {
                Some("choose another size with --disk")
            }
            Self::NotVmm { .. } => {
                Some("its `main` has to call bottle::vm::become_vmm_if_asked() first thing")
            }
            Self::TimedOut { .. } => Some("where the machine is busy, run it again"),
            _ => None,
        }
    }

    /// For `map_err`.
    pub(super) fn host(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Host { action, source }
    }
}

/// The end of a log behind a message: nothing if there is none.
fn quoted(log: &str) -> String {
    if log.is_empty() { String::new() } else { format!("; the end of its log:\n{log}") }
}
