//! The flags that say where a launcher runs and what becomes of its bottle.

use clap::Args;

#[derive(Debug, Args)]
pub(super) struct KeepArgs {
    /// Run in the background: print the bottle's name when the command runs, log its output for `bottle logs`, and keep the
    /// bottle.
    #[arg(short, long, conflicts_with_all = ["interactive", "timings"])]
    pub(super) detach: bool,
    /// Keep the bottle with its disk when the command has ended, until `bottle rm`; `bottle resume` starts it again. -d does
    /// that too.
    #[arg(long, conflicts_with = "rm")]
    keep: bool,
    /// Remove the bottle when the command has ended, which is what happens without -d.
    #[arg(long)]
    rm: bool,
}

impl KeepArgs {
    pub(super) fn keep(&self) -> bool {
        self.keep || (self.detach && !self.rm)
    }
}
