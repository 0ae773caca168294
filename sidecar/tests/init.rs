//! The init as a process of this machine: its daemons are shells.

// clippy.toml lets tests do this in functions marked as tests, and not in what those share.
#![allow(clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bottle_protocol::bundle::{Answer, Daemon, InitConfig, Reload, Request, State, Status};

const PATIENCE: Duration = Duration::from_secs(20);

/// An init that runs; killed when dropped.
struct Init {
    process: Child,
    dir: tempfile::TempDir,
}

fn shell(name: &str, script: &str) -> Daemon {
    Daemon {
        name: name.to_owned(),
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
        env: [].into(),
        port: None,
        reload: Reload::Hangup,
        secrets: false,
    }
}

impl Init {
    fn start(daemons: Vec<Daemon>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        configure(dir.path(), daemons);
        let process = Command::new(env!("CARGO_BIN_EXE_bottle-sidecar"))
            .arg("init")
            .arg(dir.path().join("init.json"))
            .env("BOTTLE_SIDECAR_SOCKET", dir.path().join("socket"))
            .env("BOTTLE_SIDECAR_LOGS", dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the init");
        let init = Self { process, dir };
        init.until("it listens", || init.path("socket").exists());
        init
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}; {:?}", self.log("a"));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }

    fn say(&self, bytes: &[u8]) -> Answer {
        let mut stream = UnixStream::connect(self.path("socket")).expect("connect");
        stream.write_all(bytes).expect("a question");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        serde_json::from_slice(&answer).expect("JSON")
    }

    fn ask(&self, request: &Request) -> Answer {
        self.say(&[serde_json::to_vec(request).expect("JSON"), b"\n".to_vec()].concat())
    }

    fn status(&self, wait: Duration) -> Vec<Status> {
        let wait_ms = u64::try_from(wait.as_millis()).expect("a time");
        match self.ask(&Request::Status { wait_ms }) {
            Answer::Status(all) => all,
            other => panic!("{other:?}"),
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().expect("kill").success());
    }

    fn kill(&self, status: &Status) {
        let pid = status.pid.expect("a process").to_string();
        assert!(Command::new("kill").args(["-KILL", &pid]).status().expect("kill").success());
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        self.signal("TERM");
        self.process.wait().expect("its end");
    }
}

fn configure(dir: &Path, daemons: Vec<Daemon>) {
    let text = serde_json::to_vec(&InitConfig { daemons }).expect("JSON");
    fs::write(dir.join("init.json"), text).expect("written");
}

#[test]
fn a_daemon_that_is_killed_is_back_and_keeps_its_log() {
    let init = Init::start(vec![shell("a", "echo began; exec sleep 1000"), shell("b", "exec sleep 1000")]);
    let before = init.status(PATIENCE);
    assert_eq!(
        before.iter().map(|one| (one.name.as_str(), one.state)).collect::<Vec<_>>(),
        [("a", State::Ready), ("b", State::Ready)]
    );
    init.until("it has begun", || init.log("a").contains("began"));
    init.kill(&before[0]);
    init.until("it has begun again", || init.log("a").matches("began").count() == 2);
    let after = init.status(PATIENCE);
    assert_ne!(after[0].pid, before[0].pid);
    assert_eq!((after[0].restarts, after[1].restarts), (1, 0));
    assert_eq!(after[0].last_end.as_deref(), Some("was ended by signal 9"));
    assert!(init.log("a").contains("was ended by signal 9; started again in 100 ms"), "{}", init.log("a"));
}

#[test]
fn what_fails_at_once_is_tried_later_each_time_and_never_ready() {
    let init = Init::start(vec![
        shell("a", "exit 3"),
        Daemon { argv: vec!["/nonexistent/program".to_owned()], ..shell("b", "") },
    ]);
    init.until("three starts", || init.log("a").contains("exited with code 3; started again in 400 ms"));
    init.until("it is said", || {
        init.log("b").contains("cannot be started: /nonexistent/program: No such file")
    });
    let status = init.status(Duration::ZERO);
    assert!(status.iter().any(|one| one.state == State::Waiting), "{status:?}");
}

#[test]
fn ready_is_when_the_port_answers() {
    let held = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = held.local_addr().expect("its address").port();
    drop(held);
    let init = Init::start(vec![Daemon { port: Some(port), ..shell("a", "exec sleep 1000") }]);
    assert_eq!(init.status(Duration::from_millis(300))[0].state, State::Starting);
    let held = TcpListener::bind(("127.0.0.1", port)).expect("the port");
    assert_eq!(init.status(PATIENCE)[0].state, State::Ready);
    drop(held);
}

#[test]
fn a_daemon_takes_its_children_along() {
    let init = Init::start(vec![shell("a", "sleep 4321 & echo child $!; wait")]);
    init.until("it has a child", || init.log("a").contains("child "));
    let child = init.log("a").trim().trim_start_matches("child ").to_owned();
    init.kill(&init.status(PATIENCE)[0]);
    let gone = || !Path::new("/proc").join(&child).exists() || is_zombie(&child);
    init.until("the child is gone", gone);
}

fn is_zombie(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

#[test]
fn a_hang_up_changes_what_has_changed_and_tells_the_rest() {
    let kept = "trap 'echo told' HUP; echo began; while :; do sleep 0.05; done";
    let init =
        Init::start(vec![shell("a", kept), shell("b", "exec sleep 1000"), shell("c", "exec sleep 1000")]);
    let before = init.status(PATIENCE);
    init.until("it has begun", || init.log("a").contains("began"));
    let changed = shell("b", "exec sleep 2000");
    configure(init.dir.path(), vec![shell("a", kept), changed, shell("d", "exec sleep 1000")]);
    init.signal("HUP");
    init.until("it was told", || init.log("a").contains("told"));
    init.until("the new ones are up", || {
        let now = init.status(Duration::ZERO);
        now.len() == 3 && now[1].pid != before[1].pid && now.iter().all(|one| one.state == State::Ready)
    });
    let now = init.status(PATIENCE);
    assert_eq!(now.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["a", "b", "d"]);
    assert_eq!((now[0].pid, now[1].restarts), (before[0].pid, 0));
    // A configuration that is malformed changes nothing.
    fs::write(init.path("init.json"), "{").expect("written");
    init.signal("HUP");
    assert_eq!(init.status(PATIENCE), now);
}

#[test]
fn secrets_come_on_stdin_at_each_start() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root may hand over secrets");
        return;
    }
    let script = "while read -r line; do echo \"${#line} bytes\"; done; exec sleep 1000";
    let init = Init::start(vec![Daemon { secrets: true, ..shell("a", script) }]);
    let secrets = |name: &str, value: &str| {
        Request::Secrets([(name.to_owned(), [("T".to_owned(), value.to_owned())].into())].into())
    };
    assert_eq!(init.ask(&secrets("a", "one")), Answer::Done);
    init.until("it has them", || init.log("a").contains("11 bytes"));
    init.kill(&init.status(PATIENCE)[0]);
    init.until("it has them again", || init.log("a").matches("11 bytes").count() == 2);
    assert!(matches!(init.ask(&secrets("b", "one")), Answer::Refused(why) if why.contains("no daemon b")));
    let long = "x".repeat(40_000);
    assert!(matches!(init.ask(&secrets("a", &long)), Answer::Refused(why) if why.contains("more than")));
}

#[test]
fn a_question_that_is_none_gets_an_answer_and_does_no_harm() {
    let init = Init::start(vec![]);
    for hostile in [&b"\n"[..], b"{}\n", b"{\"status\":{\"wait_ms\":-1}}\n", b"\xff\xff\n"] {
        assert!(matches!(init.say(hostile), Answer::Refused(_)), "{hostile:?}");
    }
    assert_eq!(init.status(Duration::ZERO), []);
}

#[test]
fn it_ends_when_told_even_if_a_daemon_does_not() {
    let mut init = Init::start(vec![shell("a", "trap '' TERM; echo began; while :; do sleep 0.1; done")]);
    init.until("it has begun", || init.log("a").contains("began"));
    let since = Instant::now();
    init.signal("TERM");
    assert!(init.process.wait().expect("its end").success());
    assert!((Duration::from_secs(4)..PATIENCE).contains(&since.elapsed()), "{:?}", since.elapsed());
    // For the drop.
    init.process = Command::new("sleep").arg("1000").spawn().expect("sleep");
}
