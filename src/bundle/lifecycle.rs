//! A bundle from its spec to its removal.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bollard::query_parameters::{ListContainersOptions, ListNetworksOptions};

use super::alias::Alias;
use super::client::Docker;
use super::container;
use super::error::{BundleError, status};
use super::names;
use super::network::{self, Network};
use super::ready::{self, Awaited};
use super::remove;
use super::spec::BundleSpec;

/// A bundle that runs, its ports published on its alias.
///
/// Dropping it leaves it running: removal needs docker, and so an `await`. Its launcher calls [`Bundle::remove`];
/// after a crash, [`super::sweep`] does.
#[derive(Debug)]
pub struct Bundle {
    slug: String,
    state_dir: PathBuf,
    container: String,
    network_name: String,
    network: Network,
    alias: Ipv4Addr,
    endpoints: BTreeMap<u16, SocketAddrV4>,
    steps: BundleSteps,
}

/// How long the steps of a bundle's start took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BundleSteps {
    /// The network.
    pub network: Duration,
    /// The container: an alias for it, its making and its start, and its ports looked up.
    pub container: Duration,
}

impl Bundle {
    /// Makes the network and the container, starts it, and looks its ports up. On a failure everything made so far is
    /// removed, in reverse, and the failure is what is returned.
    ///
    /// A future dropped half-way leaves what docker was making at that moment: to stop early, use
    /// [`Bundle::start_unless`].
    pub async fn start(docker: &Docker, spec: BundleSpec) -> Result<Self, BundleError> {
        Self::start_unless(docker, spec, &|| false).await
    }

    /// Like [`Bundle::start`], but looks between the steps whether it is to stop (Ctrl-C), and then fails with
    /// [`BundleError::Stopped`], having removed everything. No step takes more than a second or so.
    pub async fn start_unless(
        docker: &Docker,
        spec: BundleSpec,
        stop: &dyn Fn() -> bool,
    ) -> Result<Self, BundleError> {
        spec.check()?;
        // Before anything is made: a wrong image name is the commonest failure.
        find_image(docker, &spec.image).await?;
        clear(docker, &spec).await?;
        match make(docker, &spec, stop).await {
            Ok(bundle) => Ok(bundle),
            Err(error) => {
                clear_away(docker, &spec.state_dir, &spec.slug).await;
                Err(error)
            }
        }
    }

    /// Waits until something listens behind a published port. An error says what was tried, or that the container ended,
    /// and quotes the end of its log. Safe to drop.
    pub async fn wait_ready(&self, docker: &Docker, port: u16, timeout: Duration) -> Result<(), BundleError> {
        let endpoint = self
            .endpoint(port)
            .ok_or_else(|| BundleError::NotPublished { container: self.container.clone(), port })?;
        let awaited = Awaited {
            container: &self.container,
            port,
            endpoint,
            bridge_ip: self.network.container,
            gateway: self.network.gateway,
        };
        ready::wait(docker, &awaited, timeout).await
    }

    /// Waits until the container ends, which it does not do by itself, and says how it did. Safe to drop.
    pub async fn ended(&self, docker: &Docker) -> BundleError {
        ready::ended(docker, &self.container).await
    }

    /// Removes whatever there is of a bottle's bundle: the container with its anonymous volumes, then the network.
    /// Goes on past a failure and reports the first; nothing there is success.
    pub async fn remove(docker: &Docker, state_dir: &Path, slug: &str) -> Result<(), BundleError> {
        names::check_slug(slug)?;
        remove::remove(docker, state_dir, slug).await
    }

    /// Removes it after a failure, which is what counts.
    pub(super) async fn clear_away(&self, docker: &Docker) {
        clear_away(docker, &self.state_dir, &self.slug).await;
    }

    /// Where a port of the container is published: `<alias>:<random>`.
    pub fn endpoint(&self, port: u16) -> Option<SocketAddrV4> {
        self.endpoints.get(&port).copied()
    }

    /// All published ports, by port inside the container.
    pub fn endpoints(&self) -> &BTreeMap<u16, SocketAddrV4> {
        &self.endpoints
    }

    /// The container's pinned address on the bridge. On macOS the host has no route to it.
    pub fn bridge_ip(&self) -> Ipv4Addr {
        self.network.container
    }

