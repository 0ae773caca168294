//! Why a copy failed.

use std::io;

use bottle_protocol::{ExecFailure, FailureKind};
use bottle_transfer::{TransferError, printable};

use crate::image::tarball::TarError;
use crate::vm::agent::AgentError;

/// See the module. What was copied by then stays; a file is there in full or not at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The guest can't be reached, went away, or broke the protocol.
    #[error(transparent)]
    Agent(AgentError),
    /// The guest refused it, or could not do it.
    #[error("in the guest: {message}")]
    Guest {
        /// What sort of failure.
        kind: FailureKind,
        /// One line, which can be printed.
        message: String,
    },
    /// A file of the host's.
    #[error(transparent)]
    Host(#[from] TransferError),
    /// What came is no tar stream that could be copied.
    #[error("the tar stream: {0}")]
    Tar(String),
    /// The tar stream can't be written.
    #[error("cannot write the tar stream")]
    Output(#[source] io::Error),
    /// It was stopped.
    #[error("the copy was stopped")]
    Stopped,
}

impl From<AgentError> for CopyError {
    fn from(error: AgentError) -> Self {
        match error {
            AgentError::Failed(ExecFailure { kind, message }) => {
                Self::Guest { kind, message: printable(message.as_bytes()) }
            }
            error => Self::Agent(error),
        }
    }
}

impl From<TarError> for CopyError {
    fn from(error: TarError) -> Self {
        Self::Tar(printable(error.to_string().as_bytes()))
    }
}

impl CopyError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Host(error) => error.hint(),
            Self::Guest { kind: FailureKind::NoSuchUser, .. } => {
                Some("a number does without an entry in the guest's /etc/passwd")
            }
            Self::Tar(_) => Some(
                "a plain tar file is taken: unpack a compressed one on the way, with `zcat` for instance",
            ),
            _ => None,
        }
    }
}
