//! `bottle image build` and `bottle run`, with a docker daemon that has none of the images.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::played::{Asked, Daemon, Outcome, names};

const BUILT: Outcome = Outcome::Built(&[
    r#"{"stream":"Step 1/2 : FROM x"}"#,
    r#"{"stream":"\n"}"#,
    r#"{"status":"Downloading","progressDetail":{"current":1,"total":2},"id":"layer"}"#,
    r#"{"stream":" ---\u003e 0123\nStep 2/2 : RUN y\n"}"#,
    r#"{"aux":{"ID":"sha256:01"}}"#,
]);

const FAILED: Outcome = Outcome::Failed(&[
    r#"{"stream":"Step 1/1 : RUN \u001b[31mx\u0007\n"}"#,
    r#"{"stream":"Could not resolve \u001b]0;a title\u0007'deb.example'\r\n"}"#,
    r#"{"errorDetail":{"code":100,"message":"The command 'x' returned a non-zero code: 100"},"error":"…"}"#,
]);

const HANGS: Outcome = Outcome::Hangs(&[r#"{"stream":"Step 1/1 : FROM x\n"}"#]);

/// A machine with a manifest and a docker daemon of its own.
struct Machine {
    dir: tempfile::TempDir,
    daemon: Daemon,
}

impl Machine {
    fn new(outcome: Outcome) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let manifest = "[bottle.dev]\n[agent.claude]\nbottle = \"dev\"\nprovider = \"claude\"\n";
        std::fs::create_dir(dir.path().join("config")).unwrap();
        std::fs::write(dir.path().join("config/bottle.toml"), manifest).unwrap();
        let daemon = Daemon::start(dir.path(), outcome);
        Self { dir, daemon }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn bottle(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bottle"));
        command.args(words).current_dir(self.dir.path()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("DOCKER_HOST", self.daemon.host()).env_remove("SSL_CERT_FILE").env_remove("RUST_LOG");
        for (name, dir) in [("STATE", "state"), ("CACHE", "cache"), ("CONFIG", "config")] {
            command.env(format!("BOTTLE_{name}_DIR"), self.path(dir));
        }
        command
    }

    fn run(&self, words: &[&str]) -> (Option<i32>, String, String) {
        told(self.bottle(words).output().unwrap())
    }

    /// No bottle is left, nor what it would be left by.
    fn assert_nothing_left(&self) {
        let left: Vec<_> = std::fs::read_dir(self.path("state"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with('.') && name != "aliases.lock")
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn told(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Waits until it says this on its stderr, and returns what it said.
fn wait_for(child: &mut Child, words: &str) -> String {
    let mut said = String::new();
    let mut reader = BufReader::new(child.stderr.as_mut().unwrap());
    while !said.contains(words) {
        assert_ne!(reader.read_line(&mut said).unwrap(), 0, "it never said {words:?}: {said}");
    }
    said
}

fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

#[test]
fn each_image_is_built_once() {
    let machine = Machine::new(BUILT);
    let (agent, sidecars) = (format!("bottle-agent:{}", version()), format!("bottle-sidecars:{}", version()));
    let (code, out, err) = machine.run(&["image", "build"]);
    assert_eq!((code, out), (Some(0), format!("{agent}\n{sidecars}\n")), "{err}");
    let step = |image: &str, step: &str| format!("building {image}: step {step}\n");
    let steps = |image| step(image, "1 of 2: FROM x") + &step(image, "2 of 2: RUN y");
    assert_eq!(err, steps(&agent) + &steps(&sidecars));

    let asked = machine.daemon.asked();
    let [first, second] = asked.as_slice() else { panic!("{} builds", asked.len()) };
    assert_eq!(names(first), ["Dockerfile", "certificates/README"].into());
    assert_eq!(
        names(second),
        ["Dockerfile", "bottle-sidecar", "certificates/README", "egress.py", "requirements.txt"].into()
    );
    let (mode, program) = &second.files["bottle-sidecar"];
    assert!(*mode == 0o755 && program.starts_with(b"\x7fELF"), "{mode:o}");
    let (_, plan, _) = machine.run(&["image", "build", "--plan"]);
    for (asked, name) in [(first, &agent), (second, &sidecars)] {
        let of = |key: &str| asked.query.get(key).map_or("", String::as_str);
        assert_eq!((of("t"), of("rm"), of("forcerm")), (name.as_str(), "true", "true"));
        assert!((of("version"), of("nocache")) == ("1", "false") && !asked.query.contains_key("networkmode"));
        let labels: serde_json::Value = serde_json::from_str(of("labels")).unwrap();
        assert!(plan.contains(labels["bottle.context"].as_str().unwrap()), "{labels}: {plan}");
    }

    let (code, out, err) = machine.run(&["image", "build", "sidecars", "agent"]);
    assert_eq!((code, out, err), (Some(0), format!("{sidecars}\n{agent}\n"), String::new()));
    assert!(machine.daemon.asked().is_empty());
}

#[test]
fn flags_reach_docker() {
    let machine = Machine::new(BUILT);
    let ca = machine.path("ca.pem");
    std::fs::write(&ca, "-----BEGIN CERTIFICATE-----\nMAECAwQF\n-----END CERTIFICATE-----\n").unwrap();
    let ca = ca.to_str().unwrap();
    let flags = ["--network", "host", "--tag", "mine:2", "--build-arg", "NODE=1.2.3", "--ca", ca, "--force"];
    let words = [&["-q", "image", "build", "agent"][..], &flags].concat();
    assert_eq!(machine.run(&words), (Some(0), "mine:2\n".to_owned(), String::new()));
    let asked = machine.daemon.asked();
    let Asked { query, files } = &asked[0];
    for (key, value) in
        [("t", "mine:2"), ("networkmode", "host"), ("nocache", "true"), ("buildargs", r#"{"NODE":"1.2.3"}"#)]
    {
        assert_eq!(query[key], value, "{key}");
    }
    let (_, certificates) = &files["certificates/machine.crt"];
    assert!(String::from_utf8_lossy(certificates).contains("MAECAwQF"));

    let (code, _, err) = machine.run(&["image", "build", "agent", "--ca", "/dev/zero"]);
    assert!(code == Some(125) && err.contains("/dev/zero: it is not a file\nhint: "), "{err}");
    let (code, _, err) = machine.run(&["image", "build", "--tag", "mine:2"]);
    assert!(code == Some(125) && err.contains("hint: say which"), "{err}");
}

#[test]
fn a_launch_builds_what_it_needs_and_says_why_it_can_t() {
    let machine = Machine::new(FAILED);
    let (code, out, err) = machine.run(&["run", "-y", "claude"]);
    assert_eq!((code, &*out), (Some(125), ""), "{err}");
    for part in [
        "docker could not build bottle-",
        "returned a non-zero code: 100; the end of its output:\nCould not resolve ]0;a title'deb.example'\n",
        "hint: the build needs its registries",
    ] {
        assert!(err.contains(part), "{part}: {err}");
    }
    assert!(!err.contains(['\x1b', '\x07']), "{err:?}");
    machine.assert_nothing_left();
    // Whichever failed first stopped the other one, perhaps before it began.
    let asked = machine.daemon.asked();
    assert!(
        matches!(asked.len(), 1 | 2) && asked.iter().all(|asked| asked.query["t"].starts_with("bottle-"))
    );

    let (code, _, err) = machine.run(&["run", "-d", "-y", "claude"]);
    assert!(code == Some(125) && err.contains("docker could not build bottle-"), "{err}");
    machine.assert_nothing_left();
}

#[test]
fn an_interrupted_launch_ends_its_builds() {
    let machine = Machine::new(HANGS);
    let mut child = machine.bottle(&["run", "-y", "claude"]).spawn().unwrap();
    let said = wait_for(&mut child, "step 1 of 1: FROM x\n");
    assert!(said.contains("building bottle-"), "{said}");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let mut rest = String::new();
    child.stderr.as_mut().unwrap().read_to_string(&mut rest).unwrap();
    let status = child.wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(130), None), "{rest}");
    assert!(rest.contains("stopped by signal 2"), "{rest}");
    machine.daemon.wait_left(machine.daemon.asked().len());
    machine.assert_nothing_left();
}

#[test]
fn an_interrupted_build_ends() {
    let machine = Machine::new(HANGS);
    let mut child = machine.bottle(&["image", "build", "agent"]).spawn().unwrap();
    wait_for(&mut child, "step 1 of 1: FROM x\n");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let (code, out, err) = told(child.wait_with_output().unwrap());
    assert_eq!((code, &*out), (Some(143), ""), "{err}");
    machine.daemon.wait_left(1);
}
