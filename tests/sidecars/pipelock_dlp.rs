//! pipelock itself: what it finds in requests. No stand-in passes these.

use bottle::bundle::{BundleError, BundleManifest, SecretPattern};

use crate::bench::{API, Bench, PLAIN};
use crate::credentials::with_routes;
use crate::refusals::with_route;

const AWS: &str = "AKIAIOSFODNN7EXAMPLE";
const ANTHROPIC: &str = "sk-ant-api03-abcdefghijklmnopqrstuvwxyz";

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
async fn what_egress_shows_to_pipelock_goes_no_further() {
    Bench::run(async |bench| {
        let (manifest, _) = with_routes(bench);
        let sidecars = bench.start(&manifest).await;
        let url = format!("https://{PLAIN}/");
        let reply = bench.curl(&sidecars, &["-H", "Authorization: Bearer placeholder", &url]).await;
        assert_eq!(reply.arrived("authorization"), ["Bearer placeholder"]);
        assert_eq!(reply.arrived("proxy-authorization"), Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
#[ignore = "needs docker and the bundle's image: run cargo xtask test"]
async fn paths_that_lead_out_of_a_route_go_nowhere() {
    Bench::run(async |bench| {
        let sidecars = bench.start(&with_route(bench)).await;
        for path in ["/v1/%2e%2e/admin", "/v1/../admin"] {
            let url = format!("https://{API}{path}");
            let reply = bench.curl(&sidecars, &["--path-as-is", &url]).await;
            assert_eq!(
                (reply.status, reply.text.trim()),
                (403, "blocked: path traversal sequence in URL"),
                "{path}"
            );
        }
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
