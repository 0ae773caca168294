//! A bottle's life: in the background, listed, logged, stopped, resumed, killed, removed.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::docker;
use crate::harness::{
    Bottle, Ended, Running, archive, bottles, cache, launchers, until, until_no_vmm, vmm_processes,
};

/// A state directory of its own. Whatever a test leaves in it is removed.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn bottle(&self, args: &[&str]) -> Bottle {
        Bottle::new(args).env("BOTTLE_STATE_DIR", self.path())
    }

    /// `bottle ARGS`, which ends with this code.
    #[track_caller]
    fn expect(&self, code: i32, args: &[&str]) -> Ended {
        let ended = self.bottle(args).run();
        assert_eq!(ended.code, code, "{}", ended.quoted());
        ended
    }

    /// `bottle ARGS`, which ends with 0. Returns its stdout.
    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        self.expect(0, args).text().to_owned()
    }

    /// `bottle ARGS`, which is refused with a line that says each of `words`, and a hint.
    #[track_caller]
    fn refused(&self, words: &[&str], args: &[&str]) {
        let ended = self.expect(125, args);
        let lines: Vec<&str> = ended.stderr.lines().collect();
        let is_plain = lines.len() == 2 && lines[0].starts_with("bottle: ") && lines[1].starts_with("hint: ");
        assert!(is_plain, "not one line and a hint: {}", ended.quoted());
        assert!(words.iter().all(|word| lines[0].contains(word)), "{words:?}: {}", ended.quoted());
        eprintln!("    {}\n    {}", lines[0], lines[1]);
    }

    /// `bottle vm run OPTIONS --name NAME IMAGE -- bash -c SCRIPT`, in a small guest of the Debian image.
    fn vm_run(&self, name: &str, options: &[&str], script: &str) -> Bottle {
        let image = format!("docker-archive:{}", archive("debian").display());
        let mut args = vec!["vm", "run", "--cpus", "1", "--memory", "512", "--name", name];
        args.extend(options);
        args.extend([&*image, "--", "bash", "-c", script]);
        self.bottle(&args)
    }

    /// The same in the background.
    #[track_caller]
    fn detach(&self, name: &str, options: &[&str], script: &str) {
        let options = [&["-d"], options].concat();
        let ended = self.vm_run(name, &options, script).run();
        assert_eq!((ended.code, ended.text()), (0, &*format!("{name}\n")), "{}", ended.quoted());
    }

    /// What is known of a bottle; nothing if there is none.
    #[track_caller]
    fn look(&self, name: &str) -> Value {
        let listed: Vec<Value> = serde_json::from_str(&self.ok(&["ps", "-a", "--json"])).unwrap();
        listed.into_iter().find(|bottle| bottle["name"] == name).unwrap_or(Value::Null)
    }

    /// Waits for this in a bottle's log.
    #[track_caller]
    fn until_logged(&self, name: &str, text: &str) {
        let mut follow = self.bottle(&["logs", "-f", name]).start();
        follow.until_stdout(text);
        // Dropping it kills it.
    }

    /// Nothing is left of any bottle.
    #[track_caller]
    fn nothing_left(&self) {
        assert_eq!(bottles(self.path()), Vec::<String>::new());
        assert_eq!((vmm_processes(), launchers()), (vec![], vec![]));
        assert_eq!(docker::leftovers(), Vec::<String>::new());
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for name in bottles(self.path()) {
            let ended = self.bottle(&["rm", "-f", &name]).run();
            if ended.code != 0 {
                eprintln!("{}", ended.quoted());
            }
        }
    }
}

fn kill(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).unwrap();
}

/// The one launcher in the background.
#[track_caller]
fn launcher() -> u32 {
    let [launcher] = launchers()[..] else { panic!("{:?}", launchers()) };
    launcher
}

/// The one VMM.
#[track_caller]
fn vmm() -> u32 {
    let [vmm] = vmm_processes()[..] else { panic!("{:?}", vmm_processes()) };
    vmm
}

