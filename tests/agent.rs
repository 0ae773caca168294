//! The host's agent client against the very init that is embedded, serving on a UNIX socket instead of vsock: real
//! processes, no guest. Every test ends its server, and every wait has a deadline.

// clippy.toml lets tests do this in functions marked as tests, and not in what those share.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bottle::vm::agent::{
    Agent, AgentError, EnvVar, Exec, ExecEvent, ExecOutput, ExecRequest, ExitStatus, FailureKind, TtySize,
};
use bottle_protocol::{GuestConfig, GuestFrame, Message, hello};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// For anything that takes well under a second on an idle machine.
const LIMIT: Duration = Duration::from_secs(60);

struct Server {
    process: Child,
    directory: TempDir,
}

impl Server {
    fn start(config: &GuestConfig) -> Self {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("config");
        std::fs::write(&file, config.encode().unwrap()).unwrap();
        let process = Command::new(env!("BOTTLE_GUEST_INIT"))
            .arg("serve")
            .arg(directory.path().join("agent"))
            .arg(file)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { process, directory };
        wait_for("the server's socket", || UnixStream::connect(server.socket()).is_ok());
        server
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("agent")
    }

    fn agent(&self) -> Agent {
        Agent::new(self.socket())
    }

    fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.agent().shutdown(Duration::ZERO));
        let deadline = Instant::now() + Duration::from_secs(10);
        while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not come within {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn request(argv: &[&str]) -> ExecRequest {
    ExecRequest {
        argv: argv.iter().map(|word| word.as_bytes().to_vec().into()).collect(),
        ..ExecRequest::default()
    }
}

fn sh(script: &str) -> ExecRequest {
    request(&["sh", "-c", script])
}

fn serve() -> Server {
    Server::start(&GuestConfig::default())
}

fn output(agent: &Agent, request: &ExecRequest) -> ExecOutput {
    agent.exec(request).unwrap().output().unwrap()
}

fn stdout(agent: &Agent, request: &ExecRequest) -> String {
    String::from_utf8(output(agent, request).stdout).unwrap()
}

fn is_gone(pid: u32) -> bool {
    !PathBuf::from(format!("/proc/{pid}")).exists()
}

/// Reads events until stdout holds `text`.
fn read_until(exec: &mut Exec, text: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(text) {
        match exec.next_event().unwrap() {
            ExecEvent::Stdout(data) => seen.push_str(&String::from_utf8_lossy(&data)),
            other => panic!("{other:?} instead of {text:?}, after {seen:?}"),
        }
    }
    seen
}

#[test]
fn codes_signals_and_both_streams_arrive() {
    let server = serve();
    let agent = server.agent();
    let seven = output(&agent, &sh("echo out; echo err >&2; exit 7"));
    assert_eq!(seven.status, ExitStatus::Code(7));
    assert_eq!((&seven.stdout[..], &seven.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
    let killed = output(&agent, &sh("kill -9 $$"));
    assert_eq!((killed.status, killed.status.shell_code()), (ExitStatus::Signal(9), 137));
    assert_eq!(output(&agent, &sh("exit 255")).status.shell_code(), 255);
    assert!(agent.info().unwrap().memory_total_kib > 0);
}

#[test]
fn megabytes_go_both_ways_unchanged() {
    let server = serve();
    let mut exec = server.agent().exec(&request(&["cat"])).unwrap();
    let mut stdin = exec.take_stdin().unwrap();
    let feeder = std::thread::spawn(move || {
        let (mut hash, mut state) = (Sha256::new(), 1u64);
        // 64 MiB, in pieces whose sizes divide nothing.
        let mut left = 64usize << 20;
        while left > 0 {
            let piece: Vec<u8> = (0..left.min(70_001))
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 56) as u8
                })
                .collect();
            stdin.write_all(&piece).unwrap();
            hash.update(&piece);
            left -= piece.len();
        }
        stdin.close().unwrap();
        hash.finalize()
    });
    let (mut hash, mut count) = (Sha256::new(), 0);
    loop {
        match exec.next_event().unwrap() {
            ExecEvent::Stdout(data) => {
                count += data.len();
                hash.update(&data);
            }
            ExecEvent::Stderr(data) => panic!("{}", String::from_utf8_lossy(&data)),
            ExecEvent::Detached => panic!("nobody asked for that"),
            ExecEvent::Exited(status) => {
                assert!(status.success());
                break;
            }
        }
    }
    assert_eq!(count, 64 << 20);
    assert_eq!(hash.finalize(), feeder.join().unwrap());
}

