//! Daemons that die, a container that is held tightly, and its end.

use std::time::Duration;

use bottle::bundle::{AuthScheme, Bundle, BundleError, BundleManifest, Route, Sidecars, TokenSource};

use crate::bench::{API, Bench, PLAIN, until};

fn with_route(bench: &Bench) -> BundleManifest {
    let token = TokenSource::Command(["echo", "a-token"].map(str::to_owned).to_vec());
    let route =
        Route { host: API.to_owned(), path: None, methods: vec![], scheme: AuthScheme::Bearer, token };
    BundleManifest { routes: vec![route], ..bench.manifest() }
}

#[tokio::test]
#[ignore = "needs docker and the bundle's image: run cargo xtask test"]
async fn each_daemon_that_is_killed_is_back() {
    Bench::run(async |bench| {
        let sidecars = bench.start(&with_route(bench)).await;
        let url = format!("https://{API}/");
        for name in ["pipelock", "egress"] {
            let of = async || {
                let all = sidecars.status(&bench.docker).await.expect("status");
                all.into_iter().find(|one| one.name == name).expect("the daemon")
            };
            let before = of().await;
            let script = format!("kill -KILL {}", before.pid.expect("a process"));
            let container = sidecars.bundle().container();
            let words = ["exec", container, "sh", "-c", &script];
            let killed = tokio::process::Command::new("docker").args(words).status().await.expect("docker");
            assert!(killed.success());
            until("it is back", async || {
                let now = of().await;
                now.restarts == 1 && now.pid.is_some_and(|pid| Some(pid) != before.pid)
            })
            .await;
            // With its tokens, as egress does not say by itself.
            until("it serves", async || {
                let reply = bench.curl(&sidecars, &[&url]).await;
                reply.status == 200 && reply.arrived("authorization") == ["Bearer a-token"]
            })
            .await;
            let log =
                std::fs::read_to_string(sidecars.log_dir().join(format!("{name}.log"))).expect("its log");
            assert!(log.contains(&format!("{name} was ended by signal 9; started again")), "{log}");
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs docker and the bundle's image: run cargo xtask test"]
async fn the_container_is_held_tightly_and_leaves_nothing() {
    Bench::run(async |bench| {
        let spec = bench.spec(&bench.manifest());
        let slug = spec.slug.clone();
        let sidecars = Sidecars::start(&bench.docker, spec, &|| false).await.expect("a bundle");
        let reply = bench.curl(&sidecars, &[&format!("https://{PLAIN}/")]).await;
        assert_eq!(reply.status, 200, "{reply:?}");

        let container = sidecars.bundle().container().to_owned();
        let found = bench.docker.api().inspect_container(&container, None).await.expect("inspect");
        let host = found.host_config.expect("its host part");
        assert_eq!(host.cap_drop.expect("dropped"), ["ALL"]);
        assert_eq!(host.cap_add.unwrap_or_default(), Vec::<String>::new());
        assert_eq!(host.security_opt.expect("options"), ["no-new-privileges:true"]);
        assert_eq!((host.readonly_rootfs, host.privileged), (Some(true), Some(false)));
        assert!(host.memory.unwrap_or_default() > 0 && host.pids_limit.unwrap_or_default() > 0);
        let config = found.config.expect("its own part");
        let user = config.user.expect("a user");
        assert!(!user.is_empty() && !user.starts_with("0"), "{user}");
        assert!(config.healthcheck.is_some());
        let script = "cat /proc/1/status; touch /x /etc/bottle/x /usr/x; id -un; cat /etc/bottle/pipelock/ca-key.pem | head -1";
        let output = tokio::process::Command::new("docker").args(["exec", &container, "sh", "-c", script]).output();
        let output = output.await.expect("docker");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("CapBnd:\t0000000000000000") && text.contains("NoNewPrivs:\t1"), "{text}");
        assert!(text.contains("bottle\n-----BEGIN EC PRIVATE KEY-----"), "{text}");
        let refused = String::from_utf8_lossy(&output.stderr);
        assert_eq!(refused.matches("Read-only file system").count(), 3, "{refused}");

        // Someone kills it: the launcher hears of it.
        bench.docker.api().kill_container(&container, None).await.expect("killed");
        let ended = tokio::time::timeout(Duration::from_secs(20), sidecars.bundle().ended(&bench.docker)).await;
        assert!(matches!(ended.expect("heard"), BundleError::Exited { code: 137, .. }));
        Bundle::remove(&bench.docker, bench.state.path(), &slug).await.expect("removed");
        assert!(bench.docker.api().inspect_container(&container, None).await.is_err());
        assert!(sidecars.log_dir().join("pipelock.log").exists());
    })
    .await;
}

#[tokio::test]
#[ignore = "needs docker and the bundle's image: run cargo xtask test"]
async fn a_token_that_is_not_to_be_had_starts_nothing() {
    Bench::run(async |bench| {
        let mut manifest = with_route(bench);
        manifest.routes[0].token = TokenSource::Env("BOTTLE_TEST_NO_SUCH_VARIABLE".to_owned());
        let spec = bench.spec(&manifest);
        let dir = spec.dir.clone();
        let error = Sidecars::start(&bench.docker, spec, &|| false).await.expect_err("no token");
        assert_eq!(
            error.to_string(),
            "the environment variable BOTTLE_TEST_NO_SUCH_VARIABLE is not set, or not text"
        );
        assert!(error.hint().is_some() && !dir.exists());
    })
    .await;
}
