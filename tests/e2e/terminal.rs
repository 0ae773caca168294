//! `-it`: the command has a terminal, which is ours.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::exec::{down, exec, up};
use crate::harness::{Bottle, Running, archive, bottle, until};
use crate::tmux::Tmux;

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_command_gets_our_terminal() {
    let image = archive("debian");
    // script(1) makes the terminal, with no size of its own when its stdin is none.
    let inner = format!(
        "stty rows 41 cols 113; exec {} vm run -it --cpus 1 --memory 512 docker-archive:{} -- \
         sh -c 'tty; stty size; echo term=$TERM; read line; echo \"got $line\"; exit 9'",
        bottle().display(),
        image.display()
    );
    let mut running = Bottle::wrapped(&[], "script".as_ref(), &["-qec", &inner, "/dev/null"]).start();
    running.until_stdout("term=");
    let mut stdin = running.stdin();
    std::io::Write::write_all(&mut stdin, b"typed\r").unwrap();
    running.until_stdout("got typed");
    let ended = running.end().expect(9);
    drop(stdin);
    let text = ended.text();
    assert!(text.contains("/dev/pts/"), "{}", ended.quoted());
    assert!(text.contains("41 113\r\n"), "{}", ended.quoted());
    // The terminal of the guest turns line ends into CR LF, and ours leaves them alone.
    assert!(!text.contains("\r\r\n"), "{}", ended.quoted());
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_terminal_that_is_not_there_is_refused() {
    Bottle::vm_run("debian", &["-it"], &["true"]).run().refused(125, &["terminal"]);
}

/// A bottle, and a person at a terminal beside it.
struct Seat {
    bottle: Running,
    tmux: Tmux,
    /// The terminal's modes before anything was done to it.
    modes: String,
}

impl Seat {
    fn take() -> Self {
        let (running, program) = (up(&[]), bottle());
        let tmux = Tmux::start(100, 30, &[("BOTTLE_STATE_DIR", running.state()), ("B", &program)]);
        let modes = tmux.modes();
        assert!(modes.contains(" icanon") && modes.contains(" echo "), "{modes}");
        Self { bottle: running, tmux, modes }
    }

    /// Starts a shell in the guest, with this before and behind the command line.
    fn enter(&self, before: &str, after: &str) {
        self.tmux.clear();
        self.tmux.line(&format!(
            "{before}$B exec -it -e \"PS1=guest\\$ \" running -- bash --norc --noprofile{after}"
        ));
        self.tmux.until_prompt("guest$ ");
        assert!(self.tmux.modes().contains("-icanon"), "the terminal is not raw");
    }

    /// The terminal is as it was, and it can be worked with.
    #[track_caller]
    fn is_sane(&self) {
        self.tmux.until_prompt("host$ ");
        assert_eq!(self.tmux.modes(), self.modes);
        self.tmux.line("echo sane-$((40+2))");
        self.tmux.until("sane-42");
    }

    /// What a script in the guest says, by another exec.
    fn ask(&self, script: &str) -> String {
        let ended = exec(&self.bottle, &[], &["sh", "-c", script]).run();
        assert_eq!(ended.code, 0, "{}", ended.quoted());
        ended.text().to_owned()
    }

    /// Waits until this command runs in the guest: a key that is pressed earlier is the shell's.
    #[track_caller]
    fn until_runs(&self, command: &str) {
        let script = format!("pgrep -fx '{command}' || true");
        until(command, || !self.ask(&script).is_empty());
    }

    /// The process that runs below `parent`.
    fn child_of(&self, parent: u32) -> u32 {
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
        children.trim().parse().unwrap_or_else(|_| panic!("{parent} has not one child: {children:?}"))
    }

    /// Waits for the end of a process that is not ours.
    #[track_caller]
    fn until_gone(&self, pid: u32) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while std::path::Path::new(&format!("/proc/{pid}")).exists() {
            assert!(Instant::now() < deadline, "process {pid} goes on");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn leave(self) {
        drop(self.tmux);
        down(self.bottle);
    }
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_person_can_work_at_it() {
    let seat = Seat::take();
    let tmux = &seat.tmux;
    seat.enter("", "");
    tmux.line("stty size; echo $TERM $COLORTERM-; tty");
    tmux.until("30 100");
    tmux.until(" truecolor-");
    tmux.until("/dev/pts/");
    tmux.resize(120, 40);
    tmux.line("stty size");
    tmux.until("40 120");

    // Enter is a carriage return, and a backspace takes a whole character.
    tmux.line("stty raw; echo mode-$((40+2)); head -c 1 | od -An -tx1; stty sane iutf8");
    tmux.until("mode-42");
    tmux.press(&["Enter"]);
    tmux.until(" 0d");
    tmux.until_prompt("guest$ ");
    tmux.line("cat > /tmp/line");
    tmux.type_text("añ");
    tmux.press(&["BSpace", "Enter", "C-d"]);
    tmux.until_prompt("guest$ ");
    assert_eq!(seat.ask("od -An -c /tmp/line"), "   a  \\n\n");

    tmux.clear();
    tmux.line("printf '\\033[38;5;196mr\\303\\266t\\033[0m\\n'");
    tmux.until("röt\n");
    assert!(tmux.coloured_screen().contains("\u{1b}[38;5;196mröt"), "{:?}", tmux.coloured_screen());

    // Ctrl-C is for what runs in the foreground, and so is Ctrl-Z.
    tmux.line("sleep 4321");
    seat.until_runs("sleep 4321");
    tmux.press(&["C-c"]);
    tmux.until("^C");
    tmux.until_prompt("guest$ ");
    tmux.line("sleep 1234");
    seat.until_runs("sleep 1234");
    tmux.press(&["C-z"]);
    tmux.until("Stopped");
    tmux.line("echo again-$((40+2)); fg");
    tmux.until("\nagain-42\nsleep 1234");
    tmux.press(&["C-c"]);
    tmux.until_prompt("guest$ ");
    tmux.line("jobs; echo alive-$((40+2))");
    tmux.until("\nalive-42");
    assert_eq!(seat.ask("pgrep -x sleep -a"), seat.ask("pgrep -x sleep -a | grep infinity"));

    programs_work(&seat);
    tmux.line("exit 3");
    tmux.until_prompt("host$ ");
    tmux.line("echo code=$?");
    tmux.until("code=3");
    seat.is_sane();
    seat.leave();
}

/// Those that take the whole screen, or make terminals themselves.
fn programs_work(seat: &Seat) {
    let tmux = &seat.tmux;
    tmux.line("vi /tmp/edited");
    tmux.until("\"/tmp/edited\" [New");
    tmux.press(&["i"]);
    tmux.type_text("typed into vi");
    tmux.until("typed into vi");
    tmux.press(&["Escape"]);
    tmux.line(":wq");
    tmux.until_prompt("guest$ ");
    assert_eq!(seat.ask("cat /tmp/edited"), "typed into vi\n");

    tmux.line("less /etc/passwd");
    tmux.until("root:x:0:0");
    tmux.press(&["q"]);
    tmux.until_prompt("guest$ ");
    tmux.line("top");
    tmux.until("load average");
    tmux.press(&["q"]);
    tmux.until_prompt("guest$ ");

    tmux.clear();
    tmux.line("script -qc 'tty; stty size' /dev/null");
    tmux.until("40 120");
    tmux.line("tmux new-session 'echo in-$((40+2)); stty size; read line'");
    tmux.until("in-42");
    tmux.until("39 120");
    tmux.press(&["Enter"]);
    tmux.until("[exited]");
    tmux.until_prompt("guest$ ");
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn the_terminal_is_as_before_however_the_client_ends() {
    let seat = Seat::take();
    let tmux = &seat.tmux;

    // Left running.
    seat.enter("", "");
    tmux.line("echo $$ > /tmp/left; while :; do echo noise; sleep 0.1; done");
    tmux.until("noise");
    tmux.press(&["C-p", "C-q"]);
    tmux.until("detached");
    seat.is_sane();
    seat.ask("kill -0 $(cat /tmp/left) && kill -9 $(cat /tmp/left)");

    // A single Ctrl-P is the shell's, if only for a moment later.
    seat.enter("", "");
    tmux.line("echo again-$((40+2))");
    tmux.until("again-42");
    tmux.clear();
    tmux.press(&["C-p"]);
    tmux.until("echo again-$((40+2))");
    tmux.press(&["C-c"]);
    tmux.line("exit");
    seat.is_sane();

    for signal in [Signal::TERM, Signal::HUP] {
        seat.enter("", "");
        tmux.line("echo $$ > /tmp/pid");
        tmux.until_prompt("guest$ ");
        let client = seat.child_of(tmux.shell());
        kill_process(pid(client), signal).unwrap();
        seat.is_sane();
        seat.ask(
            "for i in $(seq 300); do kill -0 $(cat /tmp/pid) 2>/dev/null || exit 0; sleep 0.1; done; exit 1",
        );
    }

    // Its parent is a shell that can't put the terminal back any more.
    seat.enter("sh -c '", "; echo never'");
    let parent = seat.child_of(tmux.shell());
    let client = seat.child_of(parent);
    kill_process(pid(parent), Signal::KILL).unwrap();
    seat.until_gone(client);
    seat.is_sane();

    // The guest ends under it.
    seat.enter("", "");
    seat.bottle.signal(Signal::TERM);
    tmux.until("went away");
    seat.is_sane();
    drop(seat.tmux);
    seat.bottle.end().expect(143);
}

fn pid(raw: u32) -> Pid {
    Pid::from_raw(i32::try_from(raw).unwrap()).unwrap()
}
