//! `bottle probe`.

use std::io::Write;
use std::process::ExitCode;

use bottle::probe::probe;
use clap::Args;

use super::image::unwritten;
use super::report::CliError;

/// Try every way out of a bottle that runs, from inside, and report.
///
/// A program in the guest, as root and as another user, tries to reach the host and the internet: by its kernel, and past it; the
/// host looks what comes of that. The guest's own servers and its disk are left alone. The attempts are in
/// `bottle logs --denials`, as far as there is room. Exits with 0 only if every attempt was refused, and what is allowed works;
/// else with 1.
#[derive(Debug, Args)]
pub(super) struct ProbeArgs {
    /// The report as JSON.
    #[arg(long)]
    json: bool,
    /// The bottle.
    #[arg(value_name = "SLUG")]
    slug: String,
}

impl ProbeArgs {
    pub(super) fn run(self) -> Result<ExitCode, CliError> {
        let report = probe(&self.slug)?;
        let mut out = std::io::stdout().lock();
        let written = if self.json {
            serde_json::to_writer_pretty(&mut out, &report).map_err(Into::into).and_then(|()| writeln!(out))
        } else {
            writeln!(out, "{report}")
        };
        written.map_err(unwritten)?;
        Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
