//! The bundle against a real docker daemon: the one that `DOCKER_HOST` names, or the machine's own.
//!
//! The image is made here, of the machine's static busybox and nothing else. Tests that count what docker has run one
//! at a time: aliases are shared by all bundles of a daemon, and so is docker. A test that fails is swept up after.

// clippy.toml lets tests do this in functions marked as tests, and not in what those share.
#![allow(clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bollard::models::{ContainerCreateBody, HostConfig, Ipam, IpamConfig, NetworkCreateRequest};
use bollard::query_parameters::{
    CreateContainerOptions, CreateImageOptions, ListContainersOptions, ListNetworksOptions,
    RemoveContainerOptions,
};
use bottle::bundle::{self, Bundle, BundleError, BundleSpec, Docker, names};
use futures_util::{FutureExt as _, StreamExt as _};

/// One daemon, one loopback: a test that fills all aliases must not meet another's.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

const IMAGE: &str = "bottle-test/busybox:1";
const PORT: u16 = 8080;

/// A bundle is there in about a second; the emulated host takes some ten times that, and both have other work.
const PATIENCE: Duration = Duration::from_secs(60);

/// Seventeen bundles in the emulated host, and as much again.
const TEST_MAX: Duration = Duration::from_secs(400);

/// Serves the string "pong" to every HTTP request.
fn web_server() -> Vec<String> {
    sh("mkdir -p /tmp/www && echo pong > /tmp/www/index.html && exec httpd -f -p 8080 -h /tmp/www")
}

fn sh(script: &str) -> Vec<String> {
    ["sh", "-c", script].map(str::to_owned).to_vec()
}

/// What every test starts from: the daemon, the image, a state directory of its own.
struct Bench {
    docker: Docker,
    state: tempfile::TempDir,
    _alone: tokio::sync::MutexGuard<'static, ()>,
}

impl Bench {
    /// Runs one test, bounded in time, and leaves no bundle behind whatever it does.
    async fn run(test: impl AsyncFnOnce(&Self)) {
        let alone = ONE_AT_A_TIME.lock().await;
        let docker = Docker::connect().await.expect("a docker daemon");
        import_image(&docker).await;
        let bench = Self { docker, state: tempfile::tempdir().expect("a directory"), _alone: alone };
        let bounded = tokio::time::timeout(TEST_MAX, test(&bench));
        let outcome = AssertUnwindSafe(bounded).catch_unwind().await;
        let swept = bundle::sweep(&bench.docker, bench.state.path(), &|_| false).await.expect("a sweep");
        match outcome {
            Ok(in_time) => in_time.unwrap_or_else(|_| panic!("not done within {TEST_MAX:?}")),
            Err(panic) => std::panic::resume_unwind(panic),
        }
        assert!(swept.removed.is_empty() && swept.failed.is_empty(), "the test left {swept:?}");
    }

    fn spec(&self, command: Vec<String>) -> BundleSpec {
        BundleSpec {
            ports: vec![PORT],
            command: Some(command),
            user: Some("1000:1000".to_owned()),
            ..BundleSpec::new(fresh_slug(), self.state.path(), IMAGE)
        }
    }

    async fn start(&self, spec: &BundleSpec) -> Bundle {
        Bundle::start(&self.docker, spec.clone())
            .await
            .unwrap_or_else(|error| panic!("{}: {error}", spec.slug))
    }

    async fn remove(&self, slug: &str) {
        Bundle::remove(&self.docker, self.state.path(), slug).await.expect("removal");
    }

    /// Everything docker has that carries this bench's state directory or one of our names with this slug.
    async fn left(&self, slug: &str) -> Vec<String> {
        let containers = ListContainersOptions { all: true, ..ListContainersOptions::default() };
        let containers = self.docker.api().list_containers(Some(containers)).await.expect("containers");
        let networks = self.docker.api().list_networks(None::<ListNetworksOptions>).await.expect("networks");
        let mut left: Vec<String> =
            containers.into_iter().flat_map(|one| one.names.unwrap_or_default()).collect();
        left.extend(networks.into_iter().filter_map(|one| one.name));
        left.retain(|name| name.ends_with(&format!("-{slug}")));
        left
    }

