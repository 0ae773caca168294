//! The world that a bundle's daemons reach: a server with TLS and a git server behind sshd, in containers of their own; tokens and keys
//! in files of the host's.

use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use bottle::bundle::{AuthScheme, BundleManifest, GitUpstream, Route, TokenSource};
use bottle_gates::push::PushRule;
use serde_json::Value;
use tempfile::TempDir;

use crate::docker::{self, Outsider};
use crate::harness::eventually;
use crate::upstream;

/// The server's names: the one that a route leads to, and one that is not allowed at first.
pub(super) const API: &str = "api.test.example";
pub(super) const PLAIN: &str = "plain.test.example";

/// The token of the route. It looks like what pipelock refuses in any other place.
pub(super) const REAL: &str = "sk-ant-api03-real0000000000000000000000";

/// See the module. All of it ends with this.
pub(super) struct Outside {
    dir: TempDir,
    _servers: [Outsider; 2],
    git: GitUpstream,
}

impl Outside {
    pub(super) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let address = docker::host_address();
        let (ca, chain) = upstream::certificates(&[API, PLAIN]);
        for (name, content) in [
            ("ca.pem", &*ca),
            ("chain.pem", &chain),
            ("upstream.py", upstream::SERVER),
            ("token", REAL),
            ("requests", ""),
        ] {
            std::fs::write(at(name), content).unwrap();
        }
        let api = python(dir.path(), "upstream.py", &[]);
        let (sshd, git) = git_server(dir.path(), SocketAddrV4::new(address, free_port(address)));
        Self { dir, _servers: [api, sshd], git }
    }

    /// What a bottle may reach of it.
    pub(super) fn manifest(&self) -> BundleManifest {
        let token = self.dir.path().join("token").display().to_string();
        let address = docker::host_address().into();
        BundleManifest {
            routes: vec![Route {
                host: API.to_owned(),
                path: Some("/v1".to_owned()),
                methods: vec![],
                scheme: AuthScheme::Bearer,
                token: TokenSource::Command(vec!["cat".to_owned(), token]),
            }],
            git: vec![self.git.clone()],
            supervise: true,
            extra_hosts: [API, PLAIN].map(|name| (name.to_owned(), address)).into(),
            upstream_ca: Some(self.dir.path().join("ca.pem")),
            ..BundleManifest::default()
        }
    }

    /// The same route in a `bottle.toml`, and an agent of this image that runs `sh` with this script.
    pub(super) fn toml(&self, image: &Path, script: &str) -> String {
        let [token, ca] = ["token", "ca.pem"].map(|name| self.dir.path().join(name).display().to_string());
        let (address, image) = (docker::host_address(), image.display());
        format!(
            "[bottle.dev]\ncpus = 1\nmemory = 384\n\
             git_user = {{ name = \"An Agent\", email = \"agent@example.com\" }}\nextra_hosts = {{ \"{API}\" = \"{address}\" }}\nupstream_ca = {ca:?}\n\
             [[bottle.dev.routes]]\nhost = \"{API}\"\npath = \"/v1\"\ntoken = {{ command = [\"cat\", {token:?}] }}\n\
             [agent.asker]\nbottle = \"dev\"\nimage = \"docker-archive:{image}\"\ncommand = [\"sh\", \"-c\", {script:?}]\n"
        )
    }

    /// What the server was asked, a line of JSON each.
    pub(super) fn requests(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("requests")).unwrap()
    }

    pub(super) fn last_request(&self) -> Value {
        serde_json::from_str(self.requests().lines().last().expect("a request")).unwrap()
    }

    /// The git server's URL of its repository.
    pub(super) fn git_url(&self) -> &str {
        &self.git.url
    }

    /// What a branch is upstream.
    pub(super) fn branch(&self, name: &str) -> String {
        run(self.dir.path(), &["git", "-C", "upstream.git", "rev-parse", name])
    }

    /// A line of the key that opens the git server.
    pub(super) fn identity_line(&self) -> String {
        let key = std::fs::read_to_string(self.dir.path().join("identity")).unwrap();
        key.lines().nth(3).expect("a line of it").to_owned()
    }
}

/// An sshd, and the one repository behind it.
fn git_server(dir: &Path, listen: SocketAddrV4) -> (Outsider, GitUpstream) {
    for key in ["identity", "host-key"] {
        run(dir, &["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key]);
    }
    std::fs::copy(dir.join("identity.pub"), dir.join("authorized-keys")).unwrap();
    std::fs::write(dir.join("sshd-config"), upstream::sshd_config(dir, listen)).unwrap();
    let config = dir.join("sshd-config").display().to_string();
    let sshd = start(dir, &["/usr/sbin/sshd", "-D", "-e", "-f", &config], listen);
    run(dir, &["git", "init", "-q", "--bare", "-b", "main", "upstream.git"]);
    run(dir, &["git", "clone", "-q", "upstream.git", "author"]);
    run(dir, &["git", "-C", "author", "commit", "-q", "--allow-empty", "-m", "one"]);
    run(dir, &["git", "-C", "author", "push", "-q", "origin", "HEAD:main"]);
    let user = run(dir, &["id", "-un"]);
    let upstream = GitUpstream {
        name: "project".to_owned(),
        url: format!("ssh://{user}@{listen}{}/upstream.git", dir.display()),
        identity: dir.join("identity"),
        host_key: std::fs::read_to_string(dir.join("host-key.pub")).unwrap().trim().to_owned(),
        push: vec![PushRule::branch("agent/*")],
    };
    (sshd, upstream)
}

fn free_port(address: std::net::Ipv4Addr) -> u16 {
    TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port()
}

/// One of the servers in Python, of this directory, with its certificate and what it writes requests to.
pub(super) fn python(dir: &Path, program: &str, more: &[&str]) -> Outsider {
    let at = |name: &str| dir.join(name).display().to_string();
    let address = docker::host_address();
    let (program, host, chain, requests) =
        (at(program), address.to_string(), at("chain.pem"), at("requests"));
    let words = [&["python3", &*program, &host, &chain, &requests], more].concat();
    start(dir, &words, SocketAddrV4::new(address, 443))
}

fn start(dir: &Path, command: &[&str], listens: SocketAddrV4) -> Outsider {
    let server = Outsider::start(dir, command);
    eventually("the server listens", || TcpStream::connect(listens).is_ok());
    server
}

/// Runs a program to its end; what it prints.
fn run(dir: &Path, words: &[&str]) -> String {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(dir).stdin(Stdio::null());
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    for role in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{role}_NAME"), "Author")
            .env(format!("GIT_{role}_EMAIL"), "author@example.com");
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
