//! `bottle init`.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bottle::manifest::{FILE, FileError, Layer};
use bottle::state;
use clap::Args;

use super::image::unwritten;
use super::report::CliError;

const TEMPLATE: &str = include_str!("init.toml");

/// Write a bottle.toml to start with, into this directory.
///
/// What it writes is trusted, see `bottle trust`, unless agents/ has agents already: those may be anybody's. A file that is there
/// already stays as it is.
#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// Write your own manifest instead, ~/.config/bottle/bottle.toml, which is over all projects'.
    #[arg(long)]
    user: bool,
    /// Write to stdout.
    #[arg(long, conflicts_with = "user")]
    print: bool,
}

impl InitArgs {
    pub(super) fn run(self) -> Result<ExitCode, CliError> {
        if self.print {
            write!(io::stdout(), "{TEMPLATE}").map_err(unwritten)?;
            return Ok(ExitCode::SUCCESS);
        }
        let path = if self.user { state::config_root()?.join(FILE) } else { PathBuf::from(FILE) };
        write_new(&path)?;
        if !self.user
            && let Some(written) = Layer::read(&path)?
        {
            // They came with the project, and would be trusted with it.
            if !written.agent_files.is_empty() {
                eprintln!(
                    "{} is written; agents/ has agents already: `bottle trust` shows them, and asks",
                    path.display()
                );
                return Ok(ExitCode::SUCCESS);
            }
            state::trust(&written.path, &written.digest)?;
        }
        eprintln!("{} is written; `bottle run` runs its agent", path.display());
        Ok(ExitCode::SUCCESS)
    }
}

/// Neither over a file nor through a link.
fn write_new(path: &Path) -> Result<(), CliError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => CliError::Usage {
            what: "there is a bottle.toml already",
            hint: "`bottle init --print` shows what would have been written",
        },
        _ => FileError::Write { path: path.to_owned(), source }.into(),
    };
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        fs::create_dir_all(dir).map_err(failed)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path).map_err(failed)?;
    file.write_all(TEMPLATE.as_bytes()).map_err(failed)
}
