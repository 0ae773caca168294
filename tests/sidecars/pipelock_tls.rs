//! pipelock itself: whose TLS it opens, and what it writes down. No stand-in passes these.

use bottle::bundle::BundleManifest;

use crate::bench::{Bench, PASSED, PLAIN};

#[tokio::test]
#[ignore = "needs docker and the bundle's image: run cargo xtask test"]
async fn tls_is_opened_but_for_hosts_that_are_passed_through() {
    Bench::run(async |bench| {
        let manifest =
            BundleManifest { pass_through: vec![PASSED.parse().expect("a host")], ..bench.manifest() };
        let sidecars = bench.start(&manifest).await;
        // The last one counts.
        let ours = bench.state.path().join("ours.pem");
        std::fs::write(&ours, sidecars.ca()).expect("written");
        let (ours, theirs) = (ours.display().to_string(), bench.upstream_ca().display().to_string());
        for (host, signed_by, not_by) in [(PLAIN, &ours, &theirs), (PASSED, &theirs, &ours)] {
            let url = format!("https://{host}/");
            let reply = bench.curl(&sidecars, &["--cacert", signed_by, &url]).await;
            assert_eq!(reply.status, 200, "{host}: {reply:?}");
            let reply = bench.curl(&sidecars, &["--cacert", not_by, &url]).await;
            assert!(reply.text.contains("certificate"), "{host}: {reply:?}");
        }
        let log = std::fs::read_to_string(sidecars.log_dir().join("pipelock.log")).expect("the audit log");
        let told = |what: &str| log.lines().any(|line| line.contains(PLAIN) && line.contains(what));
        assert!(told("\"event\":\"") && told("\"time\":\""), "{log}");
    })
    .await;
}
