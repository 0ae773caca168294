//! Why a working tree could not be sent, or what became of it not brought back.

use std::io;
use std::path::PathBuf;

use crate::state::StateError;
use crate::vm::agent::{AgentError, CopyError, ExitStatus};

/// See the module.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorktreeError {
    /// There is no git here.
    #[error("cannot run git: {0}")]
    NoGit(#[source] io::Error),
    /// The directory is in no working tree of git's.
    #[error("{} is in no working tree of git's: {said}", dir.display())]
    NotATree {
        /// The directory.
        dir: PathBuf,
        /// What git said.
        said: String,
    },
    /// Its objects are in another repository.
    #[error("the repository of {} has objects in other repositories (objects/info/alternates)", top.display())]
    Alternates {
        /// The working tree.
        top: PathBuf,
    },
    /// git failed here.
    #[error("git {verb} failed: {said}")]
    Git {
        /// What it was to do.
        verb: &'static str,
        /// What it printed.
        said: String,
    },
    /// A file could not be read or written here.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// `read`, `write` or `make`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The files could not be put into the guest.
    #[error("cannot copy the working tree into the guest: {0}")]
    Copy(#[source] Box<CopyError>),
    /// The guest could not be asked.
    #[error("cannot run git in the guest: {0}")]
    Agent(#[source] Box<AgentError>),
    /// git failed in the guest.
    #[error("git in the guest failed with {status}: {said}")]
    Guest {
        /// How it ended.
        status: ExitStatus,
        /// The end of what it printed, fit for a terminal.
        said: String,
    },
    /// The objects that came from the guest are not right.
    #[error("git here does not take what came from the guest: {said}")]
    Pack {
        /// What it printed.
        said: String,
    },
    /// What came from the guest is not what was asked for.
    #[error("the guest's repository sent {0}")]
    Hostile(&'static str),
    /// The bottle has no working tree of ours.
    #[error("the bottle {slug} has no working tree that came from here")]
    None {
        /// The bottle.
        slug: String,
    },
    /// A branch of that name is there, and is not from this bottle, or is in use.
    #[error("the branch {branch} {why}")]
    Branch {
        /// Its name.
        branch: String,
        /// Why it can't be set.
        why: String,
    },
    /// The bottle is not there, or does not run.
    #[error(transparent)]
    State(#[from] StateError),
    /// A thread, or a pipe to one, could not be had.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    /// git showed what it was to show, and failed.
    #[error("git diff failed")]
    Diff,
}

impl WorktreeError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoGit(_) => "install git; `--volume HOST:GUEST` gives a bottle a directory without it".to_owned(),
            Self::NotATree { .. } => {
                "`git init` makes it one; `--volume HOST:GUEST` gives a bottle any directory".to_owned()
            }
            Self::Alternates { .. } => {
                "`git repack -a -d && rm .git/objects/info/alternates` makes it stand alone".to_owned()
            }
            Self::Guest { .. } => {
                "the image needs git and sh, and the agent must have left /workspace a repository; `bottle cp SLUG:/workspace .` copies \
                 the files as they are"
                    .to_owned()
            }
            Self::Hostile(_) | Self::Pack { .. } => "look at what the agent did: `bottle exec SLUG -- git -C /workspace status`".to_owned(),
            Self::None { .. } => "`bottle run --cwd` gives a bottle the working tree that you are in".to_owned(),
            Self::Branch { .. } => "--branch NAME takes another one".to_owned(),
            Self::State(error) => return error.hint(),
            Self::Copy(error) => return error.hint().map(str::to_owned),
            Self::Agent(error) => return error.hint().map(str::to_owned),
            Self::Git { .. } => "`git fsck` shows whether the repository here is whole".to_owned(),
            Self::Diff => "what git said is above".to_owned(),
            Self::File { .. } | Self::Thread(_) => return None,
        })
    }

    pub(super) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}
