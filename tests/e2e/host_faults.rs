//! A host that lacks something. Each is made in a mount namespace of its own, so that nothing of the machine changes.

use crate::harness::{Bottle, archive, bottle};

/// Runs `vm run … true` behind `setup`, a shell's commands, in a private mount namespace. `exec "$@"` is added.
fn run_after(setup: &str) -> Bottle {
    let script = format!("set -e; {setup}; exec \"$@\"");
    let image = format!("docker-archive:{}", archive("debian").display());
    Bottle::wrapped(
        &["unshare", "--mount", "sh", "-c", &script, "sh"],
        &bottle(),
        &["vm", "run", "--cpus", "1", "--memory", "512", &image, "--", "true"],
    )
}

/// Only these in /dev.
const BARE_DEV: &str =
    "mount -t tmpfs dev /dev && mknod -m 666 /dev/null c 1 3 && mknod -m 666 /dev/urandom c 1 9";

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_host_without_kvm_is_named() {
    run_after(BARE_DEV).run().refused(125, &["/dev/kvm"]);
    // What is there is no KVM.
    run_after(&format!("{BARE_DEV} && mknod -m 666 /dev/kvm c 1 3")).run().refused(125, &["/dev/kvm"]);
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_host_without_the_guests_kernel_is_named() {
    let bottle = run_after("true").env("BOTTLE_DATA_DIR", "/nonexistent/data");
    bottle.run().refused(125, &["libkrunfw", "/nonexistent/data"]);
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_full_disk_is_named() {
    // The mount is the namespace's own; the directory that we see stays as it is.
    let on_tmpfs = |variable: &str, size: &str| {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().to_str().unwrap().to_owned();
        let setup = format!("mount -t tmpfs -o size={size} small {path}");
        (run_after(&setup).env(variable, &path).run(), dir)
    };
    on_tmpfs("BOTTLE_CACHE_DIR", "4m").0.refused(125, &["space"]);
    // Room for the directory and its lock, and for no disk.
    on_tmpfs("BOTTLE_STATE_DIR", "16k").0.refused(125, &["disk.qcow2"]);
}
