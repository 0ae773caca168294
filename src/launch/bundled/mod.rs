//! A VM, and the bundle that is all it can reach.
//!
//! ```text
//! image ──────────────────────────────┐
//! container ─► [`started`]: its ports,├─► guest::run: boot, provisions ──┬─► process ─► the bundle's end
//!              what the guest gets    └─► daemons ready ─────────────────┘
//!                                         ([`watch`], which looks after the bundle from there on)
//! ```

mod env;
mod started;
mod watch;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use super::life::Life;
use super::output::Output;
use super::run::Observer;
use super::shared::SharedObserver;
use super::{LaunchError, guest};
use crate::bundle::{Bundle, BundleError, Docker};
use crate::image::{Image, ImageError};
use crate::own_images::OwnImageError;
use crate::vm::agent::ExitStatus;

/// Starts the bundle while the image is made ready, boots the VM while the daemons get ready, runs the process behind them, and takes the
/// bundle away again.
pub(super) fn run(
    life: &mut Life,
    output: Output,
    observer: &mut Observer<'_>,
    image: impl FnOnce(&SharedObserver<'_>) -> Result<Image, LaunchError> + Send,
) -> Result<ExitStatus, LaunchError> {
    let host = |what| move |source| LaunchError::Host { what, source };
    let Some(request) = life.plan().bundle.clone() else { return Err(LaunchError::NoBundle) };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(host("cannot start the runtime"))?;
    let docker = runtime.block_on(Docker::connect())?;
    let teardown = BundleTeardown {
        runtime: &runtime,
        docker: &docker,
        state_root: life.dir().root().to_owned(),
        slug: life.slug().to_owned(),
    };

    let interrupt = observer.interrupt;
    let shared = SharedObserver::new(observer);
    let (image, bundle) = thread::scope(|scope| {
        let importing = thread::Builder::new().name("image".to_owned()).spawn_scoped(scope, || {
            let start = Instant::now();
            let imported = image(&shared);
            if imported.is_err() {
                interrupt.abandon();
            }
            (imported, start.elapsed())
        });
        let importing = importing.map_err(host("cannot start a thread"))?;
        let start = Instant::now();
        let bundle = runtime.block_on(started::start(&docker, life.dir(), &request, &shared));
        let bundle_took = start.elapsed();
        if bundle.is_err() {
            interrupt.abandon();
        }
        let (image, image_took) = match importing.join() {
            Ok(imported) => imported,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        shared.note("image", image_took);
        shared.note("bundle", bundle_took);
        Ok::<_, LaunchError>((image, bundle))
    })?;
    interrupt.check()?;
    let (image, mut bundle) = match (image, bundle) {
        (Ok(image), Ok(bundle)) => (image, bundle),
        // Whichever failed first stopped the other one.
        (Err(error), Err(_)) if !is_stop(&error) => return Err(error),
        (_, Err(error)) | (Err(error), _) => return Err(error),
    };
    bundle.note_steps(observer.timings);

    let surroundings = bundle.surroundings(life.plan());
    let slug = life.slug().to_owned();
    let result = watch::meanwhile(&runtime, &docker, &mut bundle, interrupt, |ready| {
        guest::run(life, &image, surroundings, output, observer, |timings| {
            let steps = timings.measure("bundle: waited for", || ready.recv());
            // Why it does not get ready, or that it was interrupted, is what comes of the launch instead.
            let steps = steps.map_err(|_| BundleError::Stopped { slug })?;
            steps.into_iter().for_each(|step| timings.note(step.name, step.took));
            Ok(())
        })
    });
    observer.timings.measure("end of the bundle", || drop(teardown));
    result
}

fn is_stop(error: &LaunchError) -> bool {
    matches!(
        error,
        LaunchError::Image(ImageError::Stopped) | LaunchError::OwnImage(OwnImageError::Stopped { .. })
    )
}

/// Removes the bundle when it is dropped, whatever there is of it.
struct BundleTeardown<'a> {
    runtime: &'a tokio::runtime::Runtime,
    docker: &'a Docker,
    state_root: PathBuf,
    slug: String,
}

impl Drop for BundleTeardown<'_> {
    fn drop(&mut self) {
        let root: &Path = &self.state_root;
        if let Err(error) = self.runtime.block_on(Bundle::remove(self.docker, root, &self.slug)) {
            log::warn!("{error}");
        }
    }
}
