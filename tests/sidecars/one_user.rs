//! All daemons of a bundle have one user: what one of them that is in an attacker's hands gets of the others.

use std::process::Stdio;

use bottle::bundle::{GitUpstream, Sidecars};
use bottle_protocol::bundle::State;
use tokio::io::AsyncWriteExt as _;

use crate::bench::{API, Bench, PATIENCE, until};
use crate::credentials::with_routes;
use crate::git::key;

const INTRUDER: &str = include_str!("intruder.py");

/// Those that the intruder ends, when they were started again and are ready.
async fn all_are_back(bench: &Bench, sidecars: &Sidecars) -> bool {
    let status = sidecars.status(&bench.docker).await.expect("status");
    let back = |name: &str| {
        status.iter().any(|one| one.name == name && one.restarts > 0 && one.state == State::Ready)
    };
    back("egress") && back("git-gate")
}

#[tokio::test]
#[ignore = "needs docker and the bundle's image: run cargo xtask test"]
async fn a_daemon_never_gets_into_one_that_has_secrets_not_even_while_it_starts() {
    Bench::run(async |bench| {
        let dir = bench.state.path();
        key(dir, "identity").await;
        let (mut manifest, _) = with_routes(bench);
        manifest.supervise = true;
        manifest.git = vec![GitUpstream {
            name: "project".to_owned(),
            url: "ssh://git@git.test.example/project.git".to_owned(),
            identity: dir.join("identity"),
            host_key: key(dir, "host-key").await,
            push: Vec::new(),
        }];
        let sidecars = bench.start(&manifest).await;
        let container = sidecars.bundle().container();
        let mut docker = tokio::process::Command::new("docker");
        docker.args(["exec", "-i", container, "/opt/egress/bin/python", "-c", INTRUDER]).kill_on_drop(true);
        let mut intruder = docker
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker");
        until("the daemons are back", async || all_are_back(bench, &sidecars).await).await;
        let reply = bench.curl(&sidecars, &[&format!("https://{API}/v1/messages")]).await;
        assert_eq!(reply.arrived("authorization").len(), 1);

        intruder.stdin.as_mut().expect("its stdin").write_all(b"\n").await.expect("told");
        let ended = tokio::time::timeout(PATIENCE, intruder.wait_with_output()).await.expect("in time");
        let ended = ended.expect("its end");
        let found = String::from_utf8_lossy(&ended.stdout).into_owned();
        assert!(found.lines().any(|line| line == "sleep 1000"), "it finds what there is: {ended:?}");
        for secret in ["egress.py", "bottle-sidecar", "ssh-agent", "ssh-add"] {
            assert!(!found.contains(secret), "it got into {secret}: {found}");
        }
    })
    .await;
}
