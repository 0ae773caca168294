//! One step of the demo: a command line, what it is for, and what must come of it.

use std::{
    ffi::OsString,
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Instant,
};

use crate::error::{Context, Error, Result};

/// Part of every line of output, so that a step that does not want it wants silence.
pub(super) const ANYTHING: &str = "\n";

/// A command line as one types it to a shell.
pub(super) struct Step {
    /// What the reader is to see, in a line or two.
    pub(super) about: &'static str,
    pub(super) line: String,
    pub(super) code: i32,
    /// What the output, stdout and stderr, must contain.
    pub(super) wanted: &'static [&'static str],
    /// What it must not contain.
    pub(super) unwanted: &'static [&'static str],
}

/// The variables that the command lines see.
pub(super) type Environment = Vec<(&'static str, OsString)>;

impl Step {
    /// Shows the step and what comes of it; returns what is not as it should be.
    pub(super) fn show(&self, environment: &Environment) -> Result<Vec<String>> {
        println!("\n{}", self.about);
        println!("  $ {}", self.line.replace('\n', "\n    "));
        let start = Instant::now();
        let mut shell = Command::new("bash");
        shell.args(["-c", &self.line]).envs(environment.iter().map(|(name, value)| (name, value)));
        shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = shell.spawn().map_err(|source| Error::Start { program: "bash".into(), source })?;
        let (sender, lines) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            pass_lines(stdout, sender.clone());
        }
        if let Some(stderr) = child.stderr.take() {
            pass_lines(stderr, sender);
        }
        let mut output = String::new();
        for line in lines {
            println!("  | {line}");
            output.push_str(&line);
            output.push('\n');
        }
        let status = child.wait().doing("wait for bash")?;
        println!("  exit code {}, {:.1} s", code(status.code()), start.elapsed().as_secs_f32());
        let problems = self.problems(status.code(), &output);
        for problem in &problems {
            println!("  NOT AS IT SHOULD BE: {problem}");
        }
        Ok(problems)
    }

    fn problems(&self, exit: Option<i32>, output: &str) -> Vec<String> {
        let mut problems = Vec::new();
        if exit != Some(self.code) {
            problems.push(format!("the exit code is {}, not {}", code(exit), self.code));
        }
        let missing = self.wanted.iter().filter(|text| !output.contains(**text));
        problems.extend(missing.map(|text| format!("it did not print {text:?}")));
        let present = self.unwanted.iter().filter(|text| output.contains(**text));
        problems.extend(present.map(|text| format!("it printed {text:?}")));
        problems
    }
}

fn code(code: Option<i32>) -> String {
    code.map_or_else(|| "none (a signal ended it)".into(), |code| code.to_string())
}

fn pass_lines(from: impl Read + Send + 'static, to: mpsc::Sender<String>) {
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
            line.clear();
            if to.send(text).is_err() {
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(line: &str) -> Step {
        Step { about: "", line: line.into(), code: 7, wanted: &["yes"], unwanted: &["no way"] }
    }

    #[test]
    fn all_that_is_wrong_is_told() {
        let wrong =
            step("echo $WORD; echo no way >&2; exit 8").show(&vec![("WORD", "maybe".into())]).unwrap();
        assert_eq!(wrong, ["the exit code is 8, not 7", "it did not print \"yes\"", "it printed \"no way\""]);
        assert!(step("echo $WORD; exit 7").show(&vec![("WORD", "yes".into())]).unwrap().is_empty());
    }
}
