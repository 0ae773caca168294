//! `bottle schema`.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;

use super::image::unwritten;
use super::report::CliError;

/// Print the JSON schema of bottle.toml, for editors.
#[derive(Debug, Args)]
pub(super) struct SchemaArgs {}

impl SchemaArgs {
    pub(super) fn run(self) -> Result<ExitCode, CliError> {
        write!(std::io::stdout(), "{}", bottle::manifest::schema()).map_err(unwritten)?;
        Ok(ExitCode::SUCCESS)
    }
}
