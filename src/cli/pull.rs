//! `bottle pull`.

use std::io::Write;
use std::process::ExitCode;

use bottle::state;
use bottle::vm::agent::Agent;
use bottle::worktree::{self, Pulled};
use clap::Args;

use super::image::unwritten;
use super::report::CliError;

/// Bring an agent's work on the working tree that it was given with --cwd back, as a branch.
///
/// The branch has the agent's commits, and one more for what it has not committed. Your working tree stays as it is. The same is done
/// when the agent ends. The branch's name is printed; nothing, if there is no change.
#[derive(Debug, Args)]
pub(super) struct PullArgs {
    /// The branch of your repository [default: bottle/SLUG]
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// The bottle.
    slug: String,
}

impl PullArgs {
    pub(super) fn run(self, quiet: bool) -> Result<ExitCode, CliError> {
        let bottle = state::find_running(&self.slug)?;
        let agent = Agent::new(bottle.agent_socket());
        let pulled = worktree::pull(&agent, &bottle.slug, &bottle.dir, self.branch.as_deref())?;
        match pulled {
            Some(pulled) => {
                tell(&pulled, quiet);
                writeln!(std::io::stdout(), "{}", pulled.branch).map_err(unwritten)?;
            }
            None if !quiet => eprintln!("bottle: nothing has changed"),
            None => {}
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What can be done with it now.
pub(super) fn tell(pulled: &Pulled, quiet: bool) {
    if !quiet {
        let Pulled { top, branch, commits } = pulled;
        let commits = if *commits == 1 { "1 commit".to_owned() } else { format!("{commits} commits") };
        eprintln!("bottle: {commits} on the branch {branch} of {}", top.display());
        eprintln!("hint: `git log -p ..{branch}` shows it, `git merge {branch}` takes it");
    }
}
