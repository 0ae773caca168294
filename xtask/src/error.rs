//! The one error type of the developer commands: a line that names the thing.

use std::{io, path::PathBuf, process::ExitStatus};

/// The exit code for a failure of `xtask` itself, as docker has it.
pub(crate) const FAILED: u8 = 125;

/// Why a developer command could not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file or directory could not be used.
    #[error("{action} {}: {source}", path.display())]
    File {
        /// What was tried, as a verb in the infinitive: "read".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A system call without a file failed.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A program could not be started.
    #[error("start {program}: {source}")]
    Start {
        /// The program's name or path.
        program: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A program ran and failed.
    #[error("{program} failed ({status}){}", quoted(stderr))]
    Program {
        /// The program with its arguments.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to stderr, if that was caught.
        stderr: String,
    },
    /// Anything else, in a whole line.
    #[error("{0}")]
    Other(String),
}

/// What most functions here return.
pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A failure that is told in a line of its own.
    pub(crate) fn other(message: impl Into<String>) -> Self {
        Self::Other(message.into())
    }
}

/// Turns an `io::Error` into one that names what was being done.
pub(crate) trait Context<T> {
    /// Names the file that could not be read, written, made, …
    fn file(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T>;
    /// Names what was being done.
    fn doing(self, what: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn file(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T> {
        self.map_err(|source| Error::File { action, path: path.into(), source: source.into() })
    }

    fn doing(self, what: impl Into<String>) -> Result<T> {
        self.map_err(|source| Error::System { what: what.into(), source: source.into() })
    }
}

fn quoted(stderr: &str) -> String {
    let text = stderr.trim_end();
    if text.is_empty() { String::new() } else { format!(":\n{text}") }
}
