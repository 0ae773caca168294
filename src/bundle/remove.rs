//! Taking a bundle away, and sweeping what a crash left.
//!
//! Everything is found by label and removed by ID. What is gone already counts as removed. A failure does not keep
//! the rest from being removed; the first one is reported.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use bollard::errors::Error;
use bollard::models::NetworkDisconnectRequest;
use bollard::query_parameters::{ListContainersOptions, ListNetworksOptions, RemoveContainerOptions};

use super::client::Docker;
use super::error::{BundleError, status};
use super::names::{self, SLUG_LABEL};

/// How long someone else's removal of the same container may take before we call it stuck: docker gives the processes in
/// it 10 s to die, then unmounts.
const OTHERS_REMOVAL: Duration = Duration::from_secs(30);
/// Between two looks at it.
const OTHERS_RETRY: Duration = Duration::from_millis(100);

/// One thing of ours that docker has.
pub(super) struct Found {
    pub(super) id: String,
    name: String,
    slug: String,
}

/// What [`sweep`] did.
#[derive(Debug, Default)]
pub struct Swept {
    /// The slugs of the bundles that are gone.
    pub removed: Vec<String>,
    /// Those that are not, or not wholly, and why.
    pub failed: Vec<(String, BundleError)>,
}

/// Removes all that is labelled as this bottle's: containers first, then networks.
pub(super) async fn remove(docker: &Docker, state_dir: &Path, slug: &str) -> Result<(), BundleError> {
    let mut first = Ok(());
    let mut note = |result: Result<(), BundleError>| {
        if let Err(error) = result {
            log::debug!("removing the bundle of {slug}: {error}");
            if first.is_ok() {
                first = Err(error);
            }
        }
    };
    match containers(docker, state_dir, Some(slug)).await {
        Ok(found) => {
            for one in found {
                note(remove_container(docker, &one).await);
            }
        }
        Err(error) => note(Err(error)),
    }
    match networks(docker, state_dir, Some(slug)).await {
        Ok(found) => {
            for one in found {
                note(remove_network(docker, &one).await);
            }
        }
        Err(error) => note(Err(error)),
    }
    first
}

/// Removes the bundles of this state directory whose bottle is dead. `is_alive` is asked once a slug; a slug that is being
/// launched right now must count as alive.
pub async fn sweep(
    docker: &Docker,
    state_dir: &Path,
    is_alive: &dyn Fn(&str) -> bool,
) -> Result<Swept, BundleError> {
    let mut slugs: BTreeSet<String> = BTreeSet::new();
    slugs.extend(containers(docker, state_dir, None).await?.into_iter().map(|one| one.slug));
    slugs.extend(networks(docker, state_dir, None).await?.into_iter().map(|one| one.slug));
    let mut swept = Swept::default();
    for slug in slugs.into_iter().filter(|slug| !is_alive(slug)) {
        match remove(docker, state_dir, &slug).await {
            Ok(()) => swept.removed.push(slug),
            Err(error) => swept.failed.push((slug, error)),
        }
    }
    Ok(swept)
}

pub(super) async fn containers(
    docker: &Docker,
    state_dir: &Path,
    slug: Option<&str>,
) -> Result<Vec<Found>, BundleError> {
    let options = ListContainersOptions {
        all: true,
        filters: Some(names::filter(state_dir, slug)),
        ..ListContainersOptions::default()
    };
    let all = docker
        .api()
        .list_containers(Some(options))
        .await
        .map_err(|error| BundleError::docker("list the bundles' containers", &error))?;
    Ok(all
        .into_iter()
        .filter_map(|one| {
            let name = one.names.and_then(|names| names.into_iter().next()).unwrap_or_default();
            let slug = one.labels?.remove(SLUG_LABEL)?;
            Some(Found { id: one.id?, name: name.trim_start_matches('/').to_owned(), slug })
        })
        .collect())
}

async fn networks(docker: &Docker, state_dir: &Path, slug: Option<&str>) -> Result<Vec<Found>, BundleError> {
    let options = ListNetworksOptions { filters: Some(names::filter(state_dir, slug)) };
    let all = docker
        .api()
        .list_networks(Some(options))
        .await
        .map_err(|error| BundleError::docker("list the bundles' networks", &error))?;
    Ok(all
        .into_iter()
        .filter_map(|one| {
            let slug = one.labels?.remove(SLUG_LABEL)?;
            Some(Found { id: one.id?, name: one.name.unwrap_or_default(), slug })
        })
        .collect())
}

async fn remove_container(docker: &Docker, one: &Found) -> Result<(), BundleError> {
    let since = Instant::now();
    loop {
        // With its anonymous volumes: nobody else can have a use for them.
        let options = RemoveContainerOptions { v: true, force: true, link: false };
        match docker.api().remove_container(&one.id, Some(options)).await {
            Ok(()) => return Ok(()),
            Err(error) if is_gone(&error) => return Ok(()),
            // Conflict: someone is removing it already.
            Err(error) if status(&error) == Some(409) && since.elapsed() < OTHERS_REMOVAL => {
                tokio::time::sleep(OTHERS_RETRY).await;
            }
            Err(error) => return Err(BundleError::docker(format!("remove container {}", one.name), &error)),
        }
    }
}

async fn remove_network(docker: &Docker, one: &Found) -> Result<(), BundleError> {
    let Err(error) = docker.api().remove_network(&one.id).await else { return Ok(()) };
    if is_gone(&error) {
        return Ok(());
    }
    // "has active endpoints": a container of someone else's was put on our bridge, or docker forgot one of ours in a
    // crash. Either has nothing to talk to any more.
    if let Ok(found) = docker.api().inspect_network(&one.id, None).await {
        for container in found.containers.into_iter().flatten().map(|(id, _)| id) {
            log::warn!("network {}: container {container} is still on it, and is cut off", one.name);
            let request = NetworkDisconnectRequest { container, force: Some(true) };
            if let Err(error) = docker.api().disconnect_network(&one.id, request).await {
                log::debug!("network {}: {error}", one.name);
            }
        }
    }
    match docker.api().remove_network(&one.id).await {
        Ok(()) => Ok(()),
        Err(error) if is_gone(&error) => Ok(()),
        Err(error) => Err(BundleError::docker(format!("remove network {}", one.name), &error)),
    }
}

fn is_gone(error: &Error) -> bool {
    status(error) == Some(404)
}
