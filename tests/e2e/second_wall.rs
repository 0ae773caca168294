//! The second wall around real VMMs: that it stands, on every thread.

use std::fs;

use crate::harness::{Bottle, vmm_processes};

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn every_thread_of_a_vmm_is_confined() {
    let bottle = Bottle::vm_run("debian", &["-i", "--confine=require"], &["sh", "-c", "echo up; read end"]);
    let mut running = bottle.env("SOME_TOKEN", "of-the-users").start();
    let stdin = running.stdin();
    running.until_stdout("up");
    let bottle =
        fs::read_dir(running.state()).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_dir());
    let log = fs::read_to_string(bottle.unwrap().join("vmm.log")).unwrap();
    assert!(
        log.starts_with("the VMM is confined by: files (Landlock, version ") && !log.contains("missing"),
        "{log}"
    );
    let vmms = vmm_processes();
    let tasks = fs::read_dir(format!("/proc/{}/task", vmms[0])).unwrap();
    let statuses: Vec<String> =
        tasks.map(|task| fs::read_to_string(task.unwrap().path().join("status")).unwrap()).collect();
    assert!(vmms.len() == 1 && statuses.len() > 5, "{vmms:?} {statuses:?}");
    for status in statuses {
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
        assert_eq!((field("Seccomp:"), field("NoNewPrivs:")), ("2", "1"), "{status}");
        // CAP_DAC_OVERRIDE.
        assert_eq!(u64::from_str_radix(field("CapPrm:"), 16).unwrap(), 2, "{status}");
    }
    let environment = fs::read(format!("/proc/{}/environ", vmms[0])).unwrap();
    assert!(
        !environment.windows(5).any(|word| word == b"TOKEN"),
        "{}",
        String::from_utf8_lossy(&environment)
    );
    drop(stdin);
    running.end().expect(1).nothing_left();
}
