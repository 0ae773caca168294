//! What can go wrong between host and guest agent.

use std::io;
use std::path::PathBuf;

use bottle_protocol::{ExecFailure, FailureKind, ReadError, WireError};

/// See the module.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// Nothing takes connections for the guest.
    #[error("cannot reach the guest through {}", socket.display())]
    Connect {
        /// The socket in the bottle's state directory.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The connection ended, or the guest's machine did.
    #[error("the guest went away while {what}")]
    Lost {
        /// What was under way: "`cmd` ran" for instance.
        what: String,
    },
    /// Nothing came for as long as the guest had.
    #[error("the guest did not answer in time while {what}")]
    TimedOut {
        /// What was under way.
        what: String,
    },
    /// What came was not the protocol.
    #[error("the guest broke the protocol while {what}")]
    Protocol {
        /// What was under way.
        what: String,
        /// How.
        source: WireError,
    },
    /// A right frame at the wrong time, or more data than it had credit for.
    #[error("the guest broke the protocol while {what}: it sent {sent}")]
    Unexpected {
        /// What was under way.
        what: String,
        /// The frame.
        sent: &'static str,
    },
    /// The guest did not carry the request out.
    #[error(transparent)]
    Failed(#[from] ExecFailure),
    /// The process goes on without us, so that its end is not known.
    #[error("detached while {what}")]
    Detached {
        /// What is under way.
        what: String,
    },
    /// The request does not fit the protocol's limits.
    #[error("the command, its arguments and environment are too large for one request")]
    TooLarge(#[source] WireError),
    /// The guest's init could not boot it.
    #[error("the guest could not start: {0}")]
    BootFailed(String),
    /// A thread could not be started, or a socket set up, on the host.
    #[error("cannot talk to the guest")]
    Host(#[from] io::Error),
}

impl AgentError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        let failure = match self {
            Self::Failed(failure) => failure,
            Self::Connect { .. } => return Some("is it starting, or ending? Try again, or look at its logs"),
            _ => return None,
        };
        match failure.kind {
            FailureKind::NotFound => Some("the command is looked for in the PATH of the guest"),
            FailureKind::NotExecutable => {
                Some("is it a program or a script with `#!`, and executable for this user?")
            }
            FailureKind::NoSuchUser => Some("a number does without an entry in the guest's /etc/passwd"),
            FailureKind::BadDirectory => Some("choose another one with -w"),
            FailureKind::Refused => {
                Some("is the server up, and does it listen on 127.0.0.1 or all addresses?")
            }
            FailureKind::CannotCopy | FailureKind::Other => None,
        }
    }

    /// From a read that failed.
    pub(super) fn read(error: ReadError, what: &str) -> Self {
        let what = what.to_owned();
        match error {
            // The stream's end in the middle of a frame is the guest's end, not a breach.
            ReadError::Wire(WireError::Truncated) => Self::Lost { what },
            ReadError::Wire(source) => Self::Protocol { what, source },
            ReadError::Io(error) if is_timeout(&error) => Self::TimedOut { what },
            ReadError::Io(_) => Self::Lost { what },
        }
    }

    /// A copy, for each of those who wait for the same connection.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::TimedOut { what } => Self::TimedOut { what: what.clone() },
            Self::Protocol { what, source } => Self::Protocol { what: what.clone(), source: source.clone() },
            Self::Unexpected { what, sent } => Self::Unexpected { what: what.clone(), sent },
            Self::Failed(failure) => Self::Failed(failure.clone()),
            Self::Lost { what } => Self::Lost { what: what.clone() },
            other => Self::Lost { what: other.to_string() },
        }
    }
}

/// What a read timeout of a socket looks like, which depends on the system.
pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
