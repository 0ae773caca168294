//! What is put into a guest between its boot and its process, through its agent: a step a file, each with an error of its own.
//!
//! ```text
//! ca ──────────────────────────────┐
//! prompt ─► files ─► skills ─► git ─┴─► (the daemons are ready) ─► supervise ─► the process
//! ```
//!
//! - [`ca`]: the CA of the bundle's first hop is trusted.
//! - [`prompt`], [`files`], [`skills`]: what the agent's program reads when it starts.
//! - [`git`]: git fetches from and pushes to git-gate instead of the upstreams that it stands for, and knows who commits.
//! - [`supervise`]: the agent's program is told where it can ask for more.
//! - [`hands`]: what the steps do it with.
//!
//! Each step does the same over again in a bottle that is resumed, whose bundle has another CA and other ports; only [`files`]
//! leaves alone what is there, and what stands in the way in the agent's home is a warning then. The guest may be in an attacker's
//! hands by then: what it says is limited, and believed by nobody but itself.

mod ca;
mod error;
mod files;
mod git;
mod hands;
mod prompt;
mod skills;
mod supervise;

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

pub(super) use ca::{BUNDLE as CA_BUNDLE, Ca};
pub use error::ProvisionError;
pub(super) use git::InsteadOf;
pub(super) use skills::check as check_skills;

use super::Timings;
use crate::plan::Provide;
use crate::vm::{Vm, VmKiller};
use hands::Hands;

/// What a step may take. `update-ca-certificates` takes a second, twenty in an emulated machine, and some times that in one that is busy.
const STEP_LIMIT: Duration = Duration::from_secs(300);

/// What a guest is to get of its bundle.
#[derive(Debug, Clone, Default)]
pub(super) struct Provisions {
    /// The CA of the first hop.
    pub(super) ca: Option<Ca>,
    /// The upstreams of git-gate.
    pub(super) instead_of: Vec<InsteadOf>,
    /// There is a supervise.
    pub(super) supervise: bool,
}

/// Puts all of it there, and what the plan says, but for [`register`]; `again` in a bottle that has run before. The CA is the slow one, and
/// nothing needs it but what speaks to the bundle, which need not be ready for this.
pub(super) fn run(
    vm: &Vm,
    provisions: &Provisions,
    provide: &Provide,
    again: bool,
    timings: &mut Timings,
) -> Result<(), ProvisionError> {
    let hands = Hands::new(vm.agent());
    let (mut of_ca, mut of_others) = (Steps::new(vm), Steps::new(vm));
    let done = thread::scope(|scope| {
        let trusting = thread::Builder::new().name("provision".to_owned()).spawn_scoped(scope, || {
            let Some(ca) = &provisions.ca else { return Ok(()) };
            of_ca.step("ca", "provision: CA", || ca::trust(&hands, ca))
        });
        let trusting = trusting.map_err(|source| ProvisionError::Thread { step: "ca", source })?;
        let others = set_up(&mut of_others, &hands, provisions, provide, again);
        let trusted = trusting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match (trusted, others) {
            // The VM was ended for it, and so the other one failed.
            (Err(late @ ProvisionError::Late { .. }), _) => Err(late),
            (trusted, others) => others.and(trusted),
        }
    });
    for (name, took) in of_ca.took.into_iter().chain(of_others.took) {
        timings.note(name, took);
    }
    done
}

/// Has the agent's program register supervise, which it may ask for that.
pub(super) fn register(
    vm: &Vm,
    provisions: &Provisions,
    provide: &Provide,
    timings: &mut Timings,
) -> Result<(), ProvisionError> {
    if provide.register.is_empty() || !provisions.supervise {
        return Ok(());
    }
    let hands = Hands::new(vm.agent());
    timings.measure("provision: supervise", || supervise::register(&hands, &provide.register))
}

/// What does not need the CA, in an order: the first of them makes the home of a user who has none.
fn set_up(
    steps: &mut Steps,
    hands: &Hands<'_>,
    provisions: &Provisions,
    provide: &Provide,
    again: bool,
) -> Result<(), ProvisionError> {
    // What an agent has done to its own home is no reason not to start it again.
    let own = |done: Result<(), ProvisionError>| match done {
        Err(error) if again && error.is_of_the_guest() => {
            log::warn!("{error}");
            Ok(())
        }
        done => done,
    };
    if let Some(prompt) = &provide.prompt {
        steps.step("prompt", "provision: prompt", || prompt::write(hands, prompt))?;
    }
    if !provide.files.is_empty() {
        steps.step("files", "provision: files", || own(files::write(hands, &provide.files)))?;
    }
    if let (Some(dir), false) = (&provide.skills_dir, provide.skills.is_empty()) {
        steps.step("skills", "provision: skills", || own(skills::copy(hands, &provide.skills, dir)))?;
    }
    if !provisions.instead_of.is_empty() || provide.git_user.is_some() {
        let (upstreams, user) = (&provisions.instead_of, provide.git_user.as_ref());
        steps.step("git", "provision: git", || own(git::set_up(hands, upstreams, user)))?;
    }
    Ok(())
}

/// Steps of one thread, and how long they took.
struct Steps {
    killer: VmKiller,
    took: Vec<(&'static str, Duration)>,
}

impl Steps {
    fn new(vm: &Vm) -> Self {
        Self { killer: vm.killer(), took: Vec::new() }
    }

    /// Does a step, within its limit.
    fn step(
        &mut self,
        step: &'static str,
        name: &'static str,
        work: impl FnOnce() -> Result<(), ProvisionError>,
    ) -> Result<(), ProvisionError> {
        let killer = self.killer.clone();
        self.measure(name, || within(STEP_LIMIT, &killer, step, work))
    }

    fn measure<T>(&mut self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let done = work();
        self.took.push((name, start.elapsed()));
        done
    }
}

/// Does a step, and ends the VM when it takes too long: nothing less ends all that a guest can keep waiting.
pub(super) fn within(
    limit: Duration,
    killer: &VmKiller,
    step: &'static str,
    work: impl FnOnce() -> Result<(), ProvisionError>,
) -> Result<(), ProvisionError> {
    thread::scope(|scope| {
        let (done, is_done) = channel::<()>();
        let watching = thread::Builder::new().name("provision".to_owned()).spawn_scoped(scope, move || {
            let late = is_done.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
            if late {
                killer.kill();
            }
            late
        });
        let watching = watching.map_err(|source| ProvisionError::Thread { step, source })?;
        let result = work();
        drop(done);
        match watching.join() {
            Ok(true) => Err(ProvisionError::Late { step, limit_s: limit.as_secs() }),
            Ok(false) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