    async fn container_id(&self, name: &str) -> Option<String> {
        self.docker.api().inspect_container(name, None).await.ok()?.id
    }

    async fn remove_container(&self, name: &str) {
        let options = RemoveContainerOptions { force: true, v: true, link: false };
        self.docker.api().remove_container(name, Some(options)).await.expect("removal");
    }
}

/// Unlike any other, also in a run at the same time or one that crashed.
fn fresh_slug() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// `docker import`s a tree of busybox and its names, unless it is there.
async fn import_image(docker: &Docker) {
    if docker.api().inspect_image(IMAGE).await.is_ok() {
        return;
    }
    let busybox = std::fs::read("/bin/busybox").expect("a static /bin/busybox (Debian: busybox-static)");
    let mut tar = tar::Builder::new(Vec::new());
    let mut entry = |path: &str, kind: tar::EntryType, mode: u32, link: Option<&str>, data: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(data.len() as u64);
        match link {
            Some(link) => tar.append_link(&mut header, path, link).expect("link"),
            None => tar.append_data(&mut header, path, data).expect("entry"),
        }
    };
    entry("bin/", tar::EntryType::Directory, 0o755, None, b"");
    entry("tmp/", tar::EntryType::Directory, 0o1777, None, b"");
    entry("bin/busybox", tar::EntryType::Regular, 0o755, None, &busybox);
    for applet in ["sh", "httpd", "sleep", "echo", "mkdir", "id", "grep", "cat", "nc"] {
        entry(&format!("bin/{applet}"), tar::EntryType::Symlink, 0o777, Some("busybox"), b"");
    }
    let tar = tar.into_inner().expect("archive");
    let options = CreateImageOptions {
        from_src: Some("-".to_owned()),
        repo: Some("bottle-test/busybox".to_owned()),
        tag: Some("1".to_owned()),
        ..CreateImageOptions::default()
    };
    let body = bollard::body_full(tar.into());
    let mut progress = std::pin::pin!(docker.api().create_image(Some(options), Some(body), None));
    while let Some(step) = progress.next().await {
        step.expect("import");
    }
    docker.api().inspect_image(IMAGE).await.expect("the image just imported");
}

/// One HTTP request; the whole answer.
fn http_get(endpoint: SocketAddrV4) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::V4(endpoint), Duration::from_secs(10))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn is_refused(endpoint: SocketAddrV4) -> bool {
    TcpStream::connect_timeout(&SocketAddr::V4(endpoint), Duration::from_secs(10)).is_err()
}

