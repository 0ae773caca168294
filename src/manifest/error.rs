//! What can be wrong with a manifest's files, and with what is asked of them.

use std::io;
use std::path::{Path, PathBuf};

use super::source::{Position, quoted};
use crate::state::StateError;

/// See the module.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// A file can't be read.
    #[error("cannot read {}: {source}", shown(path))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A new one can't be written.
    #[error("cannot write {}: {source}", shown(path))]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is a directory, a pipe or a device.
    #[error("{} is no file", shown(path))]
    NoFile {
        /// The path.
        path: PathBuf,
    },
    /// It is larger than any manifest.
    #[error("{} is larger than {most_kib} KiB", shown(path))]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What it may have.
        most_kib: u64,
    },
    /// It is not UTF-8.
    #[error("{}:{line}: not UTF-8", shown(path))]
    NoText {
        /// The file.
        path: PathBuf,
        /// Where it ends to be.
        line: usize,
    },
    /// More agents than anybody has.
    #[error("{} has more than {most} agents", shown(path))]
    TooManyAgents {
        /// The directory.
        path: PathBuf,
        /// As many as there may be.
        most: usize,
    },
    /// Something in a file is not right.
    #[error("{at}: {what}\n  {}\n  {}^", at.text, " ".repeat(at.column.saturating_sub(1).min(at.text.chars().count())))]
    Wrong {
        /// Where.
        at: Box<Position>,
        /// What.
        what: String,
        /// What can be done about it.
        hint: String,
    },
    /// A project's file that nobody has trusted asks for more than the user's file gives.
    #[error(
        "{} asks for more than your own manifest allows, and is not trusted: {}",
        shown(path),
        summary(asks)
    )]
    Untrusted {
        /// The file.
        path: PathBuf,
        /// What it asks for, one thing each.
        asks: Vec<String>,
    },
    /// There is no file at all.
    #[error("there is no bottle.toml here or above, and none of the user's")]
    None,
    /// What is trusted can't be looked up.
    #[error(transparent)]
    State(#[from] StateError),
}

/// A path may be anybody's as well.
fn shown(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// More than a few are for `bottle trust` to show.
fn summary(asks: &[String]) -> String {
    match asks {
        [a, b, c, _, ..] => format!("{a}; {b}; {c}; and {} more", asks.len() - 3),
        few => few.join("; "),
    }
}

impl FileError {
    /// Something that is not right there. `what` may hold words of the file.
    pub(super) fn wrong(at: Position, what: impl Into<String>, hint: impl Into<String>) -> Self {
        let lines = |text: String| {
            text.split(['\n', '\r']).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", ")
        };
        let harmless = |text: String| {
            lines(text)
                .chars()
                .filter(|c| !c.is_control() && (c.is_ascii() || c.escape_debug().count() == 1))
                .collect()
        };
        Self::Wrong { at: Box::new(at), what: harmless(what.into()), hint: harmless(hint.into()) }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { .. } => Some("make it readable, or start `bottle` elsewhere".to_owned()),
            Self::Write { .. } => Some("go where you may write, or use `bottle init --print`".to_owned()),
            Self::NoFile { .. } => Some("a manifest is a file: move away what is in its place".to_owned()),
            Self::TooLarge { .. } | Self::NoText { .. } => {
                Some("a manifest is a short text in UTF-8; `bottle init` writes one".to_owned())
            }
            Self::TooManyAgents { .. } => Some("move those away that are not in use".to_owned()),
            Self::Wrong { hint, .. } => Some(hint.clone()),
            Self::Untrusted { path, .. } => Some(format!("read it, then `bottle trust {}` shows all of it and asks", shown(path))),
            Self::None => Some(
                "`bottle init` writes one; --bundle-image with --bundle-port runs a command behind a proxy of yours"
                    .to_owned(),
            ),
            Self::State(error) => error.hint(),
        }
    }
}