#[test]
fn environment_directory_and_user_are_the_execs_else_the_bottles() {
    let made = TempDir::new().unwrap();
    let config = GuestConfig {
        env: vec![EnvVar::new("A", "bottle"), EnvVar::new("B", "bottle")],
        default_cwd: made.path().as_os_str().as_encoded_bytes().to_vec().into(),
        ..GuestConfig::default()
    };
    let server = Server::start(&config);
    let agent = server.agent();
    let mut exec = sh("echo $A $B $HOME; pwd");
    exec.env = vec![EnvVar::new("B", "exec")];
    let text = stdout(&agent, &exec);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("bottle exec /"), "{text}");
    assert_eq!(lines[1], made.path().to_str().unwrap());
    exec.cwd = Some(b"/".to_vec().into());
    assert!(stdout(&agent, &exec).ends_with("\n/\n"));
    let mut raw = sh("printf %s \"$RAW\"");
    raw.env = vec![EnvVar::new("RAW", b"\xff\x01".to_vec())];
    assert_eq!(output(&agent, &raw).stdout, b"\xff\x01");
}

#[test]
fn another_user_gets_their_ids_and_streams() {
    assert!(rustix::process::geteuid().is_root(), "only root can run a process as somebody else");
    let server = serve();
    let mut nobody = sh("id -u; id -G; echo $HOME $USER; echo again >/dev/stdout");
    nobody.user = Some(b"nobody".to_vec().into());
    assert_eq!(stdout(&server.agent(), &nobody), "65534\n65534\n/nonexistent nobody\nagain\n");
    nobody.user = Some(b"12345:54321".to_vec().into());
    assert_eq!(stdout(&server.agent(), &nobody), "12345\n54321\n/\nagain\n");
}

#[test]
fn what_cannot_be_started_says_why() {
    let server = serve();
    let agent = server.agent();
    let kind = |request: &ExecRequest| match agent.exec(request) {
        Err(AgentError::Failed(failure)) => (failure.kind, failure.message),
        other => panic!("{other:?}"),
    };
    let file = server.directory.path().join("plain");
    std::fs::write(&file, "no program").unwrap();
    assert_eq!(kind(&request(&["no-such-command"])).0, FailureKind::NotFound);
    assert_eq!(kind(&request(&["/no/such/command"])).0, FailureKind::NotFound);
    assert_eq!(kind(&request(&["/etc"])).0, FailureKind::NotExecutable);
    assert_eq!(kind(&request(&[file.to_str().unwrap()])).0, FailureKind::NotExecutable);
    assert_eq!(kind(&request(&[""])).0, FailureKind::NotFound);
    assert_eq!(kind(&request(&[])).0, FailureKind::Other);
    let mut bad = request(&["true"]);
    bad.user = Some(b"no-such-user".to_vec().into());
    assert_eq!(kind(&bad).0, FailureKind::NoSuchUser);
    let mut bad = request(&["true"]);
    bad.cwd = Some(b"/no/such/directory".to_vec().into());
    let (kind, message) = kind(&bad);
    assert_eq!(kind, FailureKind::BadDirectory);
    assert!(message.contains("/no/such/directory"), "{message}");
    // And the agent is none the worse for it.
    assert!(output(&agent, &request(&["true"])).status.success());
}

