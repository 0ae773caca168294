//! `bottle diff`.

use std::process::ExitCode;

use bottle::state;
use bottle::vm::agent::Agent;
use bottle::worktree;
use clap::Args;

use super::report::CliError;

/// Show what an agent has changed in the working tree that it was given with --cwd.
///
/// It is the difference between what went into the bottle and what is there now, whether the agent has committed it or not. Files that
/// git ignores are not in it.
#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// Only how much was changed, by file.
    #[arg(long)]
    stat: bool,
    /// The bottle.
    slug: String,
}

impl DiffArgs {
    pub(super) fn run(self) -> Result<ExitCode, CliError> {
        let bottle = state::find_running(&self.slug)?;
        worktree::diff(&Agent::new(bottle.agent_socket()), &bottle.slug, &bottle.dir, self.stat)?;
        Ok(ExitCode::SUCCESS)
    }
}
