//! An upstream behind sshd, git-gate before it, and clones.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use bottle_gates::file;
use bottle_gates::git_gate::{GitGateConfig, Upstream};
use bottle_gates::push::{PushRule, Refs};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

/// All of it is up in a fraction of a second, on a machine that has nothing else to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// No command of a test takes so long, unless it hangs.
const COMMAND_SECONDS: &str = "120";

/// A process and all that it has started; gone when dropped.
pub(crate) struct Group(Child);

impl Group {
    fn start(command: &mut Command) -> Self {
        Self(command.process_group(0).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    pub(crate) fn end(&mut self) {
        kill_process_group(self.pid(), Signal::KILL).unwrap_or_default();
        self.0.wait().expect("its end");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}

/// A git server: sshd, with a host key of its own, that takes the one identity.
pub(crate) struct Server {
    pub(crate) sshd: Group,
    pub(crate) port: u16,
    /// As it stands in a `known_hosts`, without the name.
    pub(crate) host_key: String,
}

impl Server {
    pub(crate) fn start(dir: &Path, name: &str, authorized_keys: &Path, port: Option<u16>) -> Self {
        let key = dir.join(format!("{name}-host-key"));
        let host_key = make_key(&key);
        let config = dir.join(format!("{name}-sshd"));
        let port = port.unwrap_or_else(free_port);
        let text = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
             PidFile none\nPasswordAuthentication no\nPermitRootLogin yes\n",
            key.display(),
            authorized_keys.display(),
        );
        fs::write(&config, text).unwrap();
        // sshd that runs as root wants it.
        fs::create_dir_all("/run/sshd").unwrap_or_default();
        let mut sshd = Command::new("/usr/sbin/sshd");
        sshd.args(["-D", "-e", "-f"]).arg(&config).stderr(fs::File::create(dir.join("sshd.log")).unwrap());
        let sshd = Group::start(&mut sshd);
        await_port(port);
        Self { sshd, port, host_key }
    }
}

/// What every test starts from.
pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    pub(crate) server: Server,
    pub(crate) gate: Group,
    pub(crate) config: GitGateConfig,
}

impl Bench {
    /// An upstream with one commit on `main`; what may be pushed is what its agents need.
    pub(crate) fn start() -> Self {
        Self::start_with(|_| ())
    }

    pub(crate) fn start_with(change: impl FnOnce(&mut GitGateConfig)) -> Self {
        let dir = tempfile::Builder::new().prefix("git-gate-").tempdir().unwrap();
        let public = make_key(&dir.path().join("identity"));
        let authorized_keys = dir.path().join("authorized-keys");
        fs::write(&authorized_keys, format!("{public}\n")).unwrap();
        let server = Server::start(dir.path(), "upstream", &authorized_keys, None);
        let upstream = dir.path().join("upstream.git");
        let rule = |branch: &str, force| PushRule { force, delete: force, ..PushRule::branch(branch) };
        let mut config = GitGateConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], free_port())),
            mirrors: dir.path().join("mirrors"),
            run: dir.path().join("run"),
            upstreams: vec![Upstream {
                name: "project".to_owned(),
                user: user(),
                host: "127.0.0.1".to_owned(),
                port: server.port,
                path: upstream.display().to_string(),
                host_key: server.host_key.clone(),
                push: vec![
                    rule("agent/*", false),
                    rule("wip/**", true),
                    PushRule { refs: Refs::Tag("v*".to_owned()), force: false, delete: false },
                ],
            }],
        };
        change(&mut config);
        git(dir.path(), &["init", "-q", "--bare", "-b", "main", "upstream.git"]);
        git(dir.path(), &["clone", "-q", "upstream.git", "author"]);
        let gate = start_gate(dir.path(), &config);
        let bench = Self { dir, server, gate, config };
        bench.publish("one");
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Somebody else pushes a commit to upstream, past git-gate.
    pub(crate) fn publish(&self, text: &str) {
        commit(&self.path("author"), text);
        git(&self.path("author"), &["push", "-q", "origin", "HEAD:main"]);
    }

    pub(crate) fn url(&self) -> String {
        format!("git://{}/project.git", self.config.listen)
    }

    pub(crate) fn clone(&self, name: &str) -> PathBuf {
        git(self.dir.path(), &["clone", "-q", &self.url(), name]);
        self.path(name)
    }

    /// What upstream has under this name; the mirror has the same.
    pub(crate) fn upstream(&self, name: &str) -> Option<String> {
        let find = |dir: &Path| {
            let found = try_git(dir, &["rev-parse", "-q", "--verify", name]);
            found.status.success().then(|| text(&found.stdout).trim().to_owned())
        };
        let upstream = find(&self.path("upstream.git"));
        assert_eq!(find(&self.config.mirror("project")), upstream, "{name} in mirror and upstream");
        upstream
    }

    /// Writes the configuration anew, as an approval does.
    pub(crate) fn reconfigure(&mut self, change: impl FnOnce(&mut GitGateConfig)) {
        change(&mut self.config);
        file::write(&self.path("git-gate.json"), &self.config).unwrap();
    }

    pub(crate) fn restart_gate(&mut self) {
        self.gate.end();
        self.gate = start_gate(self.dir.path(), &self.config);
    }
}

