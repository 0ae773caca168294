//! What every test starts from: docker, the server, a bundle.

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{CreateContainerOptions, RemoveContainerOptions};
use bottle::bundle::{self, BundleManifest, BundlePlan, Docker, Sidecars, SidecarsSpec};
use futures_util::FutureExt as _;

use crate::upstream;

/// One daemon, one server.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A bundle takes some three seconds, on a machine that is busy some times that.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
const TEST_MAX: Duration = Duration::from_secs(300);

/// The server's names.
pub(crate) const API: &str = "api.test.example";
pub(crate) const PASSED: &str = "passed.test.example";
/// Allowed, and on no route.
pub(crate) const PLAIN: &str = "plain.test.example";

/// What every test starts from.
pub(crate) struct Bench {
    pub(crate) docker: Docker,
    pub(crate) state: tempfile::TempDir,
    server: String,
    pub(crate) address: Ipv4Addr,
    _alone: tokio::sync::MutexGuard<'static, ()>,
}

/// What a request gave.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) http_version: String,
    pub(crate) text: String,
}

impl Reply {
    /// The values of a header that arrived at the server.
    pub(crate) fn arrived(&self, name: &str) -> Vec<String> {
        assert_eq!(self.status, 200, "{self:?}");
        let said: serde_json::Value = serde_json::from_str(&self.text).expect("the server's answer");
        let headers = said["headers"].as_array().expect("headers");
        let named = headers.iter().filter(|pair| pair[0] == name);
        named.map(|pair| pair[1].as_str().expect("a value").to_owned()).collect()
    }
}

