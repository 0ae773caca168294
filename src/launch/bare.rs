//! `bottle vm run`: an image, a VM, a process, and no bundle.

use super::guest::{self, Machine, Surroundings, import};
use super::{Interrupt, LaunchError, Process, Timings};
use crate::image::{ImportOptions, Progress, Source, Store};
use crate::state::{self, StateDir};
use crate::vm::AllowRule;
use crate::vm::agent::ExitStatus;

/// What to run, and in what.
#[derive(Debug)]
pub struct BareRun {
    /// The image.
    pub image: Source,
    /// How it is imported.
    pub import: ImportOptions,
    /// The VM's name; a random one if not given.
    pub name: Option<String>,
    /// Its size.
    pub machine: Machine,
    /// What it may connect to; nothing if empty.
    pub allow: Vec<AllowRule>,
    /// The process.
    pub process: Process,
}

/// Runs a process in a VM of its own, on our stdio, and leaves nothing behind but the image in the cache.
///
/// # Errors
/// When anything but the process fails. What was made by then is gone again.
pub fn run_bare(
    run: &BareRun,
    interrupt: &Interrupt,
    on_progress: &mut (dyn FnMut(Progress) + Send),
    timings: &mut Timings,
) -> Result<ExitStatus, LaunchError> {
    // Before anything takes time.
    run.process.check_terminal()?;
    let store = Store::open(&state::cache_root()?)?;
    let image = timings.measure("image", || import(&store, &run.image, &run.import, interrupt, on_progress));
    interrupt.check()?;
    let image = image?;
    let state = StateDir::create(run.name.as_deref(), "vm")?;
    let surroundings =
        Surroundings { machine: run.machine.clone(), allow: run.allow.clone(), env: Vec::new() };
    let result = guest::run(&state, &image, surroundings, &run.process, interrupt, timings);
    // The command's own end is what counts; this is worth a word.
    if let Err(error) = state.remove() {
        log::warn!("{error}");
    }
    result
}
