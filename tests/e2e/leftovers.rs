//! Whatever happens, nothing is left: no VMM, no state, no container, no network. [`Ended::expect`] looks.
//!
//! [`Ended::expect`]: crate::harness::Ended::expect

use rustix::process::Signal;

use crate::docker;
use crate::harness::{Bottle, bottles, until_no_vmm, vmm_processes};

/// What a shell reports of a program that a signal ended.
const BY_INT: i32 = 130;
const BY_TERM: i32 = 143;

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_command_that_does_not_exist_leaves_nothing() {
    Bottle::run_behind_proxy(&[], &["no-such-command"]).run().refused(127, &["no-such-command"]);
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_bundle_that_does_not_work_leaves_nothing() {
    let missing = "bottle-test/no-such-image:latest";
    Bottle::run_behind(missing, &[], &["true"]).run().refused(125, &[missing]);
    let elsewhere =
        Bottle::run_behind_proxy(&[], &["true"]).env("DOCKER_HOST", "unix:///nonexistent/docker.sock");
    elsewhere.run().refused(125, &["/nonexistent/docker.sock"]);
    // It runs, and nothing in it listens on this port: it ends at once, or is given up.
    Bottle::run_behind("bottle-test/debian:latest", &[], &["true"]).run().refused(125, &["bottle-sidecars-"]);
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn ctrl_c_during_boot_leaves_nothing() {
    // Several times: the VMM has just begun, and is not to take the signal for its own.
    for _ in 0..8 {
        let mut bottle = Bottle::vm_run("debian", &[], &["echo", "booted"]).start();
        bottle.until("a VMM", |_| !vmm_processes().is_empty());
        bottle.signal_group(Signal::INT);
        let ended = bottle.end().expect(BY_INT);
        assert!(ended.stdout.is_empty(), "{}", ended.quoted());
    }
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn ctrl_c_during_the_start_of_a_bundle_leaves_nothing() {
    let mut bottle = Bottle::run_behind_proxy(&[], &["echo", "booted"]).start();
    bottle.until("a network", |_| !docker::leftovers().is_empty());
    bottle.signal_group(Signal::INT);
    let ended = bottle.end().expect(BY_INT);
    assert!(ended.stdout.is_empty(), "{}", ended.quoted());
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn ctrl_c_goes_to_the_command() {
    // Whenever the signals come: a shell runs a trap only between two commands, and the second INT is to end it.
    // And a signal that comes just before its exec is lost: what says `after` is what the second INT is for.
    let script = "trap 'got=1; echo got INT' INT; echo started; until [ \"$got\" ]; do sleep 0.1; done; \
                  trap - INT; exec perl -e '$| = 1; print qq(after\\n); sleep 300'";
    let mut bottle = Bottle::vm_run("debian", &[], &["bash", "-c", script]).start();
    bottle.until_stdout("started\n");
    bottle.signal_group(Signal::INT);
    bottle.until_stdout("got INT\nafter\n");
    bottle.signal_group(Signal::INT);
    bottle.end().expect(BY_INT);
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn sigterm_ends_a_bottle_with_its_bundle() {
    let mut bottle = Bottle::run_behind_proxy(&[], &["sh", "-c", "echo started; exec sleep 300"]).start();
    bottle.until_stdout("started\n");
    bottle.signal(Signal::TERM);
    bottle.end().expect(BY_TERM);
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_teardown_that_is_interrupted_twice_goes_on() {
    let mut bottle = Bottle::run_behind_proxy(&[], &["sh", "-c", "echo started; exec sleep 300"]).start();
    bottle.until_stdout("started\n");
    // One for the process, then two for the teardown: the bundle takes docker a second and more.
    bottle.signal_group(Signal::INT);
    bottle.until("the end of the VM", |_| vmm_processes().is_empty());
    bottle.signal_group(Signal::INT);
    bottle.signal(Signal::TERM);
    bottle.end().expect(BY_INT);
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn gc_removes_what_a_killed_bottle_left() {
    let mut bottle =
        Bottle::run_behind_proxy(&["--name", "killed"], &["sh", "-c", "echo started; exec sleep 300"])
            .start();
    bottle.until_stdout("started\n");
    // While it lives, it is nobody's leftover.
    let gc = || Bottle::new(&["gc"]);
    let state = bottle.state().to_owned();
    let alive = gc().env("BOTTLE_STATE_DIR", &state).run();
    assert_eq!((alive.code, alive.text()), (0, ""), "{}", alive.quoted());
    bottle.signal(Signal::KILL);
    let killed = bottle.end();
    assert_eq!(killed.code, 137, "{}", killed.quoted());
    until_no_vmm();
    assert_eq!(bottles(&state), ["killed"]);
    assert_eq!(docker::leftovers().len(), 2, "{:?}", docker::leftovers());
    let swept = gc().env("BOTTLE_STATE_DIR", &state).run().expect(0);
    assert!(swept.text().contains("killed"), "{}", swept.quoted());
    killed.nothing_left();
}

/// A guest that ends by itself, under its command: perl's reboot(2), since the image has no init to ask.
#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_guest_that_reboots_under_its_command_is_told_of() {
    let reboot = "syscall(169, 0xfee1dead, 672274793, 0x1234567); sleep";
    let ended = Bottle::vm_run("debian", &[], &["perl", "-e", reboot]).run().expect(125);
    assert!(ended.stderr.starts_with("bottle: the microVM ended while `perl` ran ("), "{}", ended.quoted());
}