#[test]
fn a_terminal_has_a_size_takes_keys_and_is_resized() {
    let server = serve();
    let mut tty = sh(
        "stty size; tty -s && echo yes; trap 'stty size' WINCH; read -r line; echo \"got $line\"; sleep 30 & wait; wait",
    );
    tty.tty = Some(TtySize { rows: 33, columns: 101 });
    let mut exec = server.agent().exec(&tty).unwrap();
    assert!(read_until(&mut exec, "yes").contains("33 101"));
    let mut stdin = exec.take_stdin().unwrap();
    stdin.write_all(b"typed\r").unwrap();
    read_until(&mut exec, "got typed");
    exec.control().resize(44, 120).unwrap();
    read_until(&mut exec, "44 120");
    // The third key of the row: the terminal turns it into SIGINT.
    stdin.write_all(b"\x03").unwrap();
    let status = loop {
        if let ExecEvent::Exited(status) = exec.next_event().unwrap() {
            break status;
        }
    };
    assert_eq!(status.shell_code(), 130);
}

#[test]
fn the_end_of_stdin_ends_readers_on_pipes_and_terminals() {
    let server = serve();
    let agent = server.agent();
    assert!(output(&agent, &request(&["cat"])).status.success());
    let mut tty = request(&["cat"]);
    tty.tty = Some(TtySize { rows: 24, columns: 80 });
    let mut exec = agent.exec(&tty).unwrap();
    exec.take_stdin().unwrap().write_all(b"no newline").unwrap();
    assert!(exec.output().unwrap().status.success());
}

#[test]
fn a_process_without_stdin_reads_nothing() {
    let server = serve();
    let mut quiet = sh("readlink /proc/self/fd/0; cat");
    quiet.null_stdin = true;
    let mut exec = server.agent().exec(&quiet).unwrap();
    assert!(exec.take_stdin().is_none());
    assert_eq!(exec.output().unwrap().stdout, b"/dev/null\n");
    // On a terminal nobody types, not even its end.
    let mut tty =
        ExecRequest { null_stdin: true, tty: Some(TtySize { rows: 24, columns: 80 }), ..sh("echo up; cat") };
    let mut exec = server.agent().exec(&tty).unwrap();
    read_until(&mut exec, "up");
    exec.control().signal(15).unwrap();
    assert_eq!(exec.output().unwrap().status, ExitStatus::Signal(15));
    tty.argv = request(&["stty", "-a"]).argv;
    let modes = stdout(&server.agent(), &tty);
    assert!(modes.contains(" iutf8"), "backspace would take half a character: {modes}");
}

/// A script that writes what it has to say into a file when it is done, and then stays. A hang-up ends it.
fn staying(server: &Server, script: &str) -> (ExecRequest, PathBuf) {
    let file = server.directory.path().join("said");
    let whole = format!("exec 3>{0}.new; {script}; mv {0}.new {0}; exec sleep 1000", file.display());
    (sh(&whole), file)
}

/// It runs, is the only one, and has heard nothing of our going away.
fn assert_alone(server: &Server, pid: u32) {
    // A hang-up would come at once.
    std::thread::sleep(Duration::from_millis(300));
    assert!(!is_gone(pid), "it ended with its connection");
    assert_eq!(server.agent().info().unwrap().execs, 1);
    output(&server.agent(), &sh(&format!("kill {pid}")));
    wait_for("the process's end", || is_gone(pid));
    wait_for("the count of execs", || server.agent().info().unwrap().execs == 0);
}

#[test]
fn a_detached_process_has_no_streams_and_stays() {
    let server = serve();
    let (mut request, file) =
        staying(&server, "for fd in 0 1 2; do link=$(readlink /proc/$$/fd/$fd); echo $link >&3; done");
    request.detached = true;
    let mut exec = server.agent().exec(&request).unwrap();
    assert!(exec.take_stdin().is_none());
    assert_eq!(exec.next_event().unwrap(), ExecEvent::Detached);
    let pid = exec.pid();
    assert!(matches!(exec.output(), Err(AgentError::Detached { .. })));
    wait_for("what it says", || file.exists());
    assert_eq!(std::fs::read_to_string(file).unwrap(), "/dev/null\n/dev/null\n/dev/null\n");
    assert_alone(&server, pid);
    // What can't be started is said all the same.
    let nothing = ExecRequest { detached: true, ..self::request(&["no-such-command"]) };
    assert!(matches!(server.agent().exec(&nothing), Err(AgentError::Failed(_))));
}

