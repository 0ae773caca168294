//! What may not go out does not, and the client hears why.

use bottle::bundle::{AuthScheme, BundleManifest, Route, TokenSource};

use crate::bench::{API, Bench};

pub(crate) fn with_route(bench: &Bench) -> BundleManifest {
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
            let log = std::fs::read_to_string(sidecars.log_dir().join("pipelock.log")).expect("its log");
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
async fn the_proxy_behind_egress_answers_nobody_else() {
    Bench::run(async |bench| {
        let sidecars = bench.start(&with_route(bench)).await;
        let bundle = sidecars.bundle();
        assert_eq!(bundle.endpoints().keys().copied().collect::<Vec<_>>(), [9099]);
        let direct = tokio::net::TcpStream::connect((bundle.bridge_ip(), 8888)).await;
        assert!(direct.is_err(), "pipelock listens for all");
    })
    .await;
}
