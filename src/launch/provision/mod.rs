//! What is put into a guest between its boot and its process, through its agent: a step a file, each with an error of its own.
//!
//! - [`ca`]: the CA of the bundle's first hop is trusted.
//! - [`git`]: git fetches from and pushes to git-gate instead of the upstreams that it stands for.
//! - [`hands`]: what the steps do it with.
//!
//! Each step does the same over again in a bottle that is resumed, whose bundle has another CA and other ports. The guest may be in an
//! attacker's hands by then: what it says is limited, and believed by nobody but itself.

mod ca;
mod error;
mod git;
mod hands;

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

pub(super) use ca::BUNDLE as CA_BUNDLE;
pub use error::ProvisionError;
pub(super) use git::InsteadOf;

use super::Timings;
use crate::vm::{Vm, VmKiller};
use hands::Hands;

/// What a step may take. `update-ca-certificates` takes a second, twenty in an emulated machine, and some times that in one that is busy.
const STEP_LIMIT: Duration = Duration::from_secs(300);

/// What a guest is to get.
#[derive(Debug, Clone, Default)]
pub(super) struct Provisions {
    /// The daemon that is the first hop, and its CA, PEM.
    pub(super) ca: Option<(&'static str, String)>,
    /// The upstreams of git-gate.
    pub(super) instead_of: Vec<InsteadOf>,
}

/// Puts all of it there.
pub(super) fn run(vm: &Vm, provisions: &Provisions, timings: &mut Timings) -> Result<(), ProvisionError> {
    let hands = Hands::new(vm.agent());
    if let Some((daemon, certificate)) = &provisions.ca {
        let step = || within(STEP_LIMIT, &vm.killer(), "ca", || ca::trust(&hands, daemon, certificate));
        timings.measure("provision: CA", step)?;
    }
    if !provisions.instead_of.is_empty() {
        let step =
            || within(STEP_LIMIT, &vm.killer(), "git", || git::send_to_gate(&hands, &provisions.instead_of));
        timings.measure("provision: git", step)?;
    }
    Ok(())
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
