//! `bottle resume`.

use std::process::ExitCode;

use clap::Args;

use super::background::Order;
use super::report::CliError;
use super::{Verbosity, here};

/// Start a kept bottle again: the same disk, the same command, and, if it had one, a new bundle.
///
/// The command has our stdin, stdout and stderr, and our terminal if it had one before; its exit code is ours.
#[derive(Debug, Args)]
pub(super) struct ResumeArgs {
    /// Run in the background, without our stdin: print the bottle's name when the command runs.
    #[arg(short, long)]
    detach: bool,
    /// The bottle.
    #[arg(value_name = "SLUG")]
    slug: String,
}

impl ResumeArgs {
    pub(super) fn run(self, verbosity: Verbosity) -> Result<ExitCode, CliError> {
        let order = Order::Resume { slug: self.slug };
        if self.detach { order.start(verbosity) } else { here::carry_out(&order, verbosity.quiet, None) }
    }
}
