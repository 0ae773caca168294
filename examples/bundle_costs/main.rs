//! How long a bundle takes until all its daemons are ready, and what it adds to requests: what `cargo xtask bench bundle` runs.
//!
//! ```text
//! cargo run --release --example bundle_costs -- IMAGE start
//! cargo run --release --example bundle_costs -- IMAGE requests SMALL LARGE
//! ```
//!
//! Takes root, since its server listens on port 443 of the host's address in docker's own network; best in a network namespace with a
//! docker daemon of its own. Prints a line for each sample, in turns: seconds, and of what.

mod upstream;

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bottle::bundle::{
    AuthScheme, Bundle, BundleManifest, BundlePlan, Docker, GitUpstream, Route, Sidecars, SidecarsSpec,
    TokenSource,
};
use reqwest::{Certificate, Client, Proxy};

type Failure = Box<dyn Error>;

/// The server's names: the one whose requests are looked into, and the one whose tunnels pipelock passes through.
const OPENED: &str = "opened.test.example";
const PASSED: &str = "passed.test.example";

/// What goes down and up in large requests: pipelock looks into so much for a second or two.
const LARGE_KIB: usize = 256;
/// Where it does not look.
const LARGE_UNSEEN_KIB: usize = 64 << 10;

const READY_LIMIT: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    const USAGE: &str = "usage: bundle_costs IMAGE start | requests SMALL LARGE";
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // Of TLS, for client and server.
    rustls::crypto::ring::default_provider().install_default().map_err(|_| "there is a provider already")?;
    match arguments.as_slice() {
        [image, "start"] => start(image).await,
        [image, "requests", small, large] => requests(image, small.parse()?, large.parse()?).await,
        _ => Err(USAGE.into()),
    }
}

/// Bundles of this program's, which go with it.
struct Bundles {
    docker: Docker,
    image: String,
    state: tempfile::TempDir,
    running: Vec<Sidecars>,
}

impl Bundles {
    async fn new(image: &str) -> Result<Self, Failure> {
        let docker = Docker::connect().await?;
        Ok(Self { docker, image: image.to_owned(), state: tempfile::tempdir()?, running: Vec::new() })
    }

    async fn start(&mut self, slug: &str, manifest: &BundleManifest) -> Result<&Sidecars, Failure> {
        let spec = SidecarsSpec {
            slug: slug.to_owned(),
            state_dir: self.state.path().to_owned(),
            dir: self.state.path().join(slug),
            image: self.image.clone(),
            plan: BundlePlan::new(manifest)?,
            ready_limit: READY_LIMIT,
        };
        let started = Sidecars::start(&self.docker, spec, &|| false).await?;
        self.running.push(started);
        self.running.last().ok_or_else(|| "it was just put there".into())
    }

    async fn end(self) -> Result<(), Failure> {
        for one in &self.running {
            Bundle::remove(&self.docker, self.state.path(), one.bundle().slug()).await?;
        }
        Ok(())
    }
}

/// All daemons that there are, from nothing to ready, and their end.
async fn start(image: &str) -> Result<(), Failure> {
    let mut bundles = Bundles::new(image).await?;
    let manifest = all_daemons(bundles.state.path())?;
    let since = Instant::now();
    let sidecars = bundles.start("bench", &manifest).await?;
    let took = since.elapsed();
    let steps = sidecars.bundle().steps();
    print("all daemons ready", took);
    print("  network", steps.network);
    print("  container", steps.container);
    for daemon in sidecars.ready() {
        let ready = daemon.ready_ms.ok_or("a daemon that is ready knows since when")?;
        print(&format!("  {} ready, since its start", daemon.name), Duration::from_millis(ready));
    }
    let since = Instant::now();
    bundles.end().await?;
    print("removed", since.elapsed());
    Ok(())
}

/// A manifest that needs each of them. Nobody is asked anything, so there need be nobody at the addresses.
fn all_daemons(dir: &Path) -> Result<BundleManifest, Failure> {
    let identity = dir.join("identity");
    let made =
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&identity).status()?;
    if !made.success() {
        return Err("ssh-keygen failed".into());
    }
    let host_key = std::fs::read_to_string(identity.with_extension("pub"))?;
    // Without the comment.
    let host_key = host_key.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let upstream = GitUpstream {
        name: "project".to_owned(),
        url: "ssh://git@git.test.example/project.git".to_owned(),
        identity,
        host_key,
        push: Vec::new(),
    };
    Ok(BundleManifest {
        routes: vec![route(OPENED)],
        git: vec![upstream],
        supervise: true,
        ..BundleManifest::default()
    })
}

fn route(host: &str) -> Route {
    Route {
        host: host.to_owned(),
        path: None,
        methods: Vec::new(),
        scheme: AuthScheme::Bearer,
        token: TokenSource::Command(["echo", "a-token"].map(str::to_owned).to_vec()),
    }
}

/// A way to the server.
struct Way {
    name: &'static str,
    host: &'static str,
    /// pipelock looks into what goes there and what comes back.
    seen: bool,
    /// Keeps its connections.
    keeps: Client,
    /// Makes one for each request.
    fresh: Client,
}