    /// The host's address on the bridge.
    pub fn gateway(&self) -> Ipv4Addr {
        self.network.gateway
    }

    /// The loopback address that the ports are published on.
    pub fn alias(&self) -> Ipv4Addr {
        self.alias
    }

    /// The container's name.
    pub fn container(&self) -> &str {
        &self.container
    }

    /// How long its start took.
    pub fn steps(&self) -> BundleSteps {
        self.steps
    }

    /// The network's name.
    pub fn network(&self) -> &str {
        &self.network_name
    }

    /// The bottle.
    pub fn slug(&self) -> &str {
        &self.slug
    }

    /// The state directory it belongs to.
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }
}

async fn make(docker: &Docker, spec: &BundleSpec, stop: &dyn Fn() -> bool) -> Result<Bundle, BundleError> {
    let go_on = || if stop() { Err(BundleError::Stopped { slug: spec.slug.clone() }) } else { Ok(()) };
    go_on()?;
    let mut steps = BundleSteps::default();
    let start = Instant::now();
    let network = network::create(docker, &spec.state_dir, &spec.slug).await?;
    steps.network = start.elapsed();
    go_on()?;
    let start = Instant::now();
    let choice = Alias::choose(docker, &spec.state_dir).await?;
    let alias = choice.address();
    go_on()?;
    let id = container::create(docker, spec, &network, alias).await?;
    // The container's label holds the alias from here on.
    drop(choice);
    go_on()?;
    container::start(docker, &spec.slug, &id, alias).await?;
    let endpoints = container::published(docker, spec, &id, &network, alias).await?;
    steps.container = start.elapsed();
    go_on()?;
    Ok(Bundle {
        slug: spec.slug.clone(),
        state_dir: spec.state_dir.clone(),
        container: names::container(&spec.slug),
        network_name: names::network(&spec.slug),
        network,
        alias,
        endpoints,
        steps,
    })
}

async fn clear_away(docker: &Docker, state_dir: &Path, slug: &str) {
    if let Err(error) = remove::remove(docker, state_dir, slug).await {
        log::warn!("removing what was made of the bundle of {slug}: {error}");
    }
}

async fn find_image(docker: &Docker, image: &str) -> Result<(), BundleError> {
    match docker.api().inspect_image(image).await {
        Ok(_) => Ok(()),
        Err(error) if status(&error) == Some(404) => {
            Err(BundleError::ImageNotFound { image: image.to_owned() })
        }
        Err(error) => Err(BundleError::docker(format!("inspect image {image}"), &error)),
    }
}

/// Makes sure that nobody has the bundle's names: left-overs of ours are removed, anything else is an error. Docker
/// before 25 would give two networks the same name without a word.
async fn clear(docker: &Docker, spec: &BundleSpec) -> Result<(), BundleError> {
    let (container, network) = (names::container(&spec.slug), names::network(&spec.slug));
    // Docker's name filters match parts of names.
    let named = |name: &str| Some(HashMap::from([("name".to_owned(), vec![name.to_owned()])]));
    let taken = |kind, name: &str, labels: Option<&HashMap<String, String>>| {
        if names::is_ours(labels, &spec.state_dir, &spec.slug) {
            return Ok(());
        }
        Err(BundleError::NameTaken { kind, name: name.to_owned(), labels: names::shown(labels) })
    };

    let options =
        ListContainersOptions { all: true, filters: named(&container), ..ListContainersOptions::default() };
    let containers = docker
        .api()
        .list_containers(Some(options))
        .await
        .map_err(|error| BundleError::docker("list containers", &error))?;
    let path = format!("/{container}");
    for one in containers.iter().filter(|one| one.names.iter().flatten().any(|name| *name == path)) {
        taken("container", &container, one.labels.as_ref())?;
    }

    let networks = docker
        .api()
        .list_networks(Some(ListNetworksOptions { filters: named(&network) }))
        .await
        .map_err(|error| BundleError::docker("list networks", &error))?;
    for one in networks.iter().filter(|one| one.name.as_deref() == Some(&network)) {
        taken("network", &network, one.labels.as_ref())?;
    }

    remove::remove(docker, &spec.state_dir, &spec.slug).await
}