fn start_gate(dir: &Path, config: &GitGateConfig) -> Group {
    let config_path = dir.join("git-gate.json");
    file::write(&config_path, config).unwrap();
    let mut gate = contained(env!("CARGO_BIN_EXE_bottle-sidecar"));
    gate.arg("git-gate").arg(&config_path).stdin(Stdio::piped());
    gate.stderr(fs::File::options().append(true).create(true).open(dir.join("gate.log")).unwrap());
    let mut gate = Group::start(&mut gate);
    let key = fs::read_to_string(dir.join("identity")).unwrap();
    let line = serde_json::json!({ "project": key }).to_string() + "\n";
    gate.0.stdin.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
    await_port(config.listen.port());
    gate
}

/// A program with no more rights than it has in the container, where nobody has capabilities.
pub(crate) fn contained(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.arg("--no-new-privs");
    if rustix::process::geteuid().is_root() {
        command.args(["--bounding-set=-all", "--inh-caps=-all"]);
    }
    command.arg(program);
    command
}

/// An ed25519 key pair; its public half.
pub(crate) fn make_key(path: &Path) -> String {
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(path);
    assert!(keygen.status().expect("ssh-keygen").success());
    fs::read_to_string(path.with_file_name(format!("{}.pub", path.file_name().unwrap().display())))
        .unwrap()
        .trim()
        .to_owned()
}

pub(crate) fn user() -> String {
    text(&Command::new("id").arg("-un").output().unwrap().stdout).trim().to_owned()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(crate) fn await_port(port: u16) {
    let since = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(since.elapsed() < PATIENCE, "nobody listens on {port}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn commit(dir: &Path, text: &str) {
    fs::write(dir.join("file"), text).unwrap();
    git(dir, &["add", "file"]);
    git(dir, &["commit", "-q", "-m", text]);
}

/// git, as whoever uses a clone has it.
pub(crate) fn git_command(dir: &Path, arguments: &[&str]) -> Command {
    let mut git = Command::new("timeout");
    git.arg(COMMAND_SECONDS).arg("git").args(arguments).current_dir(dir).stdin(Stdio::null());
    git.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null").env("LC_ALL", "C");
    for role in ["AUTHOR", "COMMITTER"] {
        git.env(format!("GIT_{role}_NAME"), "Agent").env(format!("GIT_{role}_EMAIL"), "agent@example.com");
    }
    git
}

pub(crate) fn try_git(dir: &Path, arguments: &[&str]) -> Output {
    git_command(dir, arguments).output().expect("git")
}

pub(crate) fn git(dir: &Path, arguments: &[&str]) -> String {
    let output = try_git(dir, arguments);
    assert!(output.status.success(), "git {arguments:?}: {}", text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

/// What a git that has to fail says.
pub(crate) fn refused(dir: &Path, arguments: &[&str]) -> String {
    let output = try_git(dir, arguments);
    assert!(!output.status.success(), "git {arguments:?} was let through");
    assert_ne!(output.status.code(), Some(124), "git {arguments:?} hangs");
    text(&output.stderr)
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