impl Bench {
    /// Runs one test, bounded in time, and leaves nothing behind whatever it does.
    pub(crate) async fn run(test: impl AsyncFnOnce(&Self)) {
        let alone = ONE_AT_A_TIME.lock().await;
        let docker = Docker::connect().await.expect("a docker daemon");
        let state = tempfile::tempdir().expect("a directory");
        let server = format!("bottle-test-server-{}", fresh());
        let address = host_address(&docker).await;
        let bench = Self { docker, state, server, address, _alone: alone };
        bench.start_server().await;
        let bounded = tokio::time::timeout(TEST_MAX, test(&bench));
        let outcome = AssertUnwindSafe(bounded).catch_unwind().await;
        let options = RemoveContainerOptions { force: true, v: true, link: false };
        bench.docker.api().remove_container(&bench.server, Some(options)).await.expect("its end");
        bundle::sweep(&bench.docker, bench.state.path(), &|_| false).await.expect("a sweep");
        match outcome {
            Ok(in_time) => in_time.unwrap_or_else(|_| panic!("not done within {TEST_MAX:?}")),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// A server on this machine's address in docker's own network, which the containers of all networks reach.
    async fn start_server(&self) {
        let dir = self.state.path().join("server");
        std::fs::create_dir(&dir).expect("a directory");
        std::fs::write(dir.join("upstream.py"), upstream::SERVER).expect("written");
        let (ca, chain) = upstream::certificates(&[API, PASSED, PLAIN]);
        std::fs::write(dir.join("chain.pem"), chain).expect("written");
        std::fs::write(self.upstream_ca(), ca).expect("written");
        for open in [self.state.path(), &dir] {
            std::fs::set_permissions(open, std::fs::Permissions::from_mode(0o755)).expect("opened");
        }
        let words =
            ["/opt/egress/bin/python", "/server/upstream.py", &self.address.to_string(), "/server/chain.pem"];
        let body = ContainerCreateBody {
            image: Some(image()),
            entrypoint: Some(words.map(str::to_owned).to_vec()),
            cmd: Some(vec![]),
            user: Some("0:0".to_owned()),
            host_config: Some(HostConfig {
                network_mode: Some("host".to_owned()),
                binds: Some(vec![format!("{}:/server:ro", dir.display())]),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let options =
            CreateContainerOptions { name: Some(self.server.clone()), ..CreateContainerOptions::default() };
        self.docker.api().create_container(Some(options), body).await.expect("the server");
        self.docker.api().start_container(&self.server, None).await.expect("the server's start");
        let listens = async || tokio::net::TcpStream::connect((self.address, 443)).await.is_ok();
        until("the server listens", listens).await;
    }

    pub(crate) fn upstream_ca(&self) -> PathBuf {
        self.state.path().join("upstream-ca.pem")
    }

    /// A manifest that knows the server, and allows one of its names.
    pub(crate) fn manifest(&self) -> BundleManifest {
        let server = |name: &str| (name.to_owned(), self.address.into());
        BundleManifest {
            hosts: vec![PLAIN.parse().expect("a host")],
            extra_hosts: [API, PASSED, PLAIN].map(server).into(),
            upstream_ca: Some(self.upstream_ca()),
            ..BundleManifest::default()
        }
    }

    /// What starts a bundle of this manifest.
    pub(crate) fn spec(&self, manifest: &BundleManifest) -> SidecarsSpec {
        let slug = format!("test-{}", fresh());
        SidecarsSpec {
            dir: self.state.path().join(format!("{slug}-bundle")),
            slug,
            state_dir: self.state.path().to_owned(),
            image: image(),
            plan: BundlePlan::new(manifest).expect("a plan"),
            ready_limit: PATIENCE,
        }
    }

    pub(crate) async fn start(&self, manifest: &BundleManifest) -> Sidecars {
        let spec = self.spec(manifest);
        Sidecars::start(&self.docker, spec, &|| false).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// `curl` through the bundle, as a guest would.
    pub(crate) async fn curl(&self, sidecars: &Sidecars, words: &[&str]) -> Reply {
        let output = self.curl_command(sidecars, words).output().await.expect("curl");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (text, written) = text.rsplit_once('\n').unwrap_or_else(|| panic!("{output:?}"));
        let words: Vec<&str> = written.split(' ').collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<u16>().ok()).unwrap_or_default();
        // Of a proxy that refuses to connect, there is only that status.
        let status = if number(0) == 0 { number(1) } else { number(0) };
        let http_version = words.get(2).copied().unwrap_or_default().to_owned();
        Reply { status, http_version, text: format!("{text}{}", String::from_utf8_lossy(&output.stderr)) }
    }

    pub(crate) fn curl_command(&self, sidecars: &Sidecars, words: &[&str]) -> tokio::process::Command {
        let ca = self.state.path().join("guest-ca.pem");
        // Whose tunnel nobody opens shows the server's own certificate.
        let upstream = std::fs::read_to_string(self.upstream_ca()).expect("the server's CA");
        std::fs::write(&ca, format!("{}{upstream}", sidecars.ca())).expect("written");
        let mut curl = tokio::process::Command::new("curl");
        curl.kill_on_drop(true);
        curl.args(["--silent", "--show-error", "--no-buffer", "--max-time", "60", "--noproxy", ""]);
        curl.args(["--write-out", "\n%{http_code} %{http_connect} %{http_version}"]);
        curl.args(["--proxy", &format!("http://{}", sidecars.first_hop())])
            .arg("--cacert")
            .arg(&ca)
            .args(words);
        curl
    }
}

/// The image under test.
pub(crate) fn image() -> String {
    std::env::var("BOTTLE_TEST_SIDECARS").expect("BOTTLE_TEST_SIDECARS, an image that docker has")
}

/// Asks again and again, until the deadline.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking)
        .await
        .unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"));
}

fn fresh() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// This machine's address on docker's default bridge.
async fn host_address(docker: &Docker) -> Ipv4Addr {
    let bridge = docker.api().inspect_network("bridge", None).await.expect("docker's bridge");
    let ranges = bridge.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
    // Docker 20.10 does not name its own address there: it is the first of the range.
    let subnet = ranges.into_iter().find_map(|range| range.subnet).expect("its range");
    let first: Ipv4Addr = subnet.split('/').next().and_then(|base| base.parse().ok()).expect("an address");
    Ipv4Addr::from_bits(first.to_bits() + 1)
}
