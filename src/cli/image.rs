//! `bottle image`.

use std::ops::ControlFlow;
use std::process::ExitCode;

use bottle::image::{Source, Store};
use bottle::state;
use clap::{Args, Subcommand};

use super::progress::ProgressLine;
use super::report::CliError;

/// Imported images.
#[derive(Debug, Subcommand)]
pub(super) enum ImageVerb {
    Import(ImportArgs),
}

/// Import an image into the cache, and print its ID.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The image: docker-archive:PATH, docker-daemon:REF, a path, or a name in the local docker daemon.
    image: String,
}

impl ImageVerb {
    pub(super) fn run(self, quiet: bool) -> Result<ExitCode, CliError> {
        let Self::Import(args) = self;
        let store = Store::open(&state::cache_root()?)?;
        let mut line = ProgressLine::new(quiet);
        let image = store.import(&args.image.parse::<Source>()?, &mut |progress| {
            line.show(progress);
            ControlFlow::Continue(())
        });
        drop(line);
        println!("{}", image?.id);
        Ok(ExitCode::SUCCESS)
    }
}
