//! What may not go out does not, and the client hears why.

use bottle::bundle::{AuthScheme, BundleError, BundleManifest, Route, SecretPattern, TokenSource};

use crate::bench::{API, Bench, PLAIN};

const AWS: &str = "AKIAIOSFODNN7EXAMPLE";
const ANTHROPIC: &str = "sk-ant-api03-abcdefghijklmnopqrstuvwxyz";

fn with_route(bench: &Bench) -> BundleManifest {
    let token = TokenSource::Command(["echo", "a-token"].map(str::to_owned).to_vec());
    let (host, scheme) = (API.to_owned(), AuthScheme::Bearer);
    let route = Route { host, path: None, methods: vec![], scheme, token };
    BundleManifest { routes: vec![route], ..bench.manifest() }
}

#[tokio::test]
#[ignore = "needs docker and the bundle's image: run cargo xtask test"]
async fn a_host_that_is_not_allowed_is_refused_with_the_reason() {
    Bench::run(async |bench| {
        for manifest in [bench.manifest(), with_route(bench)] {
            let sidecars = bench.start(&manifest).await;
            for url in ["https://elsewhere.example/", "https://10.0.0.1/", "https://169.254.169.254/latest"] {
                let reply = bench.curl(&sidecars, &["-v", url]).await;
                assert_eq!(reply.status, 403, "{url}: {reply:?}");
            }
            let reply = bench.curl(&sidecars, &["http://elsewhere.example/"]).await;
            assert_eq!(reply.status, 403, "{reply:?}");
            assert!(reply.text.contains("allowlist"), "{reply:?}");
            // The audit log says it, too.
            let log =
                std::fs::read_to_string(sidecars.log_dir().join("pipelock.log")).expect("the audit log");
            assert!(log.contains("elsewhere.example") && log.contains("blocked"), "{log}");
        }
        let sidecars = bench.start(&with_route(bench)).await;
        let reply = bench.curl(&sidecars, &["https://elsewhere.example/"]).await;
        assert!(reply.text.contains("allowlist"), "{reply:?}");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs docker and the bundle's image: run cargo xtask test"]
async fn secrets_do_not_leave_in_bodies_headers_or_urls() {
    Bench::run(async |bench| {
        let badge = SecretPattern { name: "Badge".to_owned(), regex: "badge_[0-9]{6}".to_owned() };
        for base in [bench.manifest(), with_route(bench)] {
            let routed = !base.routes.is_empty();
            let manifest = BundleManifest { secrets: vec![badge.clone()], ..base };
            let sidecars = bench.start(&manifest).await;
            let plain = format!("https://{PLAIN}/");
            let clean = bench.curl(&sidecars, &[&plain, "-d", "a harmless body"]).await;
            assert_eq!(clean.status, 200, "{clean:?}");
            for secret in [AWS, ANTHROPIC, "badge_123456"] {
                let json = format!("{{\"note\":\"{secret}\"}}");
                let header = |name: &str| format!("{name}: Bearer {secret}");
                let query = format!("{plain}?q={secret}");
                let mut tries: Vec<Vec<String>> = vec![
                    vec![
                        plain.clone(),
                        "-d".into(),
                        json.clone(),
                        "-H".into(),
                        "Content-Type: application/json".into(),
                    ],
                    vec![plain.clone(), "-H".into(), header("X-Note")],
                    // Headers that routes set are those that pipelock is told not to look at.
                    vec![plain.clone(), "-H".into(), header("Authorization")],
                    vec![query],
                ];
                if routed {
                    tries.push(vec![format!("https://{API}/"), "-d".into(), json]);
                }
                for words in tries {
                    let words: Vec<&str> = words.iter().map(String::as_str).collect();
                    let reply = bench.curl(&sidecars, &words).await;
                    assert_eq!(reply.status, 403, "{words:?}: {reply:?}");
                    assert!(reply.text.contains("blocked"), "{words:?}: {reply:?}");
                }
            }
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs docker and the bundle's image: run cargo xtask test"]
async fn pipelock_behind_egress_answers_nobody_else() {
    Bench::run(async |bench| {
        let sidecars = bench.start(&with_route(bench)).await;
        let bundle = sidecars.bundle();
        assert_eq!(bundle.endpoints().keys().copied().collect::<Vec<_>>(), [9099]);
        let direct = tokio::net::TcpStream::connect((bundle.bridge_ip(), 8888)).await;
        assert!(direct.is_err(), "pipelock listens for all");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs docker and the bundle's image: run cargo xtask test"]
async fn a_daemon_that_cannot_start_is_named_with_its_log() {
    Bench::run(async |bench| {
        let broken = SecretPattern { name: "Broken".to_owned(), regex: "(".to_owned() };
        let manifest = BundleManifest { secrets: vec![broken], ..bench.manifest() };
        let mut spec = bench.spec(&manifest);
        spec.ready_limit = std::time::Duration::from_secs(5);
        let error =
            bottle::bundle::Sidecars::start(&bench.docker, spec, &|| false).await.expect_err("broken");
        assert!(matches!(error, BundleError::DaemonsNotReady { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("pipelock (it exited with code 1)") && text.contains("missing closing )"),
            "{text}"
        );
    })
    .await;
}
