//! git-gate in the bundle: from a clone on this machine to a git server behind sshd, with an identity that is nowhere to be found.

use std::net::{SocketAddrV4, TcpListener};
use std::path::Path;
use std::process::Output;

use bottle::bundle::plan::git_gate;
use bottle::bundle::{BundleManifest, GitUpstream};
use bottle_gates::push::PushRule;
use serde_json::json;
use tokio::process::{Child, Command};

use crate::approvals::{Bottle, bottle, proposal, text};
use crate::bench::{Bench, PATIENCE, until};
use crate::upstream::sshd_config;

/// Runs a program to its end, which has to come.
async fn run(dir: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(dir).kill_on_drop(true).stdin(std::process::Stdio::null());
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    for role in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{role}_NAME"), "Agent")
            .env(format!("GIT_{role}_EMAIL"), "agent@example.com");
    }
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    output.unwrap_or_else(|_| panic!("{words:?} hangs")).expect("started")
}

async fn succeed(dir: &Path, words: &[&str]) -> String {
    let output = run(dir, words).await;
    assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// A key pair; its public half.
pub(crate) async fn key(dir: &Path, name: &str) -> String {
    succeed(dir, &["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", name]).await;
    std::fs::read_to_string(dir.join(format!("{name}.pub"))).expect("a key").trim().to_owned()
}

/// A git server on this machine's address in docker's network, with one repository.
async fn serve(bench: &Bench, dir: &Path) -> (Child, GitUpstream) {
    let public = key(dir, "identity").await;
    let host_key = key(dir, "host-key").await;
    std::fs::write(dir.join("authorized-keys"), public).expect("written");
    let address = bench.address;
    let port = TcpListener::bind((address, 0)).and_then(|one| one.local_addr()).expect("a port").port();
    let shown = dir.display();
    let config = sshd_config(dir, SocketAddrV4::new(address, port));
    std::fs::write(dir.join("sshd-config"), config).expect("written");
    // sshd that runs as root wants it.
    std::fs::create_dir_all("/run/sshd").unwrap_or_default();
    let mut sshd = Command::new("/usr/sbin/sshd");
    let sshd =
        sshd.args(["-D", "-e", "-f"]).arg(dir.join("sshd-config")).kill_on_drop(true).spawn().expect("sshd");
    until("sshd listens", async || tokio::net::TcpStream::connect((address, port)).await.is_ok()).await;
    succeed(dir, &["git", "init", "-q", "--bare", "-b", "main", "upstream.git"]).await;
    succeed(dir, &["git", "clone", "-q", "upstream.git", "author"]).await;
    succeed(&dir.join("author"), &["git", "commit", "-q", "--allow-empty", "-m", "one"]).await;
    succeed(&dir.join("author"), &["git", "push", "-q", "origin", "HEAD:main"]).await;
    let user = succeed(dir, &["id", "-un"]).await;
    let upstream = GitUpstream {
        name: "project".to_owned(),
        url: format!("ssh://{}@{address}:{port}{shown}/upstream.git", user.trim()),
        identity: dir.join("identity"),
        host_key,
        push: vec![PushRule::branch("agent/*")],
    };
    (sshd, upstream)
}

#[tokio::test]
#[ignore = "needs docker and the bundle's image: run cargo xtask test"]
async fn pushes_go_upstream_by_rules_and_the_identity_is_nowhere() {
    Bench::run(async |bench| {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path();
        let (_sshd, upstream) = serve(bench, dir).await;
        let manifest = BundleManifest { git: vec![upstream], supervise: true, ..bench.manifest() };
        let gated = Bottle::start(bench, &manifest).await;
        let endpoint = gated.sidecars.bundle().endpoint(git_gate::PORT).expect("git-gate's port");
        succeed(dir, &["git", "clone", "-q", &format!("git://{endpoint}/project.git"), "clone"]).await;
        let clone = dir.join("clone");
        succeed(&clone, &["git", "commit", "-q", "--allow-empty", "-m", "two"]).await;
        succeed(&clone, &["git", "push", "-q", "origin", "HEAD:agent/fix"]).await;
        let head = succeed(&clone, &["git", "rev-parse", "HEAD"]).await;
        let upstream = dir.join("upstream.git");
        assert_eq!(succeed(&upstream, &["git", "rev-parse", "agent/fix"]).await, head);

        let said = run(&clone, &["git", "push", "origin", "HEAD:main"]).await;
        assert!(!said.status.success());
        let said = text(&said.stderr);
        assert!(said.contains("remote: git-gate: main refused: no rule allows it; allowed: branches agent/*"), "{said}");
        let arguments = json!({ "upstream": "project", "branch": "main", "reason": "it is reviewed" });
        let calling = gated.ask("request_push_rule", &arguments);
        let id = proposal(bench).await;
        assert!(bottle(bench, &["approve", &id]).await.status.success());
        assert!(calling.await.expect("told").contains("You may now push to project"));
        succeed(&clone, &["git", "push", "-q", "origin", "HEAD:main"]).await;
        assert_eq!(succeed(&upstream, &["git", "rev-parse", "main"]).await, head);

        let key = std::fs::read_to_string(dir.join("identity")).expect("the identity");
        let secret = key.lines().nth(3).expect("a line of it");
        let container = gated.sidecars.bundle().container();
        for words in [&["docker", "inspect", container][..], &["docker", "logs", container]] {
            let output = run(dir, words).await;
            assert!(output.status.success());
            assert!(!(text(&output.stdout) + &text(&output.stderr)).contains(secret), "{words:?} has the identity");
        }
        // As another daemon of the container: in no file, no environment, and no memory that it may look into.
        // What to look for comes on stdin, so that the look does not find itself.
        let look = "secret=$(sed -n 4p); \
            grep -rlF --devices=skip -e \"$secret\" /etc /run /var /tmp 2>/dev/null; \
            for process in /proc/[0-9]*; do \
              name=$(cat $process/comm 2>/dev/null); \
              case $name in ssh-agent|bottle-sidecar) (exec 3<$process/mem) 2>/dev/null && echo open: $name $process;; esac; \
              grep -lF -e \"$secret\" $process/environ $process/cmdline 2>/dev/null; \
            done; \
            sleep 30 >/dev/null 2>&1 & (exec 3</proc/$!/mem) && echo this works";
        let exec = format!("docker exec -i {container} sh -c '{look}' <identity");
        let found = run(dir, &["sh", "-c", &exec]).await;
        let found = text(&found.stdout);
        // supervise is one that has nothing to hide.
        let open: Vec<&str> = found.lines().filter(|line| line.starts_with("open: ")).collect();
        assert!(open.len() <= 1 && !found.contains("ssh-agent"), "{found}");
        let other: Vec<&str> = found.lines().filter(|line| !line.starts_with("open: ")).collect();
        assert_eq!(other, ["this works"]);

        // A git-gate that was killed has its identity again.
        succeed(dir, &["docker", "exec", container, "sh", "-c", "kill -9 $(cat /proc/[0-9]*/stat | grep '(ssh-agent)' | cut -d' ' -f1)"])
            .await;
        until("git-gate is back", async || run(&clone, &["git", "fetch", "-q"]).await.status.success()).await;
    })
    .await;
}
