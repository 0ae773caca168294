//! A bundle that runs the daemons of a plan.
//!
//! ```text
//! BundlePlan ─► files, CAs ─► container ─► tokens, on the stdin of `bottle-sidecar secrets` ─► all daemons ready
//! ```
//!
//! Tokens go from their source on the host through this process, docker's stream and the init's memory into egress's: they are in no
//! file, no argument, no environment, and in nothing that docker keeps. The init has them to start egress again.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bottle_protocol::bundle::{self as protocol, Answer, Secrets, State, Status};

use super::ca;
use super::client::Docker;
use super::error::BundleError;
use super::files::{Files, Owner};
use super::inside;
use super::lifecycle::Bundle;
use super::logs;
use super::manifest::ManifestError;
use super::plan::git_gate;
use super::plan::{BundlePlan, SIDECAR, egress_name};
use super::spec::{BundleSpec, Mount};
use super::tokens::read_tokens;

/// A program that only asks the init is done in a tenth of a second; to start it in an emulated host that is busy takes some tens
/// of these.
const ASK_LIMIT: Duration = Duration::from_secs(30);

/// What [`Sidecars::start`] makes.
#[derive(Debug, Clone)]
pub struct SidecarsSpec {
    /// The bottle.
    pub slug: String,
    /// The directory that all bottles of one user share, as in [`BundleSpec`].
    pub state_dir: PathBuf,
    /// The directory of this bundle: configurations, keys, logs. Made if it is not there; its parent must be.
    pub dir: PathBuf,
    /// The image, made of `images/sidecars/`.
    pub image: String,
    /// What is to run in it.
    pub plan: BundlePlan,
    /// How long all daemons together may take until they are ready. Two seconds or three are usual, mitmproxy's; an emulated
    /// machine takes some twenty times that.
    pub ready_limit: Duration,
}

/// A bundle whose container runs, and whose daemons are ready once [`Sidecars::wait_ready`] has said so.
#[derive(Debug)]
pub struct Sidecars {
    bundle: Bundle,
    first_hop: SocketAddrV4,
    owner: Owner,
    ca: String,
    log_dir: PathBuf,
    plan: BundlePlan,
    ready_limit: Duration,
    /// What is to be handed over before the daemons can get ready, by daemon.
    secrets: Unsaid,
    ready: Vec<Status>,
}

/// Secrets, by daemon, that have no place in a log.
#[derive(Default)]
struct Unsaid(BTreeMap<&'static str, Secrets>);

impl std::fmt::Debug for Unsaid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Unsaid").field(&self.0.keys()).finish()
    }
}

impl Sidecars {
    /// Starts a bundle and waits until all its daemons are ready. On a failure everything docker has of it is removed; its
    /// directory stays, for its logs.
    ///
    /// `stop` is looked at between the steps, as by [`Bundle::start_unless`].
    pub async fn start(
        docker: &Docker,
        spec: SidecarsSpec,
        stop: &dyn Fn() -> bool,
    ) -> Result<Self, BundleError> {
        let mut started = Self::begin(docker, spec, stop, std::future::pending()).await?;
        match started.wait_ready(docker).await {
            Ok(()) => Ok(started),
            Err(error) => {
                started.bundle.clear_away(docker).await;
                Err(error)
            }
        }
    }

