//! Runs `bottle`, within a deadline, and looks that nothing is left of it.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

use crate::docker;

/// An import and a boot take half a minute in an emulated host, and some times that on a busy machine.
const LIMIT: Duration = Duration::from_secs(240);

/// How long a VMM may outlive a `bottle` that was killed.
const ORPHAN_LIMIT: Duration = Duration::from_secs(15);

/// What every VMM has on its command line, and every launcher in the background.
const VMM_VERB: &str = "__bottle-vmm";
const LAUNCHER_VERB: &str = "__bottle-launcher";

/// A file that `cargo xtask test` names.
fn named(variable: &str) -> PathBuf {
    std::env::var_os(variable)
        .map(PathBuf::from)
        .unwrap_or_else(|| panic!("{variable} is not set: run cargo xtask test"))
}

/// A number that `cargo xtask test` names.
pub(crate) fn number(variable: &str) -> usize {
    let number =
        std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run cargo xtask test"));
    number.parse().unwrap()
}

/// The program under test.
pub(crate) fn bottle() -> PathBuf {
    named("BOTTLE_BIN")
}

/// One of the library's examples.
pub(crate) fn example(name: &str) -> PathBuf {
    named("BOTTLE_EXAMPLES").join(name)
}

/// The `docker save` archive of a test image.
pub(crate) fn archive(image: &str) -> PathBuf {
    named(&format!("BOTTLE_TEST_IMAGE_{}", image.to_uppercase().replace('-', "_")))
}

/// One image cache for all tests of a run, so that each image is imported once.
pub(crate) fn cache() -> &'static Path {
    static CACHE: OnceLock<PathBuf> = OnceLock::new();
    CACHE.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("e2e-cache");
        // From an earlier run, of another `bottle` perhaps.
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).unwrap();
        path
    })
}

/// A `bottle` to be run. It has a state directory of its own.
pub(crate) struct Bottle {
    command: Command,
    state: TempDir,
}

impl Bottle {
    /// `bottle ARGS`.
    pub(crate) fn new(args: &[&str]) -> Self {
        Self::wrapped(&[], &bottle(), args)
    }

    /// `WRAPPER PROGRAM ARGS`, for a wrapper that ends in an exec.
    pub(crate) fn wrapped(wrapper: &[&str], program: &Path, args: &[&str]) -> Self {
        let mut words: Vec<&OsStr> = wrapper.iter().map(OsStr::new).collect();
        words.push(program.as_os_str());
        words.extend(args.iter().map(OsStr::new));
        let mut command = Command::new(words[0]);
        let state = TempDir::new().unwrap();
        command.args(&words[1..]).env("BOTTLE_STATE_DIR", state.path()).env("BOTTLE_CACHE_DIR", cache());
        // As from an interactive shell: what Ctrl-C hits.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { command, state }
    }

    /// `bottle vm run OPTIONS IMAGE -- COMMAND`, in a small guest.
    pub(crate) fn vm_run(image: &str, options: &[&str], command: &[&str]) -> Self {
        let archive = format!("docker-archive:{}", archive(image).display());
        let mut args = vec!["vm", "run"];
        args.extend(small(options));
        args.extend(options);
        args.extend([&*archive, "--"]);
        args.extend(command);
        Self::new(&args)
    }

    /// `bottle run` with a small guest of the Debian image and the proxy as its bundle.
    pub(crate) fn run_behind_proxy(options: &[&str], command: &[&str]) -> Self {
        Self::run_behind("bottle-test/proxy:latest", options, command)
    }

    /// `bottle run` with a small guest of the Debian image and this bundle.
    pub(crate) fn run_behind(bundle: &str, options: &[&str], command: &[&str]) -> Self {
        let archive = format!("docker-archive:{}", archive("debian").display());
        let mut args = vec!["run", "--image", &archive];
        args.extend(small(options));
        args.extend(["--bundle-image", bundle, "--bundle-port", "8888"]);
        args.extend(options);
        args.push("--");
        args.extend(command);
        Self::new(&args)
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.command.env(name, value.into());
        self
    }

    /// Starts it; its stdin stays open until it is asked for.
    pub(crate) fn start(mut self) -> Running {
        let mut child = self.command.spawn().unwrap();
        let out = Arc::default();
        let err = Arc::default();
        let readers = vec![
            collect(child.stdout.take().unwrap(), Arc::clone(&out)),
            collect(child.stderr.take().unwrap(), Arc::clone(&err)),
        ];
        let what = format!("{:?}", self.command);
        Running {
            stdin: child.stdin.take(),
            child,
            out,
            err,
            readers,
            what,
            deadline: Instant::now() + LIMIT,
            state: self.state,
        }
    }

