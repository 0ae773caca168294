//! The guest's clock is the host's.
//!
//! A machine can't be put to sleep here. Two things stand for it. A VMM that is stopped is what its guest sees of the sleep:
//! processors that stand still, while the host's clock goes on; but the host's counters, by which the guest goes, do not
//! stand still with them, as they may when a machine sleeps. A host whose clock is set is what the VMM sees of the waking:
//! the kernel tells both in the same way; and the guest's clock is wrong then, and nothing but the VMM puts it right.

use std::io::Write;
use std::process::ChildStdin;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

use crate::harness::{Bottle, Running, vmm_processes};

/// How long the VMM is stopped.
const STOP: Duration = Duration::from_secs(20);

/// The guest tells whole seconds, and takes a moment for it.
const TOLERANCE_SECONDS: i64 = 2;

/// Prints the time whenever it is asked.
const TELL: &str = "echo up; while read n; do echo \"$n $(date +%s).\"; done";

/// A guest that tells the time.
struct Clock {
    bottle: Running,
    stdin: ChildStdin,
    asked: u32,
}

impl Clock {
    fn start() -> Self {
        let mut bottle = Bottle::vm_run("debian", &["-i"], &["sh", "-c", TELL]).start();
        let stdin = bottle.stdin();
        bottle.until_stdout("up\n");
        Self { bottle, stdin, asked: 0 }
    }

    /// By how many seconds the guest is ahead, at least: what the answer's way may account for is taken off.
    fn ahead(&mut self) -> i64 {
        self.asked += 1;
        let question = format!("{} ", self.asked);
        let before = now();
        writeln!(self.stdin, "{}", self.asked).unwrap();
        let answer = |text: &str| -> Option<i64> {
            let line = text.lines().find_map(|line| line.strip_prefix(&question))?;
            line.strip_suffix('.')?.parse().ok()
        };
        self.bottle.until("the time", |running| answer(&running.stdout()).is_some());
        let guest = answer(&self.bottle.stdout()).unwrap();
        if guest < before { guest - before } else { (guest - now()).max(0) }
    }

    /// Waits until the guest agrees with the host.
    fn until_right(&mut self) {
        for _ in 0..60 {
            let ahead = self.ahead();
            eprintln!("    the guest's clock is ahead by {ahead} s");
            if ahead.abs() <= TOLERANCE_SECONDS {
                return;
            }
            thread::sleep(Duration::from_millis(500));
        }
        panic!("the guest's clock stays wrong");
    }

    fn end(self) {
        drop(self.stdin);
        self.bottle.end().expect(0);
    }
}

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// Sets the host's clock, and puts it back when dropped, by what has gone by meanwhile.
struct ClockSet {
    by_seconds: i64,
}

impl ClockSet {
    fn ahead(by_seconds: i64) -> Self {
        shift(by_seconds);
        Self { by_seconds }
    }
}

impl Drop for ClockSet {
    fn drop(&mut self) {
        shift(-self.by_seconds);
    }
}

fn shift(seconds: i64) {
    let now = clock_gettime(ClockId::Realtime);
    clock_settime(ClockId::Realtime, Timespec { tv_sec: now.tv_sec + seconds, ..now }).unwrap();
}

/// Whether this machine's clock is a plaything: that of the emulated host is.
fn is_emulated() -> bool {
    std::fs::read_to_string("/proc/cmdline").unwrap().contains("bottle.inside=")
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_guest_that_stood_still_has_the_right_time() {
    let mut clock = Clock::start();
    clock.until_right();
    let [vmm] = vmm_processes()[..] else { panic!("not one VMM: {:?}", vmm_processes()) };
    let vmm = Pid::from_raw(i32::try_from(vmm).unwrap()).unwrap();
    kill_process(vmm, Signal::STOP).unwrap();
    thread::sleep(STOP);
    kill_process(vmm, Signal::CONT).unwrap();
    clock.until_right();
    clock.end();
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_guest_follows_when_the_hosts_clock_jumps() {
    if !is_emulated() {
        eprintln!("not tested here: it sets the clock of the machine that it runs on");
        return;
    }
    let mut clock = Clock::start();
    for seconds in [3600, -7200] {
        let set = ClockSet::ahead(seconds);
        clock.until_right();
        drop(set);
        clock.until_right();
    }
    clock.end();
}
