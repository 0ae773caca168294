//! Running tools: one place that names the tool, and what it said, when it fails.

use std::process::{Command, Stdio};

use crate::error::{Error, Result};

/// Runs `command` with its stdout on our stderr (a developer command's stdout is for data) and demands success.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .stdout(stderr())
        .status()
        .map_err(|source| not_started(command, source))?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::Program { program: line(command), status, stderr: String::new() })
    }
}

/// Runs `command` silently, demands success, and returns its stdout. Its stderr is quoted if it fails.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.stdin(Stdio::null()).output().map_err(|source| not_started(command, source))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(Error::Program { program: line(command), status: output.status, stderr })
    }
}

/// As [`output`], for tools that print text.
pub(crate) fn text(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8_lossy(&output(command)?).into_owned())
}

/// Whether `command` can be started and succeeds; whatever it prints is dropped.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Our stderr as a child's output; nowhere, if it cannot be duplicated.
pub(crate) fn stderr() -> Stdio {
    rustix::io::dup(rustix::stdio::stderr()).map_or_else(|_| Stdio::null(), Stdio::from)
}

fn not_started(command: &Command, source: std::io::Error) -> Error {
    Error::Start { program: command.get_program().to_string_lossy().into_owned(), source }
}

fn line(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}