    /// Runs it to its end, with nothing on its stdin.
    pub(crate) fn run(self) -> Ended {
        self.start().end()
    }
}

/// A small guest, unless `options` want another.
fn small(options: &[&str]) -> Vec<&'static str> {
    let small = [["--cpus", "1"], ["--memory", "512"]];
    small.into_iter().filter(|pair| !options.contains(&pair[0])).flatten().collect()
}

type Buffer = Arc<Mutex<Vec<u8>>>;

fn collect(mut from: impl Read + Send + 'static, into: Buffer) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut piece = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from.read(&mut piece) {
            into.lock().unwrap().extend_from_slice(&piece[..count]);
        }
    })
}

/// A `bottle` that runs. Dropping it kills it.
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    out: Buffer,
    err: Buffer,
    readers: Vec<JoinHandle<()>>,
    what: String,
    deadline: Instant,
    state: TempDir,
}

impl Running {
    pub(crate) fn state(&self) -> &Path {
        self.state.path()
    }

    /// Its stdin, to be written to and dropped.
    pub(crate) fn stdin(&mut self) -> ChildStdin {
        self.stdin.take().unwrap()
    }

    /// Writes all of its stdin, in a thread of its own.
    pub(crate) fn feed(&mut self, data: Vec<u8>) {
        let mut stdin = self.stdin();
        drop(thread::spawn(move || stdin.write_all(&data)));
    }

    /// What it has written to stdout so far.
    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.out.lock().unwrap()).into_owned()
    }

    /// Waits until `done`, for as long as it runs and is in time.
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        while !done(self) {
            if let Some(status) = self.child.try_wait().unwrap() {
                thread::sleep(Duration::from_millis(200));
                panic!("{status} before {what}: {}", self.quoted());
            }
            self.check_time(what);
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for this on stdout.
    pub(crate) fn until_stdout(&mut self, text: &str) {
        self.until(&format!("{text:?} on stdout"), |running| running.stdout().contains(text));
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// What a terminal does for Ctrl-C.
    pub(crate) fn signal_group(&self, signal: Signal) {
        kill_process_group(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end, with its stdin closed.
    pub(crate) fn end(mut self) -> Ended {
        self.stdin = None;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            self.check_time("its end");
            thread::sleep(Duration::from_millis(10));
        };
        for reader in self.readers.drain(..) {
            while !reader.is_finished() {
                assert!(Instant::now() < self.deadline, "something holds the output open: {}", self.what);
                thread::sleep(Duration::from_millis(10));
            }
        }
        let stdout = std::mem::take(&mut *self.out.lock().unwrap());
        let stderr = String::from_utf8_lossy(&self.err.lock().unwrap()).into_owned();
        let state = std::mem::replace(&mut self.state, TempDir::new().unwrap());
        Ended { code: shell_code(status), stdout, stderr, what: self.what.clone(), state }
    }

    fn check_time(&mut self, what: &str) {
        if Instant::now() > self.deadline {
            drop(self.child.kill());
            panic!("{what} did not come within {LIMIT:?}: {}", self.quoted());
        }
    }

    fn quoted(&self) -> String {
        let text = |buffer: &Buffer| excerpt(&buffer.lock().unwrap());
        format!("{}\n--- stdout\n{}\n--- stderr\n{}", self.what, text(&self.out), text(&self.err))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A small guest with a shell that is given one command after the other.
pub(crate) struct Shell {
    running: Running,
    stdin: ChildStdin,
    commands: usize,
}

impl Shell {
    pub(crate) fn start(image: &str, options: &[&str]) -> Self {
        let options = [options, &["-i"]].concat();
        Self::of(Bottle::vm_run(image, &options, &["sh"]).start())
    }

    /// The shell that such a `bottle` runs.
    pub(crate) fn of(mut running: Running) -> Self {
        let stdin = running.stdin();
        let mut shell = Self { running, stdin, commands: 0 };
        assert_eq!(shell.run("echo up"), "up\n");
        shell
    }

    /// Runs it, and returns what it wrote to stdout.
    pub(crate) fn run(&mut self, script: &str) -> String {
        let before = self.running.stdout().len();
        self.running.deadline = Instant::now() + LIMIT;
        self.commands += 1;
        let end = format!("-- end of {} --\n", self.commands);
        self.stdin.write_all(format!("{script}\necho '{}'\n", end.trim_end()).as_bytes()).unwrap();
        self.running.until(script, |running| running.stdout().ends_with(&end));
        let mut text = self.running.stdout().split_off(before);
        text.truncate(text.len() - end.len());
        text
    }

    /// Where its state is.
    pub(crate) fn state(&self) -> &Path {
        self.running.state()
    }

    /// The `bottle` that runs it.
    pub(crate) fn running(&self) -> &Running {
        &self.running
    }

    /// Waits for its end, which something else brings about: its stdin stays open until then.
    pub(crate) fn until_ended(self) -> Ended {
        let ended = self.running.end();
        drop(self.stdin);
        ended
    }

    /// Ends it. Nothing is left of it.
    #[track_caller]
    pub(crate) fn end(mut self) {
        self.stdin.write_all(b"exit 0\n").unwrap();
        drop(self.stdin);
        self.running.end().expect(0);
    }
}

fn shell_code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap()
}

/// The end of an output that may be long, or not text.
fn excerpt(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(8000)..]).into_owned()
}

/// A `bottle` that has ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    what: String,
    state: TempDir,
}