/// The disk of a bottle is one that a power cut may leave: no damage in the image's own tables, and after its journal was
/// replayed, and nothing else done, a file system without a fault.
#[track_caller]
fn assert_disk_is_sound(bottle: &Path) {
    let run = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        (output.status.code().unwrap_or(-1), format!("{program} {args:?}: {text}"))
    };
    let disk = bottle.join("disk.qcow2");
    let disk = disk.to_str().unwrap();
    let (code, text) = run("qemu-img", &["check", disk]);
    // 3: clusters that nobody uses are taken, as after any power cut.
    assert!(matches!(code, 0 | 3), "{text}");
    let raw = TempDir::new().unwrap();
    let raw = raw.path().join("raw");
    let raw = raw.to_str().unwrap();
    let (code, text) = run("qemu-img", &["convert", "-O", "raw", disk, raw]);
    assert_eq!(code, 0, "{text}");
    let (code, text) = run("e2fsck", &["-E", "journal_only", "-y", raw]);
    assert!(matches!(code, 0 | 1), "{text}");
    let (code, text) = run("e2fsck", &["-fn", raw]);
    assert_eq!(code, 0, "{text}");
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_bottle_in_the_background_is_stopped_and_resumed() {
    let home = Home::new();
    let script = "echo run >> /runs; cat /runs; echo problem >&2; trap 'echo trapped; exit 5' TERM; \
                  printf 'spoken \\033[31min red\\n' > /dev/console; echo ready; while :; do sleep 0.1; done";
    home.detach("one", &[], script);
    assert_eq!(bottles(home.path()), ["one"]);
    home.until_logged("one", "ready\n");
    let seen = home.look("one");
    assert_eq!((seen["status"].as_str(), seen["kept"].as_bool()), (Some("running"), Some(true)), "{seen}");
    assert_eq!(home.ok(&["ps", "-q"]), "one\n");
    assert!(home.ok(&["ps"]).lines().nth(1).unwrap().starts_with("one   running, started "));
    let logged = home.expect(0, &["logs", "one"]);
    assert_eq!((logged.text(), &*logged.stderr), ("run\nready\n", "problem\n"));
    assert_eq!(home.ok(&["logs", "--tail", "1", "one"]), "ready\n");
    assert!(home.ok(&["logs", "-t", "--tail", "1", "one"]).ends_with("Z ready\n"));
    let console = home.ok(&["logs", "--vm", "one"]);
    assert!(console.contains("spoken ") && console.contains("in red\n"), "{console:?}");
    assert!(!console.contains('\x1b'), "{console:?}");

    home.refused(&["one", "exists already"], &["vm", "run", "--name", "one", "x:y", "--", "true"]);
    home.refused(&["one", "is running"], &["rm", "one"]);
    home.refused(&["one", "is running"], &["resume", "one"]);
    home.refused(&["no bottle named on"], &["stop", "on"]);

    let follow = home.bottle(&["logs", "-f", "one"]).start();
    assert_eq!(home.ok(&["stop", "one"]), "one\n");
    let followed = follow.end();
    assert_eq!((followed.code, followed.text()), (0, "run\nready\ntrapped\n"), "{}", followed.quoted());
    assert_eq!((vmm_processes(), launchers()), (vec![], vec![]), "a stop is over before they are");
    assert_eq!(home.ok(&["ps", "-q"]), "");
    let seen = home.look("one");
    assert_eq!((seen["status"].as_str(), seen["exitCode"].as_u64()), (Some("exited"), Some(5)), "{seen}");
    assert!(home.ok(&["ps", "-a"]).contains("exited (5) just now"));
    assert_eq!(home.ok(&["stop", "one"]), "one\n", "what has ended is stopped");
    assert_disk_is_sound(&home.path().join("one"));

    // It does not run, and yet has its name and its image.
    home.refused(&["one", "exists already"], &["vm", "run", "--name", "one", "x:y", "--", "true"]);
    let image = seen["imageId"].as_str().unwrap();
    home.refused(&[image, "the bottle one"], &["image", "rm", image]);
    home.ok(&["image", "prune"]);
    assert!(cache().join("images").join(image).exists());
    assert_eq!(home.ok(&["gc"]), "");

    assert_eq!(home.ok(&["resume", "-d", "one"]), "one\n");
    home.until_logged("one", "ready\nrun\nrun\nready\n");
    assert_eq!(home.look("one")["status"], "running");
    assert_eq!(home.ok(&["rm", "-f", "one"]), "one\n");
    home.nothing_left();
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_bottle_in_the_foreground_is_kept_if_asked() {
    let home = Home::new();
    let script = "echo run >> /runs; cat /runs; exit 7";
    let ended = home.vm_run("two", &["--keep"], script).run();
    assert_eq!((ended.code, ended.text()), (7, "run\n"), "{}", ended.quoted());
    let seen = home.look("two");
    assert_eq!((seen["status"].as_str(), seen["exitCode"].as_u64()), (Some("exited"), Some(7)), "{seen}");
    home.refused(&["two"], &["logs", "two"]);
    assert_eq!(home.expect(7, &["resume", "two"]).text(), "run\nrun\n");

    // Over another base, the disk would be garbage.
    let record = home.path().join("two/bottle.json");
    let before = std::fs::read_to_string(&record).unwrap();
    let mut other: Value = serde_json::from_str(&before).unwrap();
    other["base"]["checksum"] = 12345.into();
    std::fs::write(&record, other.to_string()).unwrap();
    home.refused(&["two", "other bytes"], &["resume", "two"]);
    std::fs::write(&record, "{").unwrap();
    home.refused(&["bottle.json"], &["resume", "two"]);
    assert_eq!(home.look("two")["status"], "crashed");
    std::fs::write(&record, before).unwrap();
    assert_eq!(home.look("two")["exitCode"], 7, "a resume that is refused changes nothing");
    assert_eq!(home.ok(&["rm", "two"]), "two\n");
    home.refused(&["no bottle named two"], &["rm", "two"]);
    home.nothing_left();

    let ended = home.vm_run("three", &["-d", "--rm"], "exit 3").run();
    assert_eq!(ended.text(), "three\n", "{}", ended.quoted());
    until("the bottle has gone", || bottles(home.path()).is_empty() && launchers().is_empty());
    home.nothing_left();
    let both = home.vm_run("four", &["--keep", "--rm"], "true").run();
    assert_eq!(both.code, 125, "{}", both.quoted());
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn the_launcher_says_what_went_wrong() {
    let home = Home::new();
    let image = format!("docker-archive:{}", archive("debian").display());
    let run = ["vm", "run", "-d", "--cpus", "1", "--memory", "512"];
    let missing = home.expect(127, &[&run[..], &[&*image, "--", "no-such-command"]].concat());
    assert!(missing.stderr.starts_with("bottle: `no-such-command`"), "{}", missing.quoted());
    assert!(missing.text().is_empty() && missing.stderr.lines().count() == 2, "{}", missing.quoted());
    home.refused(&["/no/such.tar"], &[&run[..], &["docker-archive:/no/such.tar", "--", "true"]].concat());
    home.nothing_left();
}

/// One that ignores SIGTERM gets SIGKILL; of one whose whole guest hangs, the VM is ended; and where the launcher hangs too, both
/// are killed by who stops it.
#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_bottle_that_does_not_stop_is_stopped_by_force() {
    let home = Home::new();
    let script = "trap '' TERM; echo ready; while :; do sleep 0.1; done";
    home.detach("deaf", &[], script);
    home.until_logged("deaf", "ready\n");
    assert_eq!(home.ok(&["stop", "-t", "1", "deaf"]), "deaf\n");
    let seen = home.look("deaf");
    assert_eq!((seen["status"].as_str(), seen["signal"].as_u64()), (Some("exited"), Some(9)), "{seen}");

    home.ok(&["resume", "-d", "deaf"]);
    kill(vmm(), Signal::STOP);
    let start = Instant::now();
    assert_eq!(home.ok(&["stop", "-t", "1", "deaf"]), "deaf\n");
    assert!(start.elapsed() < Duration::from_secs(40), "{:?}", start.elapsed());
    let seen = home.look("deaf");
    assert_eq!(seen["status"], "exited", "{seen}");
    assert!(seen["error"].as_str().unwrap().contains("signal 15"), "{seen}");
    assert_disk_is_sound(&home.path().join("deaf"));

    home.ok(&["resume", "-d", "deaf"]);
    kill(vmm(), Signal::STOP);
    kill(launcher(), Signal::STOP);
    let ended = home.expect(0, &["stop", "-t", "1", "deaf"]);
    assert!(ended.stderr.contains("killed"), "{}", ended.quoted());
    assert_eq!((vmm_processes(), launchers()), (vec![], vec![]));
    assert_eq!(home.look("deaf")["signal"], 9);
    home.ok(&["rm", "deaf"]);
    home.nothing_left();
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_launch_is_stopped_in_whatever_step_it_is() {
    let home = Home::new();
    let stop = |launch: Running| {
        assert_eq!(home.ok(&["stop", "early"]), "early\n");
        let ended = launch.end();
        assert_eq!(ended.code, 143, "{}", ended.quoted());
        assert!(ended.stderr.contains("stopped by signal 15"), "{}", ended.quoted());
        home.nothing_left();
    };
    // While the image is imported, which takes seconds for a cache that is empty.
    let empty = TempDir::new().unwrap();
    for options in [&["-d"][..], &[]] {
        let mut launch = home.vm_run("early", options, "true").env("BOTTLE_CACHE_DIR", empty.path()).start();
        launch.until("the bottle's directory", |_| home.path().join("early/control.sock").exists());
        stop(launch);
    }
    for options in [&["-d"][..], &[]] {
        let mut launch = home.vm_run("early", options, "true").start();
        launch.until("a VMM", |_| !vmm_processes().is_empty());
        stop(launch);
    }
    // Ctrl-C, while `bottle vm run -d` waits.
    let mut launch = home.vm_run("early", &["-d"], "true").start();
    launch.until("a VMM", |_| !vmm_processes().is_empty());
    launch.signal_group(Signal::INT);
    assert_eq!(launch.end().code, 130);
    home.nothing_left();
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_launcher_that_is_killed_leaves_a_bottle_that_can_be_resumed() {
    let home = Home::new();
    let script = "cat /synced; echo data >> /synced; sync; echo ready; \
                  while :; do head -c 100000 /dev/urandom > /file$((n += 1)); done";
    home.detach("crash", &[], script);
    home.until_logged("crash", "ready\n");
    kill(launcher(), Signal::KILL);
    until_no_vmm();
    until("the lock is free", || home.look("crash")["status"] == "crashed");
    home.refused(&["crash", "exists already"], &["vm", "run", "--name", "crash", "x:y", "--", "true"]);
    assert_disk_is_sound(&home.path().join("crash"));
    assert_eq!(home.ok(&["gc"]), "", "a kept bottle is no leftover");
    home.ok(&["resume", "-d", "crash"]);
    home.until_logged("crash", "ready\ndata\nready\n");

    // The VM alone: the launcher records that.
    kill(vmm(), Signal::KILL);
    until("the launcher has gone", || launchers().is_empty());
    let seen = home.look("crash");
    assert_eq!(seen["status"], "exited", "{seen}");
    assert!(seen["error"].as_str().unwrap().contains("the microVM ended while `bash` ran"), "{seen}");
    assert_disk_is_sound(&home.path().join("crash"));
    let said = std::fs::read_to_string(home.path().join("crash/launcher.log")).unwrap();
    assert!(said.contains("bottle: the microVM ended while `bash` ran"), "{said}");
    home.ok(&["rm", "crash"]);

    // Not kept: a leftover.
    home.detach("crash", &["--rm"], "echo ready; sleep 300");
    kill(launcher(), Signal::KILL);
    until_no_vmm();
    until("the lock is free", || home.look("crash")["status"] == "crashed");
    home.refused(&["crash", "not to be kept"], &["resume", "crash"]);
    assert_eq!(home.ok(&["gc"]), "crash\n");
    home.nothing_left();
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn of_launches_with_one_name_one_is_made() {
    let home = Home::new();
    let launches: Vec<Running> = (0..5).map(|_| home.vm_run("same", &["-d"], "sleep 300").start()).collect();
    let ended: Vec<Ended> = launches.into_iter().map(Running::end).collect();
    let made = ended.iter().filter(|one| one.code == 0 && one.text() == "same\n").count();
    let taken = ended.iter().filter(|one| one.code == 125 && one.stderr.contains("exists already")).count();
    assert_eq!((made, taken), (1, 4), "{}", ended.iter().map(Ended::quoted).collect::<String>());
    assert_eq!((vmm_processes().len(), launchers().len()), (1, 1));
    home.ok(&["rm", "-f", "same"]);
    home.nothing_left();
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_bottle_with_a_bundle_gets_a_new_one() {
    let home = Home::new();
    let image = format!("docker-archive:{}", archive("debian").display());
    let script = "echo $HTTP_PROXY; trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done";
    let args = [
        &["run", "-d", "--bottle", "bundled", "--cpus", "1", "--memory", "512", "--image", &image][..],
        &["--bundle-image", "bottle-test/proxy:latest", "--bundle-port", "8888", "--", "bash", "-c", script],
    ];
    assert_eq!(home.ok(&args.concat()), "bundled\n");
    home.until_logged("bundled", "ready\n");
    assert_eq!(docker::leftovers().len(), 2, "{:?}", docker::leftovers());
    home.ok(&["stop", "bundled"]);
    assert_eq!(docker::leftovers(), Vec::<String>::new());
    home.ok(&["resume", "-d", "bundled"]);
    let log = {
        home.until_logged("bundled", "ready\nhttp://127.0.0.");
        home.ok(&["logs", "bundled"])
    };
    assert!(log.starts_with("http://127.0.0."), "{log}");
    assert_eq!(docker::leftovers().len(), 2, "{:?}", docker::leftovers());

    // Its launcher killed, `rm` takes what is left of the bundle too.
    kill(launcher(), Signal::KILL);
    until_no_vmm();
    until("the lock is free", || home.look("bundled")["status"] == "crashed");
    assert_eq!(home.ok(&["rm", "bundled"]), "bundled\n");
    home.nothing_left();
}
