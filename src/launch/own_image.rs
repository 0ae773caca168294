//! The images of ours that a launch needs: docker builds them first, if it has to.

use super::LaunchError;
use super::run::Event;
use super::shared::SharedObserver;
use crate::bundle::Docker;
use crate::own_images::{self, BuildProgress, BuildTerms, Ensured, Recipe};

/// Sees to it that docker has the image, if it is one of ours.
pub(super) async fn ensure(
    docker: &Docker,
    image: &str,
    observer: &SharedObserver<'_>,
) -> Result<(), LaunchError> {
    let Some(recipe) = Recipe::of(image) else { return Ok(()) };
    let terms = BuildTerms::of_this_machine()?;
    let mut tell = |progress: &BuildProgress| observer.tell(Event::Build(progress));
    let over = observer.interrupt.over();
    if let Ensured::Built(took) = own_images::ensure(docker, &recipe, &terms, over, &mut tell).await? {
        observer.note(format!("build of {image}"), took);
    }
    Ok(())
}

/// As [`ensure`], for a thread that has nothing to do with docker yet.
pub(super) fn ensure_alone(image: &str, observer: &SharedObserver<'_>) -> Result<(), LaunchError> {
    if Recipe::of(image).is_none() {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| LaunchError::Host { what: "cannot start the runtime", source })?;
    runtime.block_on(async { ensure(&Docker::connect().await?, image, observer).await })
}
