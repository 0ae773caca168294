//! `bottle exec`.

use std::ffi::OsString;
use std::process::ExitCode;

use bottle::launch::{Attached, DetachKeys, ExecRun, start_exec};
use clap::Args;

use super::process::StdioArgs;
use super::report::CliError;
use super::signals;

/// Run a command in a bottle that runs.
///
/// The command gets the bottle's environment, user and working directory. Its exit code is ours; 125 says that it could not
/// be started, 126 and 127 that it can't be run or is not there. When this program ends before the command does, the command
/// gets SIGHUP, and is killed two seconds later.
#[derive(Debug, Args)]
pub(super) struct ExecArgs {
    #[command(flatten)]
    stdio: StdioArgs,
    /// Don't wait for the command: it goes on by itself, and its output goes nowhere.
    #[arg(short, long)]
    detach: bool,
    /// The keys that, with -i and -t, leave the command running and end this program.
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: DetachKeys,
    /// The bottle.
    slug: String,
    /// The command and its arguments, behind `--` or not.
    #[arg(value_name = "CMD", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

impl ExecArgs {
    pub(super) fn run(self, quiet: bool) -> Result<ExitCode, CliError> {
        let run = ExecRun {
            slug: self.slug,
            process: self.stdio.process(self.command),
            detached: self.detach,
            detach_keys: self.detach_keys,
        };
        let executing = start_exec(&run)?;
        signals::pass_to(&executing)?;
        match executing.attach()? {
            Attached::Exited(status) => Ok(signals::exit_code(status)),
            Attached::Detached => {
                if !quiet && !run.detached {
                    // Behind whatever the command has last written.
                    eprintln!("\nbottle: detached; the command goes on in {}", run.slug);
                }
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: ExecArgs,
    }

    fn command(words: &[&str]) -> Option<Vec<OsString>> {
        Line::try_parse_from([&["exec"], words].concat()).ok().map(|line| line.args.command)
    }

    #[test]
    fn the_command_begins_behind_the_name_with_two_dashes_or_without() {
        let is = |words: &[&str]| Some(words.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(command(&["x", "ls"]), is(&["ls"]));
        assert_eq!(command(&["-it", "x", "ls", "-l", "--", "-i"]), is(&["ls", "-l", "--", "-i"]));
        assert_eq!(command(&["-d", "x", "--", "ls", "-l", "--", "-i"]), is(&["ls", "-l", "--", "-i"]));
        assert_eq!(command(&["x", "-l"]), is(&["-l"]));
        assert_eq!(command(&["x"]), None);
        assert_eq!(command(&[]), None);
    }
}
