//! The working tree that a bottle works on: put into its guest, and brought back at the end, so that nothing of it is lost with the disk.

use std::path::Path;
use std::time::Duration;

use super::life::Life;
use super::provision::within;
use super::run::Event;
use super::{ProvisionError, Timings};
use crate::plan::WORKSPACE;
use crate::vm::Vm;
use crate::worktree::{self, Pulled, WorktreeError};

/// Some gigabytes, in an emulated machine that is busy.
const PUT_LIMIT: Duration = Duration::from_secs(1800);

/// What an agent has written, by git's own packing of it.
const PULL_LIMIT: Duration = Duration::from_secs(600);

/// Puts it there, unless it is there from an earlier run.
pub(super) fn put(vm: &Vm, life: &Life, user: &str, timings: &mut Timings) -> Result<(), ProvisionError> {
    let Some(top) = life.plan().provide.worktree.as_deref().filter(|_| !life.is_resumed()) else {
        return Ok(());
    };
    // The guest has made its working directory at its start, and those above it.
    let cwd = life.plan().process.cwd.as_deref().map_or(Path::new(WORKSPACE), Path::new);
    let made: Vec<&Path> = cwd.ancestors().filter(|path| path.starts_with(WORKSPACE)).collect();
    let step = || Ok(worktree::put(vm.agent(), top, user, &made, life.path())?);
    timings.measure("provision: worktree", || within(PUT_LIMIT, &vm.killer(), "worktree", step))
}

/// Brings it back as a branch. Says whether the bottle's disk has nothing that is not here.
pub(super) fn bring_back(vm: &Vm, life: &Life, on_event: &mut (dyn FnMut(Event<'_>) + Send)) -> bool {
    if life.plan().provide.worktree.is_none() || !life.has_run() {
        return true;
    }
    let mut pulled: Option<Pulled> = None;
    let pull = || {
        pulled = worktree::pull(vm.agent(), life.slug(), life.path(), None)?;
        Ok(())
    };
    match within(PULL_LIMIT, &vm.killer(), "worktree", pull) {
        Ok(()) => {
            if let Some(pulled) = &pulled {
                on_event(Event::Pulled(pulled));
            }
            true
        }
        Err(error) => {
            log::warn!("what became of the working tree could not be brought back: {error}");
            if let Some(hint) = error.hint() {
                log::warn!("hint: {hint}");
            }
            false
        }
    }
}

impl From<WorktreeError> for ProvisionError {
    fn from(source: WorktreeError) -> Self {
        Self::Worktree(Box::new(source))
    }
}
