//! Errors become a line, a `hint:` line and docker's exit codes: 125 for us, 126 and 127 for a command that can't be
//! run, 128 and the number for a signal.

use std::process::ExitCode;

use bottle::bundle::BundleError;
use bottle::image::ImageError;
use bottle::launch::{LaunchError, StopError};
use bottle::manifest::FileError;
use bottle::own_images::OwnImageError;
use bottle::plan::{CodexLoginError, PrepareError};
use bottle::probe::ProbeError;
use bottle::proposals::ProposalError;
use bottle::state::{NoRecord, StateError};
use bottle::vm::VmError;
use bottle::vm::agent::{AgentError, CopyError, FailureKind};
use bottle::worktree::WorktreeError;
use clap::error::ErrorKind;
use serde::{Deserialize, Serialize};

/// We failed, not the command.
const LAUNCHER_FAILED: u8 = 125;

/// Whoever reads our output has gone: what a shell reports of a program that SIGPIPE ended.
const SIGPIPE_CODE: u8 = 128 + 13;

/// An error of any verb.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    OwnImage(#[from] OwnImageError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Stop(#[from] StopError),
    /// A launcher in the background said this.
    #[error("{}", .0.message)]
    Background(Failure),
    /// It said nothing.
    #[error("the launcher ended before the command ran ({status})")]
    LauncherDied { status: String },
    #[error("nothing is logged of the bottle {slug}")]
    NoLog { slug: String },
    #[error("the bottle {slug} has no log of a daemon {daemon}")]
    NoDaemonLog { slug: String, daemon: String, known: Vec<String> },
    #[error(transparent)]
    Probe(#[from] ProbeError),
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error(transparent)]
    Worktree(#[from] WorktreeError),
    #[error(transparent)]
    Proposal(#[from] ProposalError),
    #[error(transparent)]
    Manifest(#[from] FileError),
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    #[error(transparent)]
    CodexLogin(#[from] CodexLoginError),
    /// Arguments that don't go together.
    #[error("{what}")]
    Usage { what: &'static str, hint: &'static str },
    #[error("{what}: {source}")]
    Io {
        what: &'static str,
        #[source]
        source: std::io::Error,
    },
}

/// A command line that does not parse, or one that asks for help.
pub(super) fn usage(error: &clap::Error) -> ExitCode {
    // Where neither stdout nor stderr can be written, the exit code has to do.
    error.print().unwrap_or_default();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => LAUNCHER_FAILED.into(),
    }
}

/// What is said of an error, and with which exit code; it can be said by another process than the one that failed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Failure {
    pub(super) code: u8,
    silent: bool,
    message: String,
    hint: Option<String>,
}

impl Failure {
    pub(super) fn of(error: &CliError) -> Self {
        if let CliError::Background(failure) = error {
            return failure.clone();
        }
        let (code, silent) = exit_code(error);
        Self { code, silent, message: with_causes(error), hint: hint(error) }
    }

    /// On stderr.
    pub(super) fn print(&self) {
        if !self.silent {
            eprintln!("bottle: {}", self.message);
            if let Some(hint) = &self.hint {
                eprintln!("hint: {hint}");
            }
        }
    }
}

/// Says what went wrong, on stderr.
pub(super) fn failure(error: &CliError) -> ExitCode {
    let failure = Failure::of(error);
    failure.print();
    failure.code.into()
}

/// The message, and behind it each cause that does not say the same again.
fn with_causes(error: &CliError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

fn exit_code(error: &CliError) -> (u8, bool) {
    let error = match error {
        CliError::Launch(error) => error,
        CliError::Io { source, .. } | CliError::Copy(CopyError::Output(source))
            if source.kind() == std::io::ErrorKind::BrokenPipe =>
        {
            return (SIGPIPE_CODE, true);
        }
        _ => return (LAUNCHER_FAILED, false),
    };
    match error {
        LaunchError::Agent(AgentError::Failed(failure)) => match failure.kind {
            FailureKind::NotFound => (127, false),
            FailureKind::NotExecutable => (126, false),
            _ => (LAUNCHER_FAILED, false),
        },
        LaunchError::Interrupted { signal } => {
            (128u8.saturating_add(u8::try_from(*signal).unwrap_or(127)), false)
        }
        LaunchError::Output { source, .. } if source.kind() == std::io::ErrorKind::BrokenPipe => {
            (SIGPIPE_CODE, true)
        }
        _ => (LAUNCHER_FAILED, false),
    }
}

fn hint(error: &CliError) -> Option<String> {
    match error {
        CliError::Launch(error) => launch_hint(error),
        CliError::Image(error) => error.hint().map(str::to_owned),
        CliError::OwnImage(error) => error.hint(),
        CliError::State(error) => error.hint(),
        CliError::Bundle(error) => error.hint(),
        CliError::Stop(error) => error.hint(),
        CliError::Background(failure) => failure.hint.clone(),
        CliError::LauncherDied { .. } => Some("`bottle gc` removes what it may have left".to_owned()),
        CliError::NoLog { .. } => {
            Some("output is logged with -d; without, it goes to where `bottle` was started".to_owned())
        }
        CliError::NoDaemonLog { known, .. } if known.is_empty() => {
            Some("only a bottle whose bundle runs daemons has such logs".to_owned())
        }
        CliError::NoDaemonLog { known, .. } => Some(format!("it has those of {}", known.join(", "))),
        CliError::Copy(error) => error.hint().map(str::to_owned),
        CliError::Worktree(error) => error.hint(),
        CliError::Probe(error) => error.hint(),
        CliError::Proposal(error) => error.hint(),
        CliError::Manifest(error) => error.hint(),
        CliError::Prepare(error) => error.hint(),
        CliError::CodexLogin(error) => Some(error.hint()),
        CliError::Usage { hint, .. } => Some((*hint).to_owned()),
        CliError::Io { .. } => None,
    }
}

fn launch_hint(error: &LaunchError) -> Option<String> {
    match error {
        LaunchError::Image(error) => error.hint().map(str::to_owned),
        LaunchError::OwnImage(error) => error.hint(),
        LaunchError::State(error) => error.hint(),
        LaunchError::Bundle(error) => error.hint(),
        LaunchError::BundleLost(error) => Some(match &**error {
            BundleError::Exited { out_of_memory: true, .. } => {
                "something in it took all the memory that it may have: its logs say what it did last"
                    .to_owned()
            }
            _ => "a bottle that is kept (--keep) has a new bundle after `bottle resume`".to_owned(),
        }),
        LaunchError::Provision(error) => error.hint(),
        LaunchError::Vm(error) => VmError::hint(error).map(str::to_owned),
        LaunchError::Disk(error) => error.hint().map(str::to_owned),
        LaunchError::Agent(error) => AgentError::hint(error).map(str::to_owned),
        LaunchError::NotKept { slug } => Some(format!("`bottle rm {slug}` removes what is left of it")),
        LaunchError::NotResumable { slug, .. } => {
            Some(format!("import that image again if it is gone; `bottle rm {slug}` gives the bottle up"))
        }
        LaunchError::NoRecord(NoRecord::Later { .. }) => Some("use the `bottle` that made it".to_owned()),
        LaunchError::NoRecord(NoRecord::Unreadable { .. }) => {
            Some("`bottle gc` removes what is left of it".to_owned())
        }
        LaunchError::NoCommand { .. } => Some("give one behind `--`".to_owned()),
        LaunchError::NoTerminal => Some(
            "leave -t out when stdin is a pipe or a file, or -i when the command needs none of it".to_owned(),
        ),
        _ => None,
    }
}
