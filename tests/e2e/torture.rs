//! Bottles whose launcher, VMM or both are killed at random moments, in the middle of execs and copies, over and over: what was
//! synced is there, every disk is sound, every kept bottle can be resumed, and nothing else is left.

use std::collections::BTreeMap;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::{bottles, launchers, number, until, vmm_processes};
use crate::home::{Home, assert_disk_is_sound, kill};
use crate::random::Random;

/// How late something is killed at most: in a launch, which takes half of it or more, and in its work.
const LAUNCH: Duration = Duration::from_secs(12);
const WORK: Duration = Duration::from_secs(6);

/// For both sides of a copy.
const COPY_BYTES: usize = 4 << 20;

/// What was there to be found again: by bottle, the lines that it has surely written.
type Synced = BTreeMap<String, Vec<String>>;

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn bottles_that_are_killed_leave_their_disks_and_nothing_else() {
    let (home, copies) = (Home::new(), TempDir::new().unwrap());
    let mounts = mounts();
    let mut random = Random::new();
    let mut synced = Synced::new();
    for round in 0..number("BOTTLE_TEST_ROUNDS") {
        eprintln!("round {round}, {random:?}");
        one_round(&home, copies.path(), round, &mut random, &mut synced);
    }
    eprintln!("{} of the bottles got somewhere", synced.values().filter(|lines| !lines.is_empty()).count());

    home.ok(&["gc"]);
    assert_eq!((vmm_processes(), launchers()), (vec![], vec![]));
    assert_eq!(self::mounts(), mounts);
    let kept = bottles(home.path());
    for (name, lines) in &synced {
        assert!(lines.is_empty() || kept.contains(name), "{name}, which had written {lines:?}, is gone");
    }
    for name in &kept {
        let dir = home.path().join(name);
        let sockets: Vec<PathBuf> = files(&dir).into_iter().filter(|path| is_socket(path)).collect();
        assert!(sockets.is_empty(), "left by {name}: {sockets:?}");
        assert_disk_is_sound(&dir);
        home.ok(&["resume", "-d", name]);
        let there = home.ok(&["exec", name, "--", "sh", "-c", "cat /root/lines 2>/dev/null || true"]);
        let there: Vec<&str> = there.lines().collect();
        let lines = synced.get(name).map(Vec::as_slice).unwrap_or_default();
        assert!(lines.iter().all(|line| there.contains(&&**line)), "{name}: {lines:?} in {there:?}");
        home.ok(&["stop", "-t", "1", name]);
        assert_disk_is_sound(&dir);
        home.ok(&["rm", name]);
    }
    home.nothing_left();
}

/// Starts a bottle, or one that there is again, and kills something of it.
fn one_round(home: &Home, copies: &Path, round: usize, random: &mut Random, synced: &mut Synced) {
    let mut there = bottles(home.path());
    // What was killed before its process ran is `gc`'s, and can't be resumed.
    there.retain(|name| has_run(&home.path().join(name)));
    let old = there.get(random.index(there.len() + 2)).cloned();
    let launch = match &old {
        Some(name) => home.bottle(&["resume", "-d", name]),
        None => home.vm_run(&format!("torture-{round}"), &["-d"], "sleep infinity"),
    };
    let name = old.unwrap_or_else(|| format!("torture-{round}"));
    let mut launch = launch.start();
    if random.index(3) == 0 {
        thread::sleep(random.below(LAUNCH));
        if !kill_something(random) {
            panic!("there was nothing to kill: {}", launch.end().quoted());
        }
    } else {
        let launched = launch.end();
        assert_eq!(launched.code, 0, "{}", launched.quoted());
        let over = AtomicBool::new(false);
        let lines = thread::scope(|scope| {
            let execs = scope.spawn(|| write_lines(home, &name, round, &over));
            scope.spawn(|| copy(home, &name, &copies.join(round.to_string()), &over));
            thread::sleep(random.below(WORK));
            let killed = kill_something(random);
            over.store(true, Ordering::Relaxed);
            let lines = execs.join().unwrap();
            assert!(killed, "it ended by itself: {}", last_words(&home.path().join(&name)));
            lines
        });
        synced.entry(name.clone()).or_default().extend(lines);
        launch = home.bottle(&["ps"]).start();
    }
    // Whoever is left of the three follows, by itself.
    drop(launch.end());
    until("all of the bottle has followed", || vmm_processes().is_empty() && launchers().is_empty());
    let there = bottles(home.path()).contains(&name);
    let lines = synced.get(&name).is_some_and(|lines| !lines.is_empty());
    assert!(there || !lines, "{name} is gone, and what it has written");
}

