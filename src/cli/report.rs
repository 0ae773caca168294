//! Errors become a line, a `hint:` line and docker's exit codes: 125 for us, 126 and 127 for a command that can't be
//! run, 128 and the number for a signal.

use std::process::ExitCode;

use bottle::bundle::BundleError;
use bottle::image::ImageError;
use bottle::launch::LaunchError;
use bottle::state::StateError;
use bottle::vm::VmError;
use bottle::vm::agent::{AgentError, FailureKind};
use clap::error::ErrorKind;

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
    State(#[from] StateError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
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

/// Says what went wrong, on stderr.
pub(super) fn failure(error: &CliError) -> ExitCode {
    let (code, silent) = exit_code(error);
    if !silent {
        eprintln!("bottle: {}", with_causes(error));
        if let Some(hint) = hint(error) {
            eprintln!("hint: {hint}");
        }
    }
    code.into()
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
    let CliError::Launch(error) = error else { return (LAUNCHER_FAILED, false) };
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
        CliError::State(error) => error.hint(),
        CliError::Bundle(error) => error.hint(),
        CliError::Io { .. } => None,
    }
}

fn launch_hint(error: &LaunchError) -> Option<String> {
    match error {
        LaunchError::Image(error) => error.hint().map(str::to_owned),
        LaunchError::State(error) => error.hint(),
        LaunchError::Bundle(error) => error.hint(),
        LaunchError::Vm(error) => VmError::hint(error).map(str::to_owned),
        LaunchError::Disk(error) => error.hint().map(str::to_owned),
        LaunchError::Agent(error) => AgentError::hint(error).map(str::to_owned),
        LaunchError::NoCommand { .. } => Some("give one behind `--`".to_owned()),
        LaunchError::NoTerminal => Some(
            "leave -t out when stdin is a pipe or a file, or -i when the command needs none of it".to_owned(),
        ),
        _ => None,
    }
}