impl Ended {
    /// It ended with this code, and nothing is left of it.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}", self.quoted());
        self.nothing_left();
        self
    }

    /// It ended with this code, with one line that says each of `words`, and a hint. Nothing is left of it.
    #[track_caller]
    pub(crate) fn refused(self, code: i32, words: &[&str]) {
        self.nothing_left();
        self.assert_refused(code, words);
    }

    /// The same of one that uses a bottle which goes on.
    #[track_caller]
    pub(crate) fn assert_refused(&self, code: i32, words: &[&str]) {
        let ended = self;
        assert_eq!(ended.code, code, "{}", ended.quoted());
        // A machine without swap accounting has docker say so of every container.
        let lines: Vec<&str> = ended.stderr.lines().filter(|line| !line.contains("swap limit")).collect();
        let is_plain = lines.len() == 2 && lines[0].starts_with("bottle: ") && lines[1].starts_with("hint: ");
        assert!(is_plain, "not one line and a hint: {}", ended.quoted());
        for word in words {
            assert!(lines[0].contains(word), "{word:?} is not named: {}", ended.quoted());
        }
        assert!(ended.stdout.is_empty(), "{}", ended.quoted());
        eprintln!("    {}\n    {}", lines[0], lines[1]);
    }

    #[track_caller]
    pub(crate) fn nothing_left(&self) {
        assert_eq!(vmm_processes(), Vec::<u32>::new(), "a VMM is left: {}", self.quoted());
        assert_eq!(launchers(), Vec::<u32>::new(), "a launcher is left: {}", self.quoted());
        assert_eq!(bottles(self.state.path()), Vec::<String>::new(), "state is left: {}", self.quoted());
        assert_eq!(docker::leftovers(), Vec::<String>::new(), "docker has something left: {}", self.quoted());
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap_or_else(|_| panic!("not text: {}", self.quoted()))
    }

    pub(crate) fn quoted(&self) -> String {
        format!(
            "{}\ncode {}\n--- stdout\n{}\n--- stderr\n{}",
            self.what,
            self.code,
            excerpt(&self.stdout),
            self.stderr
        )
    }
}

/// The bottles in a state directory.
pub(crate) fn bottles(state: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(state).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with("lock"))
        .collect()
}

/// The VMMs that run.
pub(crate) fn vmm_processes() -> Vec<u32> {
    processes(VMM_VERB)
}

/// The launchers that run in the background.
pub(crate) fn launchers() -> Vec<u32> {
    processes(LAUNCHER_VERB)
}

/// The processes with this word on their command line.
fn processes(verb: &str) -> Vec<u32> {
    let has_verb = |pid: &u32| {
        std::fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.split(|byte| *byte == 0).any(|word| word == verb.as_bytes()))
    };
    let processes = std::fs::read_dir("/proc").unwrap();
    processes.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok()).filter(has_verb).collect()
}

/// Waits until the VMMs have followed their parents.
pub(crate) fn until_no_vmm() {
    until("the VMMs have followed their parents", || vmm_processes().is_empty());
}

/// Waits for something that the death of a process brings about.
#[track_caller]
pub(crate) fn until(what: &str, done: impl FnMut() -> bool) {
    within(ORPHAN_LIMIT, what, done);
}

/// Waits for something that takes as long as the machine is busy: a program of Python's that starts, for one.
#[track_caller]
pub(crate) fn eventually(what: &str, done: impl FnMut() -> bool) {
    within(LIMIT, what, done);
}

#[track_caller]
fn within(limit: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !done() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}: VMMs {:?}", vmm_processes());
        thread::sleep(Duration::from_millis(20));
    }
}
