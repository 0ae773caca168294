//! What can go wrong with the directories.

use std::io;
use std::path::{Path, PathBuf};

/// See the module.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Neither the variable nor a home directory is set.
    #[error("no place for {what}: neither {variable} nor HOME is set to an absolute path")]
    NoHome {
        /// What was to be placed.
        what: &'static str,
        /// The variable that would say where.
        variable: &'static str,
    },
    /// A directory or file of a bottle could not be made, opened or removed.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another bottle has this name.
    #[error("a bottle named {slug} exists already")]
    Taken {
        /// The name.
        slug: String,
    },
    /// Not a name for a bottle.
    #[error(
        "{slug:?} is not a name for a bottle: it takes 1 to 63 letters, digits, `-`, `_` or `.`, the first a letter or digit"
    )]
    BadSlug {
        /// What was given.
        slug: String,
    },
    /// No bottle has this name. Names are exact: the beginning of one is none.
    #[error("there is no bottle named {slug}")]
    Unknown {
        /// What was given.
        slug: String,
        /// Names that are much like it, the best first.
        near: Vec<String>,
    },
    /// Nobody runs the bottle.
    #[error("the bottle {slug} is not running")]
    NotRunning {
        /// Its name.
        slug: String,
        /// It can be resumed.
        kept: bool,
    },
    /// Somebody runs the bottle.
    #[error("the bottle {slug} is running")]
    Running {
        /// Its name.
        slug: String,
    },
    /// The bottle's guest is not up yet, or is going down.
    #[error("the bottle {slug} is {doing}")]
    NotReady {
        /// Its name.
        slug: String,
        /// What it does instead.
        doing: &'static str,
    },
    /// The path of the state directory leaves no room for the name of a socket in it.
    #[error("the path of the socket {} is too long for a socket", path.display())]
    LongPath {
        /// The socket.
        path: PathBuf,
    },
}

impl StateError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoHome { variable, .. } => Some(format!("set {variable} to a directory of yours")),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("free some space, or set BOTTLE_STATE_DIR to a directory on another disk".to_owned())
            }
            Self::Io { .. } => Some("set BOTTLE_STATE_DIR to a directory that you may write to".to_owned()),
            Self::Taken { slug } => {
                Some(format!("choose another name, or remove that one: `bottle rm {slug}`"))
            }
            Self::BadSlug { .. } => None,
            Self::Unknown { near, .. } if near.is_empty() => {
                Some("`bottle ps -a` lists the bottles that there are".to_owned())
            }
            Self::Unknown { near, .. } => Some(format!("is it {}?", near.join(" or "))),
            Self::NotRunning { slug, kept: true } => Some(format!("`bottle resume {slug}` starts it again")),
            Self::NotRunning { slug, kept: false } => {
                Some(format!("it was not to be kept: `bottle rm {slug}` removes what is left of it"))
            }
            Self::Running { slug } => Some(format!("`bottle stop {slug}` ends it")),
            Self::NotReady { slug, .. } => Some(format!("`bottle ps -a` shows how {slug} is")),
            Self::LongPath { .. } => {
                Some("set BOTTLE_STATE_DIR to a directory with a shorter path".to_owned())
            }
        }
    }

    /// For `map_err`.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
