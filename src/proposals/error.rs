//! What can go wrong with proposals and answers.

use std::io;
use std::path::PathBuf;

use bottle_gates::grant::Invalid;

use crate::bundle::BundleError;
use crate::state::StateError;

/// See the module.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProposalError {
    /// The bottles can't be looked at.
    #[error(transparent)]
    State(#[from] StateError),
    /// The bundle can't be told.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Not an ID.
    #[error("{id:?} is no ID of a proposal: those have eight hexadecimal digits")]
    BadId {
        /// What was given.
        id: String,
    },
    /// No bottle that runs has such a proposal.
    #[error("there is no proposal {id}")]
    Unknown {
        /// What was given.
        id: String,
    },
    /// Several bottles have one.
    #[error("several bottles have a proposal {id}: {}", .slugs.join(", "))]
    Ambiguous {
        /// What was given.
        id: String,
        /// Which bottles.
        slugs: Vec<String>,
    },
    /// Somebody was faster.
    #[error("the proposal {id} was {} already", if *.approved { "approved" } else { "denied" })]
    Answered {
        /// Its ID.
        id: String,
        /// What was said to it.
        approved: bool,
    },
    /// It is not what it was when it was shown.
    #[error("the proposal {id} has changed since it was looked at")]
    Changed {
        /// Its ID.
        id: String,
    },
    /// The reason for an answer can't be told.
    #[error(transparent)]
    Reason(#[from] Invalid),
    /// The bottle has nothing that the grant could be added to.
    #[error("{slug} can't be granted to {grant}: {why}")]
    NotGrantable {
        /// The bottle.
        slug: String,
        /// What was asked for.
        grant: String,
        /// Why not.
        why: String,
    },
    /// pipelock does not say that it has its new configuration.
    #[error("pipelock of {slug} has not taken its new configuration within {waited_s} s")]
    NotInForce {
        /// The bottle.
        slug: String,
        /// Seconds we waited.
        waited_s: u64,
    },
    /// A file could not be read or written.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl ProposalError {
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::State(error) => error.hint(),
            Self::Bundle(error) => error.hint(),
            Self::BadId { .. } | Self::Unknown { .. } | Self::Changed { .. } => {
                Some("`bottle proposals` lists those that wait".to_owned())
            }
            Self::Ambiguous { .. } => Some("say which one with --bottle".to_owned()),
            Self::Answered { .. } => Some("an answer stays; the agent can ask again".to_owned()),
            Self::NotGrantable { .. } => Some(
                "deny it with a --reason, and change the bottle's manifest for its next launch".to_owned(),
            ),
            Self::NotInForce { .. } => {
                Some("pipelock.log in the bundle's log directory says why; approve it again then".to_owned())
            }
            Self::Reason(_) | Self::Io { .. } => None,
        }
    }
}
