//! Tells a running bundle that its configuration has changed.

use std::path::Path;

use bollard::query_parameters::KillContainerOptions;

use super::client::Docker;
use super::error::BundleError;
use super::lifecycle::Bundle;
use super::names;
use super::remove::containers;

impl Bundle {
    /// Sends SIGHUP to the container of a bottle's bundle: its init reads its configuration again, and has the daemons do so.
    pub async fn reload(docker: &Docker, state_dir: &Path, slug: &str) -> Result<(), BundleError> {
        let found = containers(docker, state_dir, Some(slug)).await?;
        let [container] = found.as_slice() else {
            return Err(BundleError::NoBundle { slug: slug.to_owned() });
        };
        let hang_up = KillContainerOptions { signal: "SIGHUP".to_owned() };
        let sent = docker.api().kill_container(&container.id, Some(hang_up)).await;
        sent.map_err(|error| {
            BundleError::docker(format!("signal container {}", names::container(slug)), &error)
        })
    }
}