/// The same requests on each way, in turns.
async fn requests(image: &str, small: u32, large: u32) -> Result<(), Failure> {
    let mut bundles = Bundles::new(image).await?;
    let address = host_address(&bundles.docker).await?;
    let server = SocketAddr::from((address, 443));
    let server_ca = upstream::serve(server, &[OPENED, PASSED])?;
    let ca_file = bundles.state.path().join("server-ca.pem");
    std::fs::write(&ca_file, &server_ca)?;
    let base = BundleManifest {
        hosts: vec![OPENED.parse()?],
        extra_hosts: [OPENED, PASSED].map(|name| (name.to_owned(), address.into())).into(),
        upstream_ca: Some(ca_file),
        ..BundleManifest::default()
    };
    let routed = BundleManifest {
        routes: vec![route(OPENED), route(PASSED)],
        pass_through: vec![PASSED.parse()?],
        ..base.clone()
    };
    let mut ways = vec![way("direct", OPENED, |client| {
        Ok(client.no_proxy().resolve(OPENED, server).tls_certs_merge([certificate(&server_ca)?]))
    })?];
    for (slug, manifest, names) in [
        ("pipelock", &base, &[("pipelock", OPENED)][..]),
        ("both", &routed, &[("egress, pipelock", OPENED), ("egress, pipelock passes it through", PASSED)]),
    ] {
        let sidecars = bundles.start(slug, manifest).await?;
        let proxy = format!("http://{}", sidecars.first_hop());
        for &(name, host) in names {
            let made = way(name, host, |client| {
                Ok(client.proxy(Proxy::all(&proxy)?).tls_certs_merge([certificate(sidecars.ca())?]))
            })?;
            ways.push(Way { seen: host == OPENED, ..made });
        }
    }
    measure(&ways, small, large).await?;
    bundles.end().await
}

async fn measure(ways: &[Way], small: u32, large: u32) -> Result<(), Failure> {
    for round in 0..=small {
        for Way { name, host, keeps, fresh, .. } in ways {
            for (client, kind) in [(keeps, "a small request"), (fresh, "a small request, connection and all")]
            {
                let since = Instant::now();
                get(client, host, 2).await.map_err(|error| format!("{name}: {kind}: {error}"))?;
                // The first round makes connections and certificates.
                if round > 0 {
                    print(&format!("{kind}: {name}"), since.elapsed());
                }
            }
        }
    }
    for (kib, ways) in [
        (LARGE_KIB, ways.iter().collect::<Vec<_>>()),
        (LARGE_UNSEEN_KIB, ways.iter().filter(|way| !way.seen).collect()),
    ] {
        let body = bytes::Bytes::from(upstream::WORDS.repeat((kib << 10) / upstream::WORDS.len()));
        for round in 0..=large {
            // Each has a connection of its own: one that is kept through all of this, pipelock may have ended meanwhile.
            for Way { name, host, fresh, .. } in &ways {
                let since = Instant::now();
                get(fresh, host, body.len()).await.map_err(|error| format!("{name}: {error}"))?;
                let down = since.elapsed();
                let since = Instant::now();
                put(fresh, host, &body).await.map_err(|error| format!("{name}: {error}"))?;
                if round > 0 {
                    print(&format!("{kib} KiB down: {name}"), down);
                    print(&format!("{kib} KiB up: {name}"), since.elapsed());
                }
            }
        }
    }
    Ok(())
}

fn way(
    name: &'static str,
    host: &'static str,
    set: impl Fn(reqwest::ClientBuilder) -> Result<reqwest::ClientBuilder, Failure>,
) -> Result<Way, Failure> {
    let keeps = set(Client::builder())?.build()?;
    let fresh = set(Client::builder())?.pool_max_idle_per_host(0).build()?;
    Ok(Way { name, host, seen: false, keeps, fresh })
}

fn certificate(pem: &str) -> Result<Certificate, Failure> {
    Ok(Certificate::from_pem(pem.as_bytes())?)
}

async fn get(client: &Client, host: &str, bytes: usize) -> Result<(), Failure> {
    let mut answer = client.get(format!("https://{host}/{bytes}")).send().await?.error_for_status()?;
    let mut came = 0;
    while let Some(piece) = answer.chunk().await? {
        came += piece.len();
    }
    if came == bytes { Ok(()) } else { Err(format!("{came} bytes came").into()) }
}

async fn put(client: &Client, host: &str, body: &bytes::Bytes) -> Result<(), Failure> {
    let request = client.post(format!("https://{host}/")).header("content-type", "text/plain");
    let answer = request.body(body.clone()).send().await?.error_for_status()?.text().await?;
    if answer == body.len().to_string() { Ok(()) } else { Err(format!("{answer} bytes arrived").into()) }
}

/// This machine's address in docker's own network, which the containers of all networks reach.
async fn host_address(docker: &Docker) -> Result<Ipv4Addr, Failure> {
    let bridge = docker.api().inspect_network("bridge", None).await?;
    let ranges = bridge.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
    // Docker 20.10 does not name its own address there: it is the first of the range.
    let subnet = ranges.into_iter().find_map(|range| range.subnet).ok_or("docker's bridge has no range")?;
    let first: Ipv4Addr = subnet.split('/').next().unwrap_or_default().parse()?;
    Ok(Ipv4Addr::from_bits(first.to_bits() + 1))
}

fn print(name: &str, took: Duration) {
    println!("{:>9.6} s  {name}", took.as_secs_f64());
}
