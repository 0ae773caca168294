//! `bottle stop` and `bottle rm`: verbs that end bottles, several at once.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use bottle::launch::{self, Stopped};
use bottle::state::{self, StateDir, StateError};
use clap::Args;

use super::image::unwritten;
use super::report::{self, CliError};

/// End bottles: their command gets SIGTERM, and SIGKILL after a while.
///
/// A bottle that is kept shuts down, its disk is written out, and `bottle resume` starts it again; any other is gone
/// afterwards. Prints the name of each that has ended.
#[derive(Debug, Args)]
pub(super) struct StopArgs {
    /// Seconds between the two signals.
    #[arg(short, long, value_name = "SECONDS", default_value_t = 10)]
    time: u32,
    /// The bottles.
    #[arg(required = true, value_name = "SLUG")]
    slugs: Vec<String>,
}

/// Remove bottles that do not live, with their disks.
///
/// Prints the name of each that is gone.
#[derive(Debug, Args)]
pub(super) struct RmArgs {
    /// Also those that live: they are ended at once.
    #[arg(short, long)]
    force: bool,
    /// The bottles.
    #[arg(required = true, value_name = "SLUG")]
    slugs: Vec<String>,
}

impl StopArgs {
    pub(super) fn run(self) -> Result<ExitCode, CliError> {
        let grace = Duration::from_secs(self.time.into());
        for_each(&self.slugs, |slug| {
            if launch::stop(&state::find(slug)?, grace)? == Stopped::ByForce {
                log::warn!("the launcher of {slug} did not answer in time, and was killed with its VM");
            }
            Ok(())
        })
    }
}

impl RmArgs {
    pub(super) fn run(self) -> Result<ExitCode, CliError> {
        for_each(&self.slugs, |slug| {
            let bottle = state::find(slug)?;
            let ended = bottle.alive && self.force;
            if ended {
                launch::stop(&bottle, Duration::ZERO)?;
            }
            match StateDir::take(slug) {
                // It was not to be kept.
                Err(StateError::Unknown { .. }) if ended => Ok(()),
                dir => Ok(launch::remove(dir?)?),
            }
        })
    }
}

/// Goes on past a failure. Prints the names of those that are done.
fn for_each(
    slugs: &[String],
    mut action: impl FnMut(&str) -> Result<(), CliError>,
) -> Result<ExitCode, CliError> {
    let mut code = ExitCode::SUCCESS;
    for slug in slugs {
        match action(slug) {
            Ok(()) => writeln!(std::io::stdout(), "{slug}").map_err(unwritten)?,
            Err(error) => code = report::failure(&error),
        }
    }
    Ok(code)
}
