//! Looks after a bundle while its guest runs: tokens that change are handed over, and a container that ends is not a mystery of
//! refused connections, but the end of the run, with the container's own last words.

use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::started::Started;
use crate::bundle::{Bundle, BundleError, Docker};
use crate::launch::{Interrupt, LaunchError};

/// A process that can't reach anything any more has so long to write down what it has, before it is killed.
const LOST_GRACE: Duration = Duration::from_secs(3);

/// A docker daemon that is restarted is back in so long; what does not answer then is taken for gone, with its containers.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// Between two looks whether it is back.
const SILENCE_PAUSE: Duration = Duration::from_secs(1);

/// Does `step` while a thread of its own looks after the bundle. If the container ends, the process is ended, and the container's end
/// is what comes of the launch, whatever comes of the process.
pub(super) fn meanwhile<T>(
    runtime: &Runtime,
    docker: &Docker,
    bundle: &Started,
    interrupt: &Interrupt,
    step: impl FnOnce() -> Result<T, LaunchError>,
) -> Result<T, LaunchError> {
    thread::scope(|scope| {
        // Dropped, however the step ends.
        let (over, is_over) = oneshot::channel::<()>();
        let watching = thread::Builder::new().name("bundle".to_owned()).spawn_scoped(scope, move || {
            let lost = runtime.block_on(until_lost(docker, bundle, is_over))?;
            interrupt.stop(LOST_GRACE);
            Some(lost)
        });
        let watching =
            watching.map_err(|source| LaunchError::Host { what: "cannot start a thread", source })?;
        let result = step();
        drop(over);
        match watching.join() {
            Ok(Some(lost)) => Err(LaunchError::BundleLost(Box::new(lost))),
            Ok(None) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// How the container ended; nothing if that is not waited for any more.
async fn until_lost(
    docker: &Docker,
    bundle: &Started,
    is_over: oneshot::Receiver<()>,
) -> Option<BundleError> {
    tokio::select! {
        lost = ended(docker, bundle.bundle()) => Some(lost),
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
