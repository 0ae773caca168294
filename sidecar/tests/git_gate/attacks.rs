//! Clients that mean harm, and daemons of the same container that do.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::bench::{Bench, Server, contained, git, refused, text, user};

#[test]
#[ignore = "needs git, ssh and sshd: run cargo xtask test"]
fn there_is_nothing_but_the_mirrors() {
    let bench = Bench::start();
    git(bench.dir.path(), &["init", "-q", "--bare", "mirrors/stranger.git"]);
    let base = format!("git://{}", bench.config.listen);
    let absolute = format!("{}/upstream.git", bench.dir.path().display());
    for path in [
        "/",
        "/none.git",
        "/stranger.git",
        "/project",
        "/../upstream.git",
        "/~root/x",
        "/project.git/../../upstream.git",
        &absolute,
        "/project.git%00",
    ] {
        let said = refused(bench.dir.path(), &["ls-remote", &format!("{base}{path}")]);
        assert!(said.contains("remote error") || said.contains("Could not read"), "{path}: {said}");
    }
    for line in [
        "git-upload-archive /project.git\0host=x\0",
        "git-receive-pack\0",
        "x",
        "git-upload-pack /project.git\0\0--strict\0",
    ] {
        let mut stream = TcpStream::connect(bench.config.listen).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(format!("{:04x}{line}", line.len() + 4).as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap_or_default();
        drop(answer);
    }
    // It has survived all that.
    bench.clone("clone");
}

#[test]
#[ignore = "needs git, ssh and sshd: run cargo xtask test"]
fn the_identity_is_in_no_file_and_in_no_memory_that_others_may_read() {
    let bench = Bench::start();
    bench.clone("clone");
    let key = fs::read_to_string(bench.path("identity")).unwrap();
    let secret = key.lines().nth(3).unwrap();
    for dir in ["mirrors", "run"] {
        let found = Command::new("grep")
            .args(["-r", "-l", secret, "--devices=skip"])
            .arg(bench.path(dir))
            .output()
            .unwrap();
        assert_eq!(text(&found.stdout), "", "the identity is in a file");
    }
    let processes = group(&bench);
    let agents: Vec<_> = processes.iter().filter(|(_, name)| name == "ssh-agent").collect();
    assert_eq!(agents.len(), 1, "{processes:?}");
    for (pid, name) in processes.iter().filter(|(_, name)| name == "ssh-agent" || name == "bottle-sidecar") {
        for file in ["environ", "mem"] {
            assert!(!readable(&format!("/proc/{pid}/{file}")), "{file} of {name} can be read");
        }
    }
    // The same look at a process that does not shut it out.
    let mut other = contained("sleep").arg("60").spawn().unwrap();
    let look = || ["environ", "mem"].map(|file| readable(&format!("/proc/{}/{file}", other.id())));
    // Until it has become another program, it is what we are.
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    let mut seen = look();
    while seen != [true, true] && std::time::Instant::now() < deadline {
        std::thread::yield_now();
        seen = look();
    }
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(seen, [true, true], "this test sees nothing");
}

#[test]
#[ignore = "needs git, ssh and sshd: run cargo xtask test"]
fn the_identity_is_of_no_use_at_another_server() {
    let bench = Bench::start();
    let other = Server::start(bench.dir.path(), "other", &bench.path("authorized-keys"), None);
    let try_ssh = |port: u16| {
        let mut ssh = Command::new("ssh");
        ssh.args([
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ]);
        ssh.args([
            "-o",
            "IdentityFile=none",
            "-o",
            "ConnectTimeout=30",
            "-p",
            &port.to_string(),
            "-l",
            &user(),
            "127.0.0.1",
            "true",
        ]);
        ssh.env("SSH_AUTH_SOCK", bench.path("run/project.sock")).stdin(Stdio::null()).output().unwrap()
    };
    let at_upstream = try_ssh(bench.server.port);
    assert!(at_upstream.status.success(), "{}", text(&at_upstream.stderr));
    let elsewhere = try_ssh(other.port);
    assert!(!elsewhere.status.success(), "the identity was used at another server");
    assert!(text(&elsewhere.stderr).contains("Permission denied"), "{}", text(&elsewhere.stderr));
}

/// The processes of the gate: number and name.
fn group(bench: &Bench) -> Vec<(u32, String)> {
    let group = bench.gate.pid().as_raw_nonzero().to_string();
    let found = Command::new("ps").args(["-e", "-o", "pgid=,pid=,comm="]).output().unwrap();
    let lines = text(&found.stdout);
    let process = |line: &str| {
        let mut words = line.split_whitespace();
        let is_in = words.next()? == group;
        Some((is_in, words.next()?.parse().ok()?, words.next()?.to_owned()))
    };
    lines
        .lines()
        .filter_map(process)
        .filter(|(is_in, _, _)| *is_in)
        .map(|(_, pid, name)| (pid, name))
        .collect()
}

/// Can another process of the same user read this, as another daemon of the container would?
fn readable(path: &str) -> bool {
    // What is at the beginning of memory does not matter: opening it does.
    let mut look = contained("sh");
    look.args(["-c", &format!("exec 3<{path} && head -c 0 <&3")]).stderr(Stdio::null());
    look.status().expect("setpriv").success()
}
