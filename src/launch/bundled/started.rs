//! A bundle whose container runs, what its guest gets of it, and when its daemons are ready.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use super::env;
use crate::bundle::plan::{git_gate, supervise};
use crate::bundle::{
    Bundle, BundleError, BundleManifest, BundlePlan, BundleSpec, Docker, GitUpstream, Sidecars, SidecarsSpec,
};
use crate::launch::guest::Surroundings;
use crate::launch::provision::{Ca, InsteadOf, Provisions};
use crate::launch::shared::SharedObserver;
use crate::launch::{Interrupt, LaunchError, Step, Timings, own_image};
use crate::plan::{BundleRequest, Plan};
use crate::state::StateDir;
use crate::vm::AllowRule;

/// A proxy is up within a second or two; an emulated machine that is busy may take ten times as long, and more.
const PROXY_READY_LIMIT: Duration = Duration::from_secs(60);

/// All daemons are up within two seconds or three, and there egress alone, which is Python, takes up to a minute.
const DAEMONS_READY_LIMIT: Duration = Duration::from_secs(120);

/// Between two looks at the sources of tokens. A token that ends is renewed some minutes before.
const TOKENS_INTERVAL: Duration = Duration::from_secs(60);

/// The bundle's part of a bottle's directory.
const DIR: &str = "bundle";

/// A bundle whose container runs: its ports are known.
pub(super) enum Started {
    /// Of [`BundleRequest::Proxy`], with where the proxy's port is published.
    Proxy(Bundle, u16, SocketAddrV4),
    /// Of [`BundleRequest::Daemons`], with what it is to allow.
    Daemons(Box<Sidecars>, Vec<GitUpstream>),
}

/// Starts the container of what is asked for. Stops when the launch is over; what is there then is the caller's to remove.
pub(super) async fn start(
    docker: &Docker,
    state: &StateDir,
    request: &BundleRequest,
    observer: &SharedObserver<'_>,
) -> Result<Started, LaunchError> {
    let interrupt = observer.interrupt;
    Ok(match request {
        BundleRequest::Proxy { image, port } => start_proxy(docker, state, image, *port, interrupt).await?,
        BundleRequest::Daemons { image, manifest } => {
            own_image::ensure(docker, image, observer).await?;
            start_daemons(docker, state, image, manifest, interrupt).await?
        }
    })
}

async fn start_proxy(
    docker: &Docker,
    state: &StateDir,
    image: &str,
    port: u16,
    interrupt: &Interrupt,
) -> Result<Started, BundleError> {
    let mut spec = BundleSpec::new(state.slug(), state.root(), image);
    spec.ports = vec![port];
    let bundle = Bundle::start_unless(docker, spec, &|| interrupt.is_over()).await?;
    match bundle.endpoint(port) {
        Some(endpoint) => Ok(Started::Proxy(bundle, port, endpoint)),
        None => Err(BundleError::NotPublished { container: bundle.container().to_owned(), port }),
    }
}

async fn start_daemons(
    docker: &Docker,
    state: &StateDir,
    image: &str,
    manifest: &BundleManifest,
    interrupt: &Interrupt,
) -> Result<Started, BundleError> {
    let spec = SidecarsSpec {
        slug: state.slug().to_owned(),
        state_dir: state.root().to_owned(),
        dir: state.path().join(DIR),
        image: image.to_owned(),
        plan: BundlePlan::new(manifest)?,
        ready_limit: DAEMONS_READY_LIMIT,
    };
    let sidecars = Sidecars::begin(docker, spec, &|| interrupt.is_over(), interrupt.over()).await?;
    Ok(Started::Daemons(Box::new(sidecars), manifest.git.clone()))
}

impl Started {
    /// Waits until all that runs in it is ready, and says how long that took, and of that each daemon.
    pub(super) async fn wait_ready(&mut self, docker: &Docker) -> Result<Vec<Step>, BundleError> {
        let since = Instant::now();
        match self {
            Self::Proxy(bundle, port, _) => bundle.wait_ready(docker, *port, PROXY_READY_LIMIT).await?,
            Self::Daemons(sidecars, _) => sidecars.wait_ready(docker).await?,
        }
        let mut steps = vec![Step { name: "bundle: ready".into(), took: since.elapsed() }];
        if let Self::Daemons(sidecars, _) = self {
            steps.extend(sidecars.ready().iter().filter_map(|daemon| {
                let took = Duration::from_millis(daemon.ready_ms?);
                Some(Step { name: format!("bundle: {} ready", daemon.name).into(), took })
            }));
        }
        Ok(steps)
    }

    /// The container and its network.
    pub(super) fn bundle(&self) -> &Bundle {
        match self {
            Self::Proxy(bundle, ..) => bundle,
            Self::Daemons(sidecars, _) => sidecars.bundle(),
        }
    }

    /// Looks after its tokens, for good.
    pub(super) async fn tend(&self, docker: &Docker) {
        match self {
            Self::Proxy(..) => std::future::pending().await,
            Self::Daemons(sidecars, _) => sidecars.keep_tokens_fresh(docker, TOKENS_INTERVAL).await,
        }
    }

    /// Notes how long its parts took.
    pub(super) fn note_steps(&self, timings: &mut Timings) {
        let steps = self.bundle().steps();
        timings.note("bundle: network", steps.network);
        timings.note("bundle: container", steps.container);
    }

    /// What a guest of this plan gets: the published ports, all of them and nothing else; their addresses; whom to trust.
    pub(super) fn surroundings(&self, plan: &Plan) -> Surroundings {
        let published = self.bundle().endpoints().values();
        let allow = plan.allow.iter().cloned().chain(published.copied().map(AllowRule::endpoint)).collect();
        let (sidecars, upstreams) = match self {
            Self::Proxy(_, _, proxy) => {
                return Surroundings { allow, env: env::proxy(*proxy), provisions: Provisions::default() };
            }
            Self::Daemons(sidecars, upstreams) => (sidecars, upstreams),
        };
        let git_gate = sidecars.bundle().endpoint(git_gate::PORT);
        let supervise = sidecars.bundle().endpoint(supervise::PORT);
        let instead_of = |gate| {
            let gate = env::git_gate_url(gate);
            upstreams.iter().map(move |upstream| InsteadOf {
                url: upstream.url.clone(),
                gate: format!("{gate}/{}.git", upstream.name),
            })
        };
        Surroundings {
            allow,
            env: env::daemons(sidecars.first_hop(), git_gate, supervise),
            provisions: Provisions {
                ca: Some(Ca {
                    daemon: sidecars.first_hop_name(),
                    certificate: sidecars.ca().to_owned(),
                    subject_hash: sidecars.ca_subject_hash(),
                }),
                instead_of: git_gate.into_iter().flat_map(instead_of).collect(),
                supervise: supervise.is_some(),
            },
        }
    }
}
