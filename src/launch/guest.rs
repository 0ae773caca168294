//! From an imported image to the end of the process that ran in it.

use std::ffi::OsString;
use std::ops::ControlFlow;

use super::attach::{Attached, attach};
use super::interrupt::{Interrupt, Target};
use super::terminal::{self, RawTerminal};
use super::{LaunchError, Process, Timings};
use crate::image::{Image, ImageError, ImportOptions, Progress, Source, Store};
use crate::state::StateDir;
use crate::vm::agent::{AgentError, ExitStatus};
use crate::vm::{AllowRule, DiskSize, Starting, VmConfig, create_overlay};

/// The machine to run in.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// Virtual processors; the default of [`VmConfig`] if not given.
    pub cpus: Option<u8>,
    /// Memory in MiB; the default of [`VmConfig`] if not given.
    pub memory_mib: Option<u32>,
    /// The disk's size; that for which the image is made if not given: 16 GiB, more for a large one.
    pub disk_size: Option<DiskSize>,
}

/// What a guest gets beside its image.
#[derive(Debug, Clone, Default)]
pub(super) struct Surroundings {
    pub(super) machine: Machine,
    pub(super) allow: Vec<AllowRule>,
    /// Behind the image's environment, and winning over it, in every process.
    pub(super) env: Vec<(String, String)>,
}

/// Imports the image, unless the launch is asked to stop.
pub(super) fn import(
    store: &Store,
    source: &Source,
    options: &ImportOptions,
    interrupt: &Interrupt,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<Image, ImageError> {
    store.import(source, options, &mut |progress| {
        on_progress(progress);
        if interrupt.is_over() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
}

/// Boots a VM over the image, runs the process on our stdio, and ends the VM. Its disk is not kept, so it is not
/// written out either.
pub(super) fn run(
    state: &StateDir,
    image: &Image,
    surroundings: Surroundings,
    process: &Process,
    interrupt: &Interrupt,
    timings: &mut Timings,
) -> Result<ExitStatus, LaunchError> {
    let request = process.request(image.id, &image.config)?;
    let disk = state.path().join("disk.qcow2");
    timings.measure("disk", || create_overlay(&image.base, &disk, surroundings.machine.disk_size))?;

    let mut config = VmConfig::new(state.path(), disk);
    config.hostname = state.slug().to_owned();
    config.cpus = surroundings.machine.cpus.unwrap_or(config.cpus);
    config.memory_mib = surroundings.machine.memory_mib.unwrap_or(config.memory_mib);
    config.disk_size = surroundings.machine.disk_size;
    config.allow = surroundings.allow;
    // What the user set is the bottle's, for each of its processes. Text, as an image's; what is none, only this process gets.
    let text = |text: &OsString| text.to_str().map(str::to_owned);
    let set = process.env.iter().filter_map(|(name, value)| text(name).zip(text(value)));
    config.env = image.config.env.iter().cloned().chain(surroundings.env).chain(set).collect();
    config.user = process.user.clone().or_else(|| image.config.user.clone()).unwrap_or_default();
    let working_dir = process.cwd.as_ref().and_then(text);
    config.working_dir = working_dir.or_else(|| image.config.working_dir.clone()).unwrap_or_default();

    let stopped = |error| interrupt.signal().map_or(error, |signal| LaunchError::Interrupted { signal });
    let starting = Starting::spawn(&config)?;
    interrupt.aim(Target::Boot(starting.killer()));
    let booted = starting.wait();
    let vm = booted.map_err(|error| stopped(error.into()))?;
    timings.note_boot(vm.boot());

    let result = timings.measure("command", || {
        let exec = vm.agent().exec(&request)?;
        // From the last moment on at which an error goes to a terminal as it is.
        let raw = process.takes_terminal().then(RawTerminal::enter).transpose()?;
        interrupt.aim(Target::Process(exec.control(), vm.killer()));
        // It may have changed since the launch began.
        if let Some(size) = request.tty.map(|_| terminal::size()) {
            interrupt.resize(size.rows, size.columns);
        }
        match attach(exec, raw.as_ref(), None)? {
            Attached::Exited(status) => Ok(status),
            Attached::Detached => Err(AgentError::Detached { what: "the command runs".to_owned() }.into()),
        }
    });
    interrupt.aim(Target::Launch);
    let result = result.map_err(|error| match error {
        LaunchError::Agent(error) => vm.explain(error).map_or_else(Into::into, Into::into),
        error => error,
    });
    timings.measure("end of the VM", || vm.kill());
    result.map_err(stopped)
}
