//! `bottle trust`.

use std::path::PathBuf;
use std::process::ExitCode;

use bottle::manifest::{self, FileError, Layer, quoted};
use bottle::state;
use clap::Args;

use super::manifest::{ask, places, show};
use super::report::CliError;

/// Say that a project's manifest may give its agents more than your own allows.
///
/// It shows what that is. What is trusted is the file as it is now, in its place, with the agents beside it: after any change it
/// has to be trusted anew.
#[derive(Debug, Args)]
pub(super) struct TrustArgs {
    /// The manifest [default: the bottle.toml here or above]
    file: Option<PathBuf>,
    /// Don't ask.
    #[arg(short, long)]
    yes: bool,
    /// Trust it no more.
    #[arg(long, conflicts_with = "yes")]
    revoke: bool,
}

impl TrustArgs {
    pub(super) fn run(self) -> Result<ExitCode, CliError> {
        let places = places()?;
        let file = self.file.or_else(|| places.project.clone()).ok_or(FileError::None)?;
        if self.revoke {
            // A file that is gone by now may have been trusted in its place.
            let path = file.canonicalize().or_else(|_| std::path::absolute(&file));
            let path = path.map_err(|source| FileError::Read { path: file, source })?;
            let was = state::distrust(&path)?;
            eprintln!(
                "{} {}",
                path.display(),
                if was { "is not trusted any more" } else { "was not trusted" }
            );
            return Ok(ExitCode::SUCCESS);
        }
        let missing = || FileError::Read { path: file.clone(), source: std::io::ErrorKind::NotFound.into() };
        let project = Layer::read(&file)?.ok_or_else(missing)?;
        let asks = manifest::asks(&project, &places)?;
        if asks.is_empty() {
            eprintln!(
                "{} asks for no more than your own manifest allows",
                quoted(&project.path.to_string_lossy())
            );
        } else {
            eprintln!("{} asks for this, beyond your own manifest:", quoted(&project.path.to_string_lossy()));
            show(&asks.into_iter().map(|ask| ("", ask)).collect::<Vec<_>>());
            if !self.yes {
                ask("Trust it?")?;
            }
        }
        state::trust(&project.path, &project.digest)?;
        Ok(ExitCode::SUCCESS)
    }
}
