//! A bottle's life: in the background, listed, logged, stopped, resumed, killed, removed.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::docker;
use crate::harness::{
    Ended, Running, archive, bottles, cache, launchers, until, until_no_vmm, vmm_processes,
};
use crate::home::{Home, assert_disk_is_sound, kill};

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
    assert!(home.ok(&["ps"]).lines().nth(1).unwrap().starts_with("one   -      -       running, started "));
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
    home.until_logged("one", "ready\ntrapped\nrun\nrun\nready\n");
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
        &["run", "-d", "--name", "bundled", "--cpus", "1", "--memory", "512", "--image", &image][..],
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
