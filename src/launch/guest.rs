//! From an imported image to the end of the process that ran in it.

use std::ffi::OsString;
use std::time::Duration;

use super::attach::{Attached, attach};
use super::interrupt::Target;
use super::life::Life;
use super::output::{Output, log_output};
use super::provision::{self, Provisions};
use super::run::{Event, Observer};
use super::terminal::{self, RawTerminal};
use super::{Interrupt, LaunchError, Timings, worktree};
use crate::image::Image;
use crate::plan::{Machine, Process};
use crate::state;
use crate::vm::agent::{AgentError, ExitStatus};
use crate::vm::{AllowRule, Starting, Vm, VmConfig, VmError, Volume, check_volumes, create_overlay};

/// What a process leaves running in a kept bottle has so long to end, a database that writes its pages out for one; then the
/// disk is written out.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// What a guest gets beside its image.
#[derive(Debug, Clone, Default)]
pub(super) struct Surroundings {
    pub(super) allow: Vec<AllowRule>,
    /// Behind the image's environment, and winning over it, in every process.
    pub(super) env: Vec<(String, String)>,
    /// What is put into it before the process starts.
    pub(super) provisions: Provisions,
}

/// Boots a VM over the image, runs the process, and ends the VM: a disk that is not kept is not written out either. What is run in
/// the guest may reach its surroundings once `until_ready` has returned.
pub(super) fn run(
    life: &mut Life,
    image: &Image,
    surroundings: Surroundings,
    output: Output,
    observer: &mut Observer<'_>,
    until_ready: impl FnOnce(&mut Timings) -> Result<(), LaunchError>,
) -> Result<ExitStatus, LaunchError> {
    let Observer { interrupt, on_event, timings } = observer;
    let process = output.fit(life.plan().process.clone());
    let request = process.request(image.id, &image.config)?;
    let Surroundings { allow, env, provisions } = surroundings;
    let mut config = configure(life, image, env, &process, timings)?;
    config.allow = allow;

    let stopped = |error| interrupt.signal().map_or(error, |signal| LaunchError::Interrupted { signal });
    let starting = Starting::spawn(&config)?;
    interrupt.aim(Target::Boot(starting.killer()));
    let booted = starting.wait();
    let vm = booted.map_err(|error| stopped(error.into()))?;
    timings.note_boot(vm.boot());
    let provide = &life.plan().provide;
    let provisioned = provision::run(&vm, &provisions, provide, life.is_resumed(), timings)
        .and_then(|()| worktree::put(&vm, life, &config.user, timings))
        .map_err(LaunchError::from)
        .and_then(|()| until_ready(timings))
        .and_then(|()| Ok(provision::register(&vm, &provisions, provide, timings)?));

    // If not, the disk is as it was, or worth nothing; and the VM may have been ended.
    let is_set_up = provisioned.is_ok();
    let mut command = timings.begin_command();
    let result = provisioned.and_then(|()| {
        let exec = vm.agent().exec(&request)?;
        // From the last moment on at which an error goes to a terminal as it is.
        let raw = process.takes_terminal().then(RawTerminal::enter).transpose()?;
        interrupt.aim(Target::Process(exec.control(), vm.killer()));
        // It may have changed since the launch began.
        if let Some(size) = request.tty.map(|_| terminal::size()) {
            interrupt.resize(size.rows, size.columns);
        }
        // Whoever is told that it runs may stop it.
        life.runs(&config.allow)?;
        on_event(Event::Runs { slug: life.slug() });
        match output {
            Output::Ours => match attach(exec, raw.as_ref(), None, || command.first_output())? {
                Attached::Exited(status) => Ok(status),
                Attached::Detached => {
                    Err(AgentError::Detached { what: "the command runs".to_owned() }.into())
                }
            },
            Output::Logged => log_output(exec, life.path(), &life.followers()),
        }
    });
    command.end();
    let result = result.map_err(|error| match error {
        LaunchError::Agent(error) => vm.explain(error).map_or_else(Into::into, Into::into),
        error => error,
    });
    if is_set_up && !bring_back(&vm, life, interrupt, on_event) {
        life.keep(image);
    }
    timings.measure("end of the VM", || end(vm, life.plan().keep, interrupt));
    result.map_err(stopped)
}

/// The volumes as a guest can have them. Refused are those that can't be, and those that would give it what bottles, images
/// or the guest kernel are in.
pub(super) fn volumes(machine: &Machine) -> Result<Vec<Volume>, LaunchError> {
    let walls = [state::state_root()?, state::cache_root()?, state::data_root()?];
    Ok(check_volumes(&machine.volumes, &walls).map_err(VmError::from)?)
}

/// The disk, new or as the last run left it, and what the VM is to be.
fn configure(
    life: &mut Life,
    image: &Image,
    surroundings: Vec<(String, String)>,
    process: &Process,
    timings: &mut Timings,
) -> Result<VmConfig, LaunchError> {
    let machine = life.plan().machine.clone();
    let disk = life.path().join("disk.qcow2");
    if life.is_resumed() {
        if !disk.exists() {
            let why = "its disk is gone".to_owned();
            return Err(LaunchError::NotResumable { slug: life.slug().to_owned(), why });
        }
    } else {
        life.stands_on(image)?;
        timings.measure("disk", || create_overlay(&image.base, &disk, machine.disk_size))?;
    }
    let mut config = VmConfig::new(life.path(), disk);
    config.hostname = life.slug().to_owned();
    config.cpus = machine.cpus.unwrap_or(config.cpus);
    config.memory_mib = machine.memory_mib.unwrap_or(config.memory_mib);
    config.base = Some(image.base.clone());
    config.confine = machine.confine;
    config.disk_size = machine.disk_size;
    config.volumes = volumes(&machine)?;
    // What the user set is the bottle's, for each of its processes. Text, as an image's; what is none, only this process gets.
    let text = |text: &OsString| text.to_str().map(str::to_owned);
    let set = process.env.iter().filter_map(|(name, value)| text(name).zip(text(value)));
    config.env = image.config.env.iter().cloned().chain(surroundings).chain(set).collect();
    config.user = process.user.clone().or_else(|| image.config.user.clone()).unwrap_or_default();
    let working_dir = process.cwd.as_ref().and_then(text);
    config.working_dir = working_dir.or_else(|| image.config.working_dir.clone()).unwrap_or_default();
    config.lock = Some(life.dir().lock());
    Ok(config)
}

/// Brings the working tree back, however the process ended. Signals that come now are as patient as during a shutdown.
fn bring_back(
    vm: &Vm,
    life: &Life,
    interrupt: &Interrupt,
    on_event: &mut (dyn FnMut(Event<'_>) + Send),
) -> bool {
    interrupt.aim(Target::Shutdown(vm.killer()));
    worktree::bring_back(vm, life, on_event)
}

/// Ends the VM: in order if its disk is kept, and otherwise like a power cut, since nothing of it is worth a shutdown.
fn end(vm: Vm, keep: bool, interrupt: &Interrupt) {
    if keep {
        interrupt.aim(Target::Shutdown(vm.killer()));
        // The disk is then as after a power cut: its journal is as good.
        if let Err(error) = vm.shutdown(SHUTDOWN_GRACE) {
            log::warn!("the guest did not shut down, and was ended by force: {error}");
        }
    } else {
        interrupt.aim(Target::Launch);
        vm.kill();
    }
    interrupt.aim(Target::Launch);
}
