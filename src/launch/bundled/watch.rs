//! Looks after a bundle from the moment that its container runs: says when its daemons are ready, while the guest boots; then tokens
//! that change are handed over, and a container that ends is not a mystery of refused connections, but the end of the run, with the
//! container's own last words.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::started::Started;
use crate::bundle::{Bundle, BundleError, Docker};
use crate::launch::{Interrupt, LaunchError, Step};

/// A process that can't reach anything any more has so long to write down what it has, before it is killed.
const LOST_GRACE: Duration = Duration::from_secs(3);

/// A docker daemon that is restarted is back in so long; what does not answer then is taken for gone, with its containers.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// Between two looks whether it is back.
const SILENCE_PAUSE: Duration = Duration::from_secs(1);

/// Does `step` while a thread of its own looks after the bundle. The step is told when the daemons are ready, and how long they took; it
/// hears nothing if they can't get there. If that is so, or the container ends, VM and process are ended, and the bundle's failure is what
/// comes of the launch, whatever comes of the process.
pub(super) fn meanwhile<T>(
    runtime: &Runtime,
    docker: &Docker,
    bundle: &mut Started,
    interrupt: &Interrupt,
    step: impl FnOnce(&Receiver<Vec<Step>>) -> Result<T, LaunchError>,
) -> Result<T, LaunchError> {
    thread::scope(|scope| {
        // Dropped, however the step ends.
        let (over, is_over) = oneshot::channel::<()>();
        let (ready, is_ready) = channel();
        let watching = thread::Builder::new().name("bundle".to_owned()).spawn_scoped(scope, move || {
            let failed = runtime.block_on(look_after(docker, bundle, interrupt, ready, is_over))?;
            interrupt.stop(LOST_GRACE);
            Some(failed)
        });
        let watching =
            watching.map_err(|source| LaunchError::Host { what: "cannot start a thread", source })?;
        let result = step(&is_ready);
        drop(over);
        match watching.join() {
            Ok(Some(failed)) => Err(failed),
            Ok(None) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// What became of the bundle that ends the launch; nothing if that is not waited for any more.
async fn look_after(
    docker: &Docker,
    bundle: &mut Started,
    interrupt: &Interrupt,
    ready: Sender<Vec<Step>>,
    mut is_over: oneshot::Receiver<()>,
) -> Option<LaunchError> {
    let steps = tokio::select! {
        steps = bundle.wait_ready(docker) => steps,
        // The VM is ended for it.
        () = interrupt.over() => return None,
        _ = &mut is_over => return None,
    };
    match steps {
        // Nobody listens any more if the boot has failed.
        Ok(steps) => ready.send(steps).unwrap_or_default(),
        Err(error) => return Some(error.into()),
    }
    tokio::select! {
        lost = ended(docker, bundle.bundle()) => Some(LaunchError::BundleLost(Box::new(lost))),
        () = bundle.tend(docker) => None,
        _ = is_over => None,
    }
}

/// Waits for the container's end, through a docker daemon that is restarted meanwhile: containers may outlive that.
async fn ended(docker: &Docker, bundle: &Bundle) -> BundleError {
    let mut silent = None;
    loop {
        let asked = Instant::now();
        let lost = bundle.ended(docker).await;
        if matches!(lost, BundleError::Exited { .. } | BundleError::Gone { .. }) {
            return lost;
        }
        if asked.elapsed() > SILENCE_PAUSE {
            silent = None;
        }
        if silent.get_or_insert(asked).elapsed() > SILENCE_LIMIT {
            return lost;
        }
        log::debug!("{lost}; asked again");
        tokio::time::sleep(SILENCE_PAUSE).await;
    }
}
