//! `bottle gc`.

use std::process::ExitCode;

use bottle::bundle::{self, Docker};
use bottle::state::{self, StateDir};
use clap::Args;

use super::report::CliError;

/// Remove what crashed launches left: state directories, containers and networks of bottles that don't live. Those that are kept
/// keep their directory.
///
/// Prints what it removed. Without a docker daemon, only state directories are looked at.
#[derive(Debug, Args)]
pub(super) struct GcArgs {}

impl GcArgs {
    pub(super) fn run(self) -> Result<ExitCode, CliError> {
        let root = state::state_root()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| CliError::Io { what: "cannot start the runtime", source })?;
        let mut failed = false;
        if root.exists() {
            // Bundles first: while its directory stands, a bottle's name is not given to another one.
            match runtime.block_on(Docker::connect()) {
                Ok(docker) => {
                    let swept = runtime
                        .block_on(bundle::sweep(&docker, &root, &|slug| state::is_alive(&root, slug)))?;
                    swept.removed.iter().for_each(|name| println!("{name}"));
                    for (name, error) in &swept.failed {
                        log::error!("{name}: {error}");
                        failed = true;
                    }
                }
                Err(error) => log::warn!("bundles are not looked at: {error}"),
            }
        }
        let dead = state::dead()?;
        for leftover in dead.leftovers {
            let slug = leftover.slug().to_owned();
            leftover.remove()?;
            println!("{slug}");
        }
        dead.kept.iter().try_for_each(StateDir::remove_sockets)?;
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}