#[tokio::test]
#[ignore = "needs a docker daemon: run cargo xtask test"]
async fn a_bundle_answers_on_its_alias_alone_and_leaves_nothing() {
    Bench::run(async |bench| {
        let spec = bench.spec(web_server());
        let bundle = bench.start(&spec).await;
        bundle.wait_ready(&bench.docker, PORT, PATIENCE).await.expect("ready");

        let endpoint = bundle.endpoint(PORT).expect("published");
        assert_eq!(*endpoint.ip(), bundle.alias());
        assert_eq!(bundle.alias(), Ipv4Addr::new(127, 0, 0, 16));
        // Ready is ready: the very first request is answered.
        let answer = http_get(endpoint).expect("an answer");
        assert!(answer.contains("200 OK") && answer.ends_with("pong\n"), "{answer}");

        for elsewhere in [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 17), bundle.gateway()] {
            assert!(is_refused(SocketAddrV4::new(elsewhere, endpoint.port())), "{elsewhere} answers too");
        }
        assert_eq!(bundle.endpoint(PORT + 1), None);
        assert_eq!(bundle.container(), format!("bottle-sidecars-{}", spec.slug));
        assert_eq!(bundle.network(), format!("bottle-bundle-{}", spec.slug));
        assert_eq!(bundle.bridge_ip().octets()[3], 2);

        bench.remove(&spec.slug).await;
        assert_eq!(bench.left(&spec.slug).await, Vec::<String>::new());
        assert!(is_refused(endpoint), "the port is still open");
        // Once more, with nothing there.
        bench.remove(&spec.slug).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a docker daemon: run cargo xtask test"]
async fn the_container_is_held_as_tightly_as_the_spec_says() {
    Bench::run(async |bench| {
        let mut spec =
            bench.spec(sh("grep -E '^(Cap(Eff|Bnd)|NoNewPrivs|Uid)' /proc/self/status; exec sleep 1000"));
        spec.env = vec![("NAME".to_owned(), "a=b c".to_owned())];
        let bundle = bench.start(&spec).await;
        let found = bench.docker.api().inspect_container(bundle.container(), None).await.expect("inspect");
        let host = found.host_config.expect("host config");
        assert_eq!(host.memory, Some(1024 * 1024 * 1024));
        assert_eq!(host.pids_limit, Some(512));
        assert_eq!(host.readonly_rootfs, Some(false));
        assert!(found.config.expect("config").env.expect("env").contains(&"NAME=a=b c".to_owned()));

        // What the kernel says counts for more than what docker was told.
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            let options = bollard::query_parameters::LogsOptions {
                stdout: true,
                tail: "all".to_owned(),
                ..bollard::query_parameters::LogsOptions::default()
            };
            let pieces: Vec<_> = bench.docker.api().logs(bundle.container(), Some(options)).collect().await;
            let text: String = pieces.into_iter().map(|piece| piece.expect("log").to_string()).collect();
            if text.contains("NoNewPrivs") || Instant::now() > deadline {
                break text;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let status: HashMap<&str, &str> = status.lines().filter_map(|line| line.split_once(":\t")).collect();
        assert_eq!(status["CapEff"], "0000000000000000");
        assert_eq!(status["CapBnd"], "0000000000000000");
        assert_eq!(status["NoNewPrivs"], "1");
        assert!(status["Uid"].starts_with("1000\t"));
        bench.remove(&spec.slug).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a docker daemon: run cargo xtask test"]
async fn a_server_that_runs_as_root_on_port_80_needs_no_capability() {
    Bench::run(async |bench| {
        let command = sh("exec httpd -f -p 80 -h /bin");
        let spec = BundleSpec { ports: vec![80], user: None, ..bench.spec(command) };
        let bundle = bench.start(&spec).await;
        bundle.wait_ready(&bench.docker, 80, PATIENCE).await.expect("ready");
        bench.remove(&spec.slug).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a docker daemon: run cargo xtask test"]
async fn an_image_that_docker_lacks_is_named_and_nothing_is_left() {
    Bench::run(async |bench| {
        let spec = BundleSpec { image: "bottle-test/no-such-image:1".to_owned(), ..bench.spec(web_server()) };
        let error = Bundle::start(&bench.docker, spec.clone()).await.expect_err("no such image");
        assert!(matches!(error, BundleError::ImageNotFound { .. }), "{error}");
        assert!(error.hint().expect("a hint").contains("docker pull bottle-test/no-such-image:1"));
        assert_eq!(bench.left(&spec.slug).await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a docker daemon: run cargo xtask test"]
async fn a_command_that_is_not_there_leaves_nothing() {
    Bench::run(async |bench| {
        let spec = bench.spec(vec!["/no/such/command".to_owned()]);
        let error = Bundle::start(&bench.docker, spec.clone()).await.expect_err("no such command");
        assert!(error.to_string().contains("/no/such/command"), "{error}");
        assert_eq!(bench.left(&spec.slug).await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a docker daemon: run cargo xtask test"]
async fn a_container_that_exits_is_reported_with_its_log() {
    Bench::run(async |bench| {
        let spec = bench.spec(sh("echo 'no \x1b[31mconfig' >&2; exit 3"));
        // Whether docker's answer to the start is faster than the exit is a race; both ways must end the same.
        let error = match Bundle::start(&bench.docker, spec.clone()).await {
            Err(error) => error,
            Ok(bundle) => bundle.wait_ready(&bench.docker, PORT, PATIENCE).await.expect_err("it exited"),
        };
        match &error {
            BundleError::Exited { code: 3, log, .. } => {
                assert!(log.contains("no \u{fffd}[31mconfig"), "{log:?}")
            }
            other => panic!("{other}"),
        }
        bench.remove(&spec.slug).await;
        assert_eq!(bench.left(&spec.slug).await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a docker daemon: run cargo xtask test"]
async fn a_daemon_that_dies_while_awaited_is_reported_long_before_the_deadline() {
    Bench::run(async |bench| {
        let spec = bench.spec(sh("echo going; sleep 1; exit 0"));
        let bundle = bench.start(&spec).await;
        let since = Instant::now();
        let error = bundle.wait_ready(&bench.docker, PORT, PATIENCE).await.expect_err("nothing listens");
        assert!(matches!(error, BundleError::Exited { code: 0, .. }), "{error}");
        assert!(since.elapsed() < PATIENCE / 2, "{:?}", since.elapsed());
        bench.remove(&spec.slug).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a docker daemon: run cargo xtask test"]
async fn a_port_that_nobody_listens_on_is_not_ready_though_docker_accepts() {
    Bench::run(async |bench| {
        let spec = bench.spec(sh("echo here; exec sleep 1000"));
        let bundle = bench.start(&spec).await;
        let endpoint = bundle.endpoint(PORT).expect("published");
        assert!(!is_refused(endpoint), "docker's proxy should accept, or this test shows nothing");
        let error =
            bundle.wait_ready(&bench.docker, PORT, Duration::from_secs(1)).await.expect_err("nobody listens");
        match &error {
            BundleError::NotReady { endpoint: found, log, .. } => {
                assert_eq!(*found, endpoint);
                assert!(log.contains("here"), "{log:?}");
            }
            other => panic!("{other}"),
        }
        let error = bundle.wait_ready(&bench.docker, 1, PATIENCE).await.expect_err("not published");
        assert!(matches!(error, BundleError::NotPublished { port: 1, .. }), "{error}");
        bench.remove(&spec.slug).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a docker daemon: run cargo xtask test"]
async fn a_daemon_that_begins_to_listen_late_becomes_ready() {
    Bench::run(async |bench| {
        let spec = bench.spec(sh("sleep 2; exec httpd -f -p 8080 -h /bin"));
        let bundle = bench.start(&spec).await;
        let since = Instant::now();
        bundle.wait_ready(&bench.docker, PORT, PATIENCE).await.expect("ready in the end");
        assert!(since.elapsed() > Duration::from_millis(500), "ready before it listened");
        http_get(bundle.endpoint(PORT).expect("published")).expect("an answer");
        bench.remove(&spec.slug).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a docker daemon: run cargo xtask test"]
async fn two_bundles_started_at_once_share_nothing() {
    Bench::run(async |bench| {
        let (one, two) = (bench.spec(web_server()), bench.spec(web_server()));
        let (first, second) = tokio::join!(bench.start(&one), bench.start(&two));
        assert_ne!(first.alias(), second.alias());
        assert_ne!(first.gateway(), second.gateway());
        for bundle in [&first, &second] {
            bundle.wait_ready(&bench.docker, PORT, PATIENCE).await.expect("ready");
            http_get(bundle.endpoint(PORT).expect("published")).expect("an answer");
        }
        bench.remove(&one.slug).await;
        // The other one does not notice.
        http_get(second.endpoint(PORT).expect("published")).expect("an answer");
        bench.remove(&two.slug).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a docker daemon: run cargo xtask test"]
async fn a_subnet_that_is_taken_gives_way_to_another() {
    Bench::run(async |bench| {
        let spec = bench.spec(web_server());
        let usual = bench.start(&spec).await.gateway();
        bench.remove(&spec.slug).await;

        let [a, b, c, _] = usual.octets();
        // With an address on the bridge, the host has a route, by which we see it; without, only docker knows.
        for hidden in ["false", "true"] {
            let squatter = format!("bottle-test-squatter-{}", spec.slug);
            let range = IpamConfig { subnet: Some(format!("{a}.{b}.{c}.0/24")), ..IpamConfig::default() };
            let inhibit = ("com.docker.network.bridge.inhibit_ipv4".to_owned(), hidden.to_owned());
            let request = NetworkCreateRequest {
                name: squatter.clone(),
                ipam: Some(Ipam { config: Some(vec![range]), ..Ipam::default() }),
                options: Some(HashMap::from([inhibit])),
                ..NetworkCreateRequest::default()
            };
            bench.docker.api().create_network(request).await.expect("squatter");
            let outcome = Bundle::start(&bench.docker, spec.clone()).await;
            bench.docker.api().remove_network(&squatter).await.expect("removal");
            let bundle = outcome.expect("another subnet");
            assert_ne!(bundle.gateway(), usual);
            bundle.wait_ready(&bench.docker, PORT, PATIENCE).await.expect("ready");
            bench.remove(&spec.slug).await;
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a docker daemon: run cargo xtask test"]
async fn our_own_leftovers_are_replaced() {
    Bench::run(async |bench| {
        let spec = bench.spec(sh("exec sleep 1000"));
        let old = bench.start(&spec).await;
        let old_id = bench.container_id(old.container()).await.expect("runs");
        // The launcher crashed, and the same bottle is started again.
        let new = bench.start(&BundleSpec { command: Some(web_server()), ..spec.clone() }).await;
        assert_ne!(bench.container_id(new.container()).await.expect("runs"), old_id);
        assert_eq!(new.alias(), old.alias());
        new.wait_ready(&bench.docker, PORT, PATIENCE).await.expect("ready");
        assert_eq!(bench.left(&spec.slug).await.len(), 2);
        bench.remove(&spec.slug).await;
        assert_eq!(bench.left(&spec.slug).await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a docker daemon: run cargo xtask test"]
async fn what_others_gave_our_names_to_is_an_error_and_stays() {
    Bench::run(async |bench| {
        let spec = bench.spec(web_server());

        let network = names::network(&spec.slug);
        let request = NetworkCreateRequest { name: network.clone(), ..NetworkCreateRequest::default() };
        bench.docker.api().create_network(request).await.expect("network");
        let error = Bundle::start(&bench.docker, spec.clone()).await.expect_err("taken");
        assert!(matches!(error, BundleError::NameTaken { kind: "network", .. }), "{error}");
        bench.remove(&spec.slug).await;
        assert_eq!(bench.left(&spec.slug).await, vec![network.clone()]);
        bench.docker.api().remove_network(&network).await.expect("removal");

        // A bottle of the same slug in another state directory.
        let other = tempfile::tempdir().expect("a directory");
        let theirs = bench.start(&BundleSpec { state_dir: other.path().to_owned(), ..spec.clone() }).await;
        let id = bench.container_id(theirs.container()).await.expect("runs");
        let error = Bundle::start(&bench.docker, spec.clone()).await.expect_err("taken");
        assert!(matches!(error, BundleError::NameTaken { kind: "container", .. }), "{error}");
        bench.remove(&spec.slug).await;
        assert_eq!(bench.container_id(theirs.container()).await, Some(id));
        Bundle::remove(&bench.docker, other.path(), &spec.slug).await.expect("removal");
        assert_eq!(bench.left(&spec.slug).await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a docker daemon: run cargo xtask test"]
async fn a_sweep_takes_the_dead_and_leaves_the_living_and_the_foreign() {
    Bench::run(async |bench| {
        let other = tempfile::tempdir().expect("a directory");
        let (alive, dead, half) =
            (bench.spec(web_server()), bench.spec(web_server()), bench.spec(web_server()));
        let foreign = BundleSpec { state_dir: other.path().to_owned(), ..bench.spec(web_server()) };
        for spec in [&alive, &dead, &half, &foreign] {
            bench.start(spec).await;
        }
        // Of the third only the network is left.
        bench.remove_container(&names::container(&half.slug)).await;

        let swept = bundle::sweep(&bench.docker, bench.state.path(), &|slug| slug == alive.slug)
            .await
            .expect("sweep");
        let mut expected = vec![dead.slug.clone(), half.slug.clone()];
        expected.sort();
        assert_eq!(swept.removed, expected);
        assert!(swept.failed.is_empty(), "{:?}", swept.failed);
        for (spec, parts) in [(&alive, 2), (&dead, 0), (&half, 0), (&foreign, 2)] {
            assert_eq!(bench.left(&spec.slug).await.len(), parts, "{}", spec.slug);
        }
        bench.remove(&alive.slug).await;
        Bundle::remove(&bench.docker, other.path(), &foreign.slug).await.expect("removal");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a docker daemon: run cargo xtask test"]
async fn a_network_that_someone_joined_goes_all_the_same() {
    Bench::run(async |bench| {
        let spec = bench.spec(web_server());
        let bundle = bench.start(&spec).await;
        let guest = format!("bottle-test-guest-of-{}", std::process::id());
        let body = ContainerCreateBody {
            image: Some(IMAGE.to_owned()),
            cmd: Some(sh("exec sleep 1000")),
            host_config: Some(HostConfig {
                network_mode: Some(bundle.network().to_owned()),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let options =
            CreateContainerOptions { name: Some(guest.clone()), ..CreateContainerOptions::default() };
        bench.docker.api().create_container(Some(options), body).await.expect("create");
        bench.docker.api().start_container(&guest, None).await.expect("start");
        bench.remove(&spec.slug).await;
        let left = bench.left(&spec.slug).await;
        bench.remove_container(&guest).await;
        assert_eq!(left, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a docker daemon: run cargo xtask test"]
async fn the_seventeenth_bundle_hears_who_has_the_aliases() {
    Bench::run(async |bench| {
        let specs: Vec<BundleSpec> = (0..16).map(|_| bench.spec(sh("exec sleep 1000"))).collect();
        let mut aliases = Vec::new();
        for spec in &specs {
            aliases.push(bench.start(spec).await.alias());
        }
        let expected: Vec<Ipv4Addr> = (16..=31).map(|last| Ipv4Addr::new(127, 0, 0, last)).collect();
        assert_eq!(aliases, expected);

        let late = bench.spec(web_server());
        let error = Bundle::start(&bench.docker, late.clone()).await.expect_err("none left");
        match &error {
            BundleError::AliasesTaken { by } => {
                let named: Vec<(Ipv4Addr, String)> =
                    expected.iter().copied().zip(specs.iter().map(|spec| spec.slug.clone())).collect();
                assert_eq!(*by, named);
            }
            other => panic!("{other}"),
        }
        assert_eq!(bench.left(&late.slug).await, Vec::<String>::new());

        // One ends by itself: its alias is free, though nobody has swept it.
        let fifth = names::container(&specs[4].slug);
        bench.docker.api().kill_container(&fifth, None).await.expect("kill");
        let mut ended = std::pin::pin!(bench.docker.api().wait_container(&fifth, None));
        // The exit code of a killed container comes as an error; either way it has ended.
        assert!(ended.next().await.is_some());
        assert_eq!(bench.start(&late).await.alias(), expected[4]);

        bench.remove(&late.slug).await;
        for spec in &specs {
            bench.remove(&spec.slug).await;
            assert_eq!(bench.left(&spec.slug).await, Vec::<String>::new());
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a docker daemon: run cargo xtask test"]
async fn a_start_that_is_stopped_at_any_step_leaves_nothing() {
    Bench::run(async |bench| {
        let mut stopped = 0;
        // Each time one step later, until it gets through.
        for steps in 0..20_u32 {
            let spec = bench.spec(web_server());
            let asked = AtomicU32::new(0);
            let stop = || asked.fetch_add(1, Ordering::Relaxed) >= steps;
            match Bundle::start_unless(&bench.docker, spec.clone(), &stop).await {
                Ok(_) => {
                    bench.remove(&spec.slug).await;
                    assert!(stopped >= 4, "only {stopped} steps can be stopped");
                    return;
                }
                Err(BundleError::Stopped { .. }) => stopped += 1,
                Err(other) => panic!("{other}"),
            }
            assert_eq!(bench.left(&spec.slug).await, Vec::<String>::new());
        }
        panic!("never got through");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a docker daemon: run cargo xtask test"]
async fn a_socket_without_a_daemon_is_told_from_one_that_is_not_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("docker.sock");
    let error = Docker::connect_to(&socket).await.expect_err("no socket");
    assert!(matches!(error, BundleError::NoDaemon { .. }), "{error}");
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("bind"));
    let error = Docker::connect_to(&socket).await.expect_err("nobody listens");
    assert!(matches!(error, BundleError::NotAnswering { .. }), "{error}");
    assert!(error.hint().is_some());
}
