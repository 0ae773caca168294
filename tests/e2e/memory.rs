//! Memory that a guest has freed goes back to the host: libkrun's balloon device has free page reporting, which the guest's
//! kernel drives by itself.

use std::io::Write;

use crate::harness::{Bottle, Running, vmm_processes};

/// What the guest fills.
const FILL_MIB: u64 = 200;

/// What the host may keep of it: the guest reports blocks of pages that are free as a whole, and keeps some to hand.
const KEPT_MIB: u64 = 50;

fn resident_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() >> 10
}

/// Waits until the VMM's resident memory is as wanted, and returns it.
fn until_resident(bottle: &mut Running, vmm: u32, what: &str, wanted: impl Fn(u64) -> bool) -> u64 {
    let mut mib = 0;
    bottle.until(what, |_| {
        mib = resident_mib(vmm);
        wanted(mib)
    });
    mib
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn what_a_guest_frees_goes_back_to_the_host() {
    // Once in files that are in memory, once in a process's own.
    let script = format!(
        "echo up; read x; dd if=/dev/zero of=/dev/shm/fill bs=1M count={FILL_MIB} status=none; echo full; read x; \
         rm /dev/shm/fill; echo empty; read x; \
         perl -e '$| = 1; my $x = \"x\" x ({FILL_MIB} << 20); print \"full again\\n\"; <STDIN>'; echo the end; read x"
    );
    let mut bottle = Bottle::vm_run("debian", &["-i"], &["sh", "-c", &script]).start();
    let mut stdin = bottle.stdin();
    bottle.until_stdout("up\n");
    let [vmm] = vmm_processes()[..] else { panic!("not one VMM: {:?}", vmm_processes()) };
    let idle = resident_mib(vmm);
    for (full, empty) in [("full\n", "empty\n"), ("full again\n", "the end\n")] {
        stdin.write_all(b"\n").unwrap();
        bottle.until_stdout(full);
        let most = resident_mib(vmm);
        assert!(most >= idle + FILL_MIB - KEPT_MIB, "{most} MiB when full, after {idle}");
        stdin.write_all(b"\n").unwrap();
        bottle.until_stdout(empty);
        let rest = until_resident(&mut bottle, vmm, "memory given back", |mib| mib <= idle + KEPT_MIB);
        eprintln!("    idle {idle} MiB, full {most} MiB, freed {rest} MiB");
    }
    stdin.write_all(b"\n").unwrap();
    drop(stdin);
    bottle.end().expect(0);
}
