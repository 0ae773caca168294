//! What comes from upstream, and what happens when upstream is not what it was.

use super::bench::{Bench, Server, commit, git, refused};

#[test]
#[ignore = "needs git, ssh and sshd: run cargo xtask test"]
fn a_fetch_brings_what_upstream_has_now() {
    let bench = Bench::start();
    let clone = bench.clone("clone");
    bench.publish("two");
    git(&bench.path("upstream.git"), &["branch", "other", "main"]);
    git(&clone, &["pull", "-q"]);
    assert_eq!(git(&clone, &["log", "-1", "--format=%s"]), "two");
    assert_eq!(git(&clone, &["rev-parse", "origin/other"]), git(&clone, &["rev-parse", "main"]));
    git(&bench.path("upstream.git"), &["branch", "-D", "-q", "other"]);
    git(&clone, &["fetch", "-q", "--prune"]);
    refused(&clone, &["rev-parse", "--verify", "origin/other"]);

    // Somebody was faster: git itself says so, since it is shown what upstream has.
    git(&clone, &["push", "-q", "origin", "HEAD:agent/fix"]);
    let author = bench.path("author");
    commit(&author, "theirs");
    git(&author, &["push", "-q", "origin", "HEAD:agent/fix"]);
    commit(&clone, "ours");
    let said = refused(&clone, &["push", "origin", "HEAD:agent/fix"]);
    assert!(said.contains("(fetch first)"), "{said}");
}

#[test]
#[ignore = "needs git, ssh and sshd: run cargo xtask test"]
fn an_upstream_that_is_down_is_said_so_and_found_again() {
    let mut bench = Bench::start();
    let clone = bench.clone("clone");
    bench.server.sshd.end();
    let port = bench.server.port;
    let reason = format!(
        "remote error: git-gate: project can't be fetched from upstream: 127.0.0.1:{port} can't be reached:"
    );
    for arguments in [&["fetch"][..], &["push", "origin", "HEAD:agent/fix"]] {
        let said = refused(&clone, arguments);
        assert!(said.contains(&reason) && said.contains("Connection refused"), "{said}");
    }
    let sshd = Server::start(bench.dir.path(), "other", &bench.path("authorized-keys"), Some(port));
    let host_key = sshd.host_key.clone();
    bench.server = sshd;

    // Another host key: an attacker's, for all we know.
    let said = refused(&clone, &["fetch"]);
    assert!(
        said.contains(&format!("the host key of 127.0.0.1:{port} is not the pinned one; nothing was sent")),
        "{said}"
    );

    bench.config.upstreams[0].host_key = host_key;
    bench.restart_gate();
    git(&clone, &["fetch", "-q"]);
}

#[test]
#[ignore = "needs git, ssh and sshd: run cargo xtask test"]
fn an_identity_that_upstream_does_not_know_is_said_so() {
    let bench = Bench::start();
    std::fs::write(bench.path("authorized-keys"), "").unwrap();
    let said = refused(bench.dir.path(), &["clone", &bench.url(), "clone"]);
    assert!(said.contains("127.0.0.1 does not accept the identity of"), "{said}");
}
