//! Why a guest could not be provided with what it needs.

use std::io;
use std::path::PathBuf;

use crate::vm::agent::{AgentError, CopyError, FailureKind, TransferError};
use crate::worktree::WorktreeError;

/// See the module. The step is named in each: `ca`, `prompt`, `files`, `skills`, `git`, `supervise`.
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
        path: String,
        /// Why.
        source: Box<CopyError>,
    },
    /// A program of the guest's could not be run.
    #[error("{step}: cannot run {program} in the guest: {source}")]
    Run {
        /// The step.
        step: &'static str,
        /// The program.
        program: String,
        /// Why.
        source: Box<AgentError>,
    },
    /// A program of the guest's ran, and failed.
    #[error("{step}: {how}")]
    Failed {
        /// The step.
        step: &'static str,
        /// The program.
        program: &'static str,
        /// What it is called, how it ended, and the end of what it printed, fit for a terminal.
        how: String,
    },
    /// A directory of this machine that is to be a skill is not there.
    #[error("skills: cannot read `{}`: {source}", path.display())]
    NoSkill {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is there, and can't be read.
    #[error("skills: {source}")]
    Skill {
        /// Why.
        source: TransferError,
    },
    /// Two of them would take each other's place.
    #[error("skills: {} and {} are two skills of one name", paths[0].display(), paths[1].display())]
    TwoSkills {
        /// The directories.
        paths: [PathBuf; 2],
    },
    /// A directory that has no name, or one that is no text.
    #[error("skills: {} has no name that a skill can have", path.display())]
    UnnamedSkill {
        /// The directory.
        path: PathBuf,
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
    /// That of a file.
    pub(super) fn file(
        step: &'static str,
        action: &'static str,
        path: impl Into<String>,
        source: CopyError,
    ) -> Self {
        Self::File { step, action, path: path.into(), source: Box::new(source) }
    }

    /// The guest was asked, and could not: something in it is not as it would have to be.
    pub(super) fn is_of_the_guest(&self) -> bool {
        match self {
            Self::File { source, .. } => matches!(**source, CopyError::Guest { .. }),
            Self::Failed { .. } => true,
            _ => false,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::File { source, .. } if matches!(**source, CopyError::Guest { kind: FailureKind::NoSuchUser, .. }) => {
                source.hint()?.to_owned()
            }
            Self::File { path, .. } => {
                format!("the image must have room for {path}, and no link or file where its directory is to be")
            }
            Self::Run { program, .. } => {
                format!("the image's {program} must be a program that root and the bottle's user can run")
            }
            Self::Failed { program, .. } => {
                format!("`docker run --user 0 IMAGE {program}` shows whether it works in the image at all")
            }
            Self::NoSkill { .. } | Self::Skill { .. } | Self::UnnamedSkill { .. } => {
                "`skills` of an agent names directories, each with its SKILL.md; a plan has their real paths".to_owned()
            }
            Self::TwoSkills { .. } => "leave one of them out, or rename it".to_owned(),
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
