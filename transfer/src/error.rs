//! What can go wrong on either side.

use std::io;

use crate::path::printable;

/// Why a tree can't be read, or an entry can't be put where it belongs. Paths are as they can be printed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The system refused something.
    #[error("cannot {action} `{path}`: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
    /// An entry whose path or link's target leads out of the destination, or is none.
    #[error("refused `{path}`: {why}")]
    BadPath {
        /// The path.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Something else is there, which is not replaced by that.
    #[error("cannot put {comes} at `{path}`: {there} is there")]
    InTheWay {
        /// Where.
        path: String,
        /// What is there.
        there: &'static str,
        /// What was to come.
        comes: &'static str,
    },
    /// The destination, or the directory that it would be in, does not exist.
    #[error("there is no directory `{path}`")]
    NoDirectory {
        /// The directory.
        path: String,
    },
    /// What is not taken here.
    #[error("`{path}` is {what}, which is not put here")]
    NotHere {
        /// The entry.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// A file that can't be read to the end that it had.
    #[error("`{path}` {how}")]
    Changed {
        /// The file.
        path: String,
        /// What became of it.
        how: &'static str,
    },
    /// A directory that was asked for by its real path, and is none there.
    #[error("`{path}` is no directory, or a link leads to it")]
    NotReal {
        /// The path.
        path: String,
    },
    /// What comes makes no sense in this order.
    #[error("the copy makes no sense: {0}")]
    OutOfOrder(&'static str),
}

impl TransferError {
    /// For `map_err`.
    pub(crate) fn io<E: Into<io::Error>>(action: &'static str, path: &[u8]) -> impl FnOnce(E) -> Self {
        let path = printable(path);
        move |source| Self::Io { action, path, source: source.into() }
    }

    pub(crate) fn bad_path(path: &[u8], why: &'static str) -> Self {
        Self::BadPath { path: printable(path), why }
    }

    pub(crate) fn in_the_way(path: &[u8], there: &'static str, comes: &'static str) -> Self {
        Self::InTheWay { path: printable(path), there, comes }
    }

    /// Nothing is there.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("the disk is full: make room there")
            }
            Self::InTheWay { .. } => Some("choose another destination, or remove what is there"),
            Self::NoDirectory { .. } => Some("make it first: a copy makes one directory at most"),
            Self::NotHere { .. } => Some("copy it as a tar stream: `bottle cp SLUG:PATH - > FILE`"),
            _ => None,
        }
    }
}