    /// Starts a bundle's container and looks its ports up; its daemons get ready by [`Sidecars::wait_ready`]. Gives up waiting for a
    /// token when `stopped` says so. Otherwise like [`Sidecars::start`].
    pub async fn begin(
        docker: &Docker,
        spec: SidecarsSpec,
        stop: &dyn Fn() -> bool,
        stopped: impl Future<Output = ()>,
    ) -> Result<Self, BundleError> {
        // Before anything is made: a token that is not to be had is a matter of the user's.
        let tokens = tokio::select! {
            tokens = read_tokens(&spec.plan.tokens) => tokens?,
            () = stopped => return Err(BundleError::Stopped { slug: spec.slug }),
        };
        let identities = git_gate::read_identities(&spec.plan.identities).map_err(ManifestError::from)?;
        let secrets = [(egress_name(), tokens), (git_gate::NAME, identities)];
        let files = Files::write(&spec.dir, &spec.slug, &spec.plan)?;
        let bundle = Bundle::start_unless(docker, container(&spec, &files), stop).await?;
        let port = spec.plan.first_hop;
        let Some(first_hop) = bundle.endpoint(port) else {
            let container = bundle.container().to_owned();
            bundle.clear_away(docker).await;
            return Err(BundleError::NotPublished { container, port });
        };
        Ok(Self {
            bundle,
            first_hop,
            owner: files.owner,
            log_dir: files.log(),
            ca: files.ca,
            plan: spec.plan,
            ready_limit: spec.ready_limit,
            secrets: Unsaid(secrets.into_iter().filter(|(_, all)| !all.is_empty()).collect()),
            ready: Vec::new(),
        })
    }

    /// Hands the daemons their secrets, and waits until all of them are ready. A failure leaves the bundle as it is. Safe to drop, and
    /// then not to be called again.
    pub async fn wait_ready(&mut self, docker: &Docker) -> Result<(), BundleError> {
        let secrets = std::mem::take(&mut self.secrets);
        let ready = async {
            let container = self.bundle.container();
            hand_over(docker, container, &secrets).await?;
            wait_ready(docker, container, &self.user(), self.ready_limit).await
        };
        self.ready = tokio::select! {
            ready = ready => ready?,
            ended = self.bundle.ended(docker) => return Err(ended),
        };
        Ok(())
    }

    /// The container and its network.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// Where the guest's HTTP and HTTPS go.
    pub fn first_hop(&self) -> SocketAddrV4 {
        self.first_hop
    }

    /// The CA of the first hop, PEM: the guest is to trust it.
    pub fn ca(&self) -> &str {
        &self.ca
    }

    /// The hash of that CA's subject, as OpenSSL names files of CAs: `HASH.0`.
    pub fn ca_subject_hash(&self) -> String {
        ca::subject_hash(self.first_hop_name(), self.bundle.slug())
    }

    /// Whose CA that is.
    pub fn first_hop_name(&self) -> &'static str {
        self.plan.first_hop_name()
    }

    /// The daemons as they were when all were ready.
    pub fn ready(&self) -> &[Status] {
        &self.ready
    }

    /// Where the daemons' logs are: `NAME.log`, and before it `NAME.log.old`. That of pipelock is its audit log, a line of JSON a
    /// request.
    pub fn log_dir(&self) -> &Path {
        &self.log_dir
    }

    /// How the daemons are.
    pub async fn status(&self, docker: &Docker) -> Result<Vec<Status>, BundleError> {
        status(docker, self.bundle.container(), &self.user(), Duration::ZERO).await
    }

    /// Reads all tokens from their sources again and hands them over, every `interval`, for good: a token that has changed on the
    /// host is used without a restart. A source that fails is warned of, and the old tokens stay.
    pub async fn keep_tokens_fresh(&self, docker: &Docker, interval: Duration) {
        let mut last = Secrets::new();
        loop {
            tokio::time::sleep(interval).await;
            match self.refresh_tokens(docker, &last).await {
                Ok(tokens) => last = tokens,
                Err(error) => log::warn!("{error}; the old tokens stay"),
            }
        }
    }

    /// Reads all tokens from their sources and hands them over if they are not `last`.
    pub async fn refresh_tokens(&self, docker: &Docker, last: &Secrets) -> Result<Secrets, BundleError> {
        let tokens = read_tokens(&self.plan.tokens).await?;
        if tokens != *last && !tokens.is_empty() {
            let secrets = Unsaid([(egress_name(), tokens.clone())].into());
            hand_over(docker, self.bundle.container(), &secrets).await?;
        }
        Ok(tokens)
    }

    fn user(&self) -> String {
        format!("{}:{}", self.owner.uid, self.owner.gid)
    }
}

