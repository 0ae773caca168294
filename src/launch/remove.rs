//! Removing a bottle that does not live.

use super::stop::StopError;
use crate::bundle::{Bundle, Docker};
use crate::state::{Record, StateDir};

/// Removes a bottle: what is left of its bundle, and its directory. A docker daemon that can't be reached is no reason not to;
/// `bottle gc` sweeps later.
///
/// # Errors
/// When the directory can't be removed.
pub fn remove(dir: StateDir) -> Result<(), StopError> {
    let bundled = Record::read(dir.path()).is_ok_and(|record| record.plan.bundle.is_some());
    if bundled && let Err(error) = remove_bundle(&dir) {
        log::warn!("the bundle of {} may be left, for `bottle gc`: {error}", dir.slug());
    }
    Ok(dir.remove()?)
}

fn remove_bundle(dir: &StateDir) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let docker = Docker::connect().await?;
        Bundle::remove(&docker, dir.root(), dir.slug()).await
    })?;
    Ok(())
}
