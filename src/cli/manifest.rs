//! The manifest for a verb: where it is, whether it is trusted; and the question before it counts.

use std::io::{self, BufRead, IsTerminal, Write};

use bottle::manifest::{FileError, Layer, Manifest, Places};
use bottle::state;

use super::report::CliError;

/// The manifest for somebody who stands here.
pub(super) fn load() -> Result<Manifest, CliError> {
    let is_trusted = |layer: &Layer| state::is_trusted(&layer.path, &layer.digest).map_err(FileError::from);
    Ok(Manifest::load(&places()?, is_trusted)?)
}

/// Where its files are.
pub(super) fn places() -> Result<Places, CliError> {
    let here = std::env::current_dir()
        .map_err(|source| CliError::Io { what: "cannot tell where we are", source })?;
    Ok(Places::from(&here))
}

/// Shows lines on stderr, each with what it is about.
pub(super) fn show(lines: &[(&str, String)]) {
    let width = lines.iter().map(|(about, _)| about.len()).max().unwrap_or_default();
    let mut last = "";
    for (about, text) in lines {
        eprintln!("  {:width$}  {text}", if *about == last { "" } else { about });
        last = about;
    }
}

/// Asks on the terminal.
pub(super) fn ask(question: &str) -> Result<(), CliError> {
    let (stdin, mut stderr) = (io::stdin(), io::stderr());
    if !stdin.is_terminal() || !stderr.is_terminal() {
        return Err(CliError::Usage {
            what: "there is no terminal to ask on",
            hint: "read what is shown above, and say yes with -y",
        });
    }
    let io = |source| CliError::Io { what: "cannot ask", source };
    write!(stderr, "{question} [y/N] ").map_err(io)?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).map_err(io)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(CliError::Usage { what: "not confirmed: nothing was done", hint: "answer y, or say -y" }),
    }
}