/// The container of a plan, held as tightly as its daemons can bear.
fn container(spec: &SidecarsSpec, files: &Files) -> BundleSpec {
    let owner = files.owner;
    let mount =
        |source: PathBuf, target: &str, read_only| Mount { source, target: target.to_owned(), read_only };
    let mut made = BundleSpec::new(&spec.slug, &spec.state_dir, &spec.image);
    made.ports.clone_from(&spec.plan.ports);
    made.user = Some(format!("{}:{}", owner.uid, owner.gid));
    made.mounts = vec![
        mount(files.config(), protocol::CONFIG_DIR, true),
        mount(files.passwd(), "/etc/passwd", true),
        mount(files.log(), protocol::LOG_DIR, false),
    ];
    let more = files.mounts(&spec.plan).into_iter();
    made.mounts.extend(more.map(|(source, target, read_only)| mount(source, target, read_only)));
    made.tmpfs = vec![
        // Others may pass through: the launcher's programs come as root without its rights.
        (protocol::RUN_DIR.to_owned(), format!("size=64m,mode=0755,uid={},gid={}", owner.uid, owner.gid)),
        ("/tmp".to_owned(), "size=64m,mode=1777".to_owned()),
    ];
    made.extra_hosts = spec.plan.extra_hosts.clone().into_iter().collect();
    made.health = Some(vec![SIDECAR.to_owned(), "health".to_owned()]);
    made.hardening.read_only_root = true;
    made
}

/// Hands daemons their secrets. As root, which no daemon is, so that the init takes them from nobody else.
async fn hand_over(docker: &Docker, container: &str, secrets: &Unsaid) -> Result<(), BundleError> {
    if secrets.0.is_empty() {
        return Ok(());
    }
    let failed = |reason: String| BundleError::HandOver { container: container.to_owned(), reason };
    let text =
        serde_json::to_vec(&secrets.0).map_err(|_| failed("they cannot be written as JSON".to_owned()))?;
    let argv = [SIDECAR, "secrets"];
    let outcome = inside::run(docker, container, "0:0", &argv, Some(&text), ASK_LIMIT).await?;
    if outcome.code == 0 { Ok(()) } else { Err(failed(outcome.stderr)) }
}

async fn wait_ready(
    docker: &Docker,
    container: &str,
    user: &str,
    limit: Duration,
) -> Result<Vec<Status>, BundleError> {
    let since = Instant::now();
    let all = status(docker, container, user, limit).await?;
    let late: Vec<&Status> = all.iter().filter(|one| one.state != State::Ready).collect();
    if late.is_empty() {
        return Ok(all);
    }
    let shown = late.iter().map(|one| match &one.last_end {
        Some(how) => format!("{} (it {how})", one.name),
        None => one.name.clone(),
    });
    Err(BundleError::DaemonsNotReady {
        container: container.to_owned(),
        daemons: shown.collect::<Vec<_>>().join(", "),
        waited_ms: since.elapsed().as_millis(),
        log: logs::tail(docker, container).await,
    })
}

async fn status(
    docker: &Docker,
    container: &str,
    user: &str,
    wait: Duration,
) -> Result<Vec<Status>, BundleError> {
    let wait_ms = wait.as_millis().to_string();
    let argv = [SIDECAR, "health", "--wait", &wait_ms];
    let outcome = inside::run(docker, container, user, &argv, None, wait + ASK_LIMIT).await?;
    match serde_json::from_slice(&outcome.stdout) {
        Ok(Answer::Status(all)) => Ok(all),
        _ => Err(BundleError::Docker {
            doing: format!("ask the daemons of {container}"),
            words: format!("exit code {}: {}", outcome.code, outcome.stderr),
        }),
    }
}