#[test]
fn a_process_that_is_detached_later_keeps_its_terminal_and_what_was_typed() {
    let server = serve();
    // More than a terminal holds, to nobody.
    let script = "echo up; read -r line; seq 20000; stty size >&3; echo $line >&3";
    let (mut request, file) = staying(&server, script);
    request.tty = Some(TtySize { rows: 33, columns: 101 });
    let mut exec = server.agent().exec(&request).unwrap();
    read_until(&mut exec, "up");
    let mut stdin = exec.take_stdin().unwrap();
    stdin.write_all(b"typed\r").unwrap();
    exec.control().detach().unwrap();
    while exec.next_event().unwrap() != ExecEvent::Detached {}
    drop(stdin);
    let pid = exec.pid();
    drop(exec);
    wait_for("what it says", || file.exists());
    assert_eq!(std::fs::read_to_string(file).unwrap(), "33 101\ntyped\n");
    assert_alone(&server, pid);
}

#[test]
fn a_process_on_pipes_can_be_detached_too() {
    let server = serve();
    let (request, file) = staying(&server, "echo up; cat >&3; seq 20000");
    let mut exec = server.agent().exec(&request).unwrap();
    read_until(&mut exec, "up");
    exec.take_stdin().unwrap().write_all(b"sent").unwrap();
    exec.control().detach().unwrap();
    while exec.next_event().unwrap() != ExecEvent::Detached {}
    let pid = exec.pid();
    wait_for("what it says", || file.exists());
    assert_eq!(std::fs::read_to_string(file).unwrap(), "sent");
    assert_alone(&server, pid);
}

#[test]
fn signals_reach_the_whole_group() {
    let server = serve();
    let mut exec = server.agent().exec(&sh("echo $$; sleep 1000 | sleep 1000; true")).unwrap();
    read_until(&mut exec, "\n");
    let started = Instant::now();
    exec.control().signal(15).unwrap();
    assert_eq!(exec.output().unwrap().status, ExitStatus::Signal(15));
    assert!(started.elapsed() < LIMIT);
}

#[test]
fn what_is_left_running_is_not_waited_for_and_nothing_is_cut_off() {
    let server = serve();
    let started = Instant::now();
    let left = output(&server.agent(), &sh("sleep 1000 & head -c 60000 /dev/zero; exit 3"));
    assert_eq!((left.status, left.stdout.len()), (ExitStatus::Code(3), 60_000));
    assert!(started.elapsed() < LIMIT);
    for _ in 0..50 {
        let last = stdout(&server.agent(), &sh("printf first; printf last"));
        assert_eq!(last, "firstlast");
    }
}

#[test]
fn fifty_at_once() {
    let server = serve();
    std::thread::scope(|scope| {
        for number in 0..50 {
            let agent = server.agent();
            scope.spawn(move || {
                let text =
                    stdout(&agent, &sh(&format!("head -c 100000 /dev/zero | wc -c; exec echo {number}")));
                assert_eq!(text, format!("100000\n{number}\n"));
            });
        }
    });
}

#[test]
fn a_reader_that_pauses_holds_the_process_up_and_no_memory_grows() {
    let server = serve();
    let agent = server.agent();
    let mut exec = agent.exec(&sh("yes; echo unreachable")).unwrap();
    let before = server.resident_kib();
    // Long enough for `yes` to fill gigabytes.
    std::thread::sleep(Duration::from_secs(2));
    assert!(server.resident_kib() < before + 8 * 1024, "{} after {before}", server.resident_kib());
    // Meanwhile others are served, and it still takes signals.
    assert_eq!(stdout(&agent, &sh("echo other")), "other\n");
    exec.control().signal(9).unwrap();
    exec.take_stdin();
    assert_eq!(exec.output().unwrap().status, ExitStatus::Signal(9));
}