/// Has a bottle's process run, as its record says?
fn has_run(dir: &Path) -> bool {
    let record = std::fs::read(dir.join("bottle.json")).unwrap_or_default();
    serde_json::from_slice::<serde_json::Value>(&record).is_ok_and(|record| record["has_run"] == true)
}

/// What its VMM and its launcher have logged last.
fn last_words(dir: &Path) -> String {
    let end = |name: &str| {
        let text = std::fs::read_to_string(dir.join(name)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(8).collect();
        format!("{name}: {}", lines.into_iter().rev().collect::<Vec<_>>().join("\n"))
    };
    ["vmm.log", "launcher.log", "bottle.json"].map(end).join("\n")
}

/// Kills launcher, VMM or both, whatever there is of them; if there is nothing, there will be, and nobody wants to wait for its
/// end. Says whether there was anything, within a minute.
fn kill_something(random: &mut Random) -> bool {
    let (launchers_too, vmms_too) = [(true, false), (false, true), (true, true)][random.index(3)];
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let mut victims = if launchers_too { launchers() } else { Vec::new() };
        victims.extend(if vmms_too { vmm_processes() } else { Vec::new() });
        victims.iter().for_each(|victim| kill(*victim, Signal::KILL));
        if !victims.is_empty() || Instant::now() > deadline {
            return !victims.is_empty();
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Execs, one after the other, until the bottle is gone. Returns what they wrote and synced.
fn write_lines(home: &Home, name: &str, round: usize, over: &AtomicBool) -> Vec<String> {
    let mut lines = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let line = format!("round {round}, line {}", lines.len());
        let script = format!("echo '{line}' >> /root/lines && sync");
        if home.bottle(&["exec", name, "--", "sh", "-c", &script]).run().code != 0 {
            break;
        }
        lines.push(line);
    }
    lines
}

/// Copies there and back, until the bottle is gone. What is under its final name on the host is whole.
fn copy(home: &Home, name: &str, dir: &Path, over: &AtomicBool) {
    std::fs::create_dir(dir).unwrap();
    let content: Vec<u8> = (0..COPY_BYTES).map(|at| u8::try_from(at * 31 % 251).unwrap()).collect();
    let from = dir.join("from");
    std::fs::write(&from, &content).unwrap();
    for number in 0.. {
        let (there, back) = (format!("{name}:/root/copy-{number}"), dir.join(format!("back-{number}")));
        let copied = |from: &str, to: &str| home.bottle(&["cp", from, to]).run().code == 0;
        let went = copied(from.to_str().unwrap(), &there) && copied(&there, back.to_str().unwrap());
        if back.exists() {
            assert!(std::fs::read(&back).unwrap() == content, "{} is not what was copied", back.display());
        }
        assert!(back.exists() || !went, "{} was not copied", back.display());
        if !went || over.load(Ordering::Relaxed) {
            break;
        }
    }
    let left = files(dir).into_iter().filter(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name != "from" && !name.starts_with("back-")
    });
    assert_eq!(left.collect::<Vec<_>>(), Vec::<PathBuf>::new());
    std::fs::remove_dir_all(dir).unwrap();
}

fn files(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn is_socket(path: &Path) -> bool {
    path.symlink_metadata().unwrap().file_type().is_socket()
}

fn mounts() -> Vec<String> {
    std::fs::read_to_string("/proc/self/mounts").unwrap().lines().map(str::to_owned).collect()
}