#[test]
fn signals_pass_stdin_that_nobody_reads() {
    let server = serve();
    let mut exec = server.agent().exec(&request(&["sleep", "1000"])).unwrap();
    let control = exec.control();
    let mut stdin = exec.take_stdin().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&vec![0; 8 << 20]));
    std::thread::sleep(Duration::from_millis(300));
    assert!(!writer.is_finished(), "8 MiB went into a process that does not read");
    control.signal(15).unwrap();
    assert_eq!(exec.next_event().unwrap(), ExecEvent::Exited(ExitStatus::Signal(15)));
    assert!(writer.join().unwrap().is_err());
}

#[test]
fn a_host_that_goes_away_takes_its_process_with_it() {
    let server = serve();
    let agent = server.agent();
    for script in ["echo $$; sleep 1000", "trap '' HUP; echo $$; while :; do sleep 1; done"] {
        let mut exec = agent.exec(&sh(script)).unwrap();
        read_until(&mut exec, "\n");
        let pid = exec.pid();
        drop(exec);
        wait_for("the process's end", || is_gone(pid));
    }
    wait_for("the count of execs", || agent.info().unwrap().execs == 0);
}

#[test]
fn a_guest_that_goes_away_is_named() {
    let mut server = serve();
    let mut exec = server.agent().exec(&request(&["sleep", "1000"])).unwrap();
    server.process.kill().unwrap();
    let error = exec.next_event().unwrap_err();
    assert_eq!(error.to_string(), "the guest went away while `sleep` ran");
    server.process.wait().unwrap();
    assert!(matches!(server.agent().info(), Err(AgentError::Connect { .. })));
    // The process is an orphan now, and ours to end.
    let pid = rustix::process::Pid::from_raw(i32::try_from(exec.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn strangers_are_told_the_version_and_let_go() {
    let server = serve();
    for greeting in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"BOTTLE\x63\x00", b""] {
        let mut stream = UnixStream::connect(server.socket()).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(greeting).unwrap();
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, hello());
        if !greeting.is_empty() {
            assert!(matches!(stream.read(&mut answer), Ok(0) | Err(_)));
        }
    }
    assert!(server.agent().info().is_ok());
}

/// A guest that says what it likes, once the request came.
fn hostile(answer: Vec<u8>) -> (TempDir, Agent, std::thread::JoinHandle<()>) {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("agent");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 8]).unwrap();
        // It may not get to say all of it.
        drop(stream.write_all(&answer));
        drop(stream.read_to_end(&mut Vec::new()));
    });
    (directory, Agent::new(socket), thread)
}

#[test]
fn a_hostile_guest_gets_an_error_and_no_memory() {
    let frames = |frames: &[GuestFrame]| {
        let mut bytes = hello().to_vec();
        frames.iter().for_each(|frame| frame.encode(&mut bytes).unwrap());
        bytes
    };
    let flood = std::iter::once(GuestFrame::Started { pid: 1 })
        .chain((0..1000).map(|_| GuestFrame::Stdout(vec![0; 65536])))
        .collect::<Vec<_>>();
    for (answer, text) in [
        (b"BOTTLE\x63\x00".to_vec(), "version 99"),
        (b"SSH-2.0-OpenSSH".to_vec(), "does not speak"),
        (frames(&[GuestFrame::Exited(ExitStatus::Code(0))]), "another answer"),
        ([&hello()[..], b"\x82\xff\xff\xff\xff"].concat(), "4294967295 bytes"),
        (frames(&flood), "more output than it had credit for"),
        (frames(&[GuestFrame::Started { pid: 1 }, GuestFrame::ShuttingDown]), "an answer to something else"),
    ] {
        let (_directory, agent, thread) = hostile(answer);
        let error = match agent.exec(&request(&["true"])) {
            Err(error) => error,
            Ok(exec) => exec.output().unwrap_err(),
        };
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(format!("{error}: {source}").contains(text), "{error}: {source}, and not {text}");
        thread.join().unwrap();
    }
}
