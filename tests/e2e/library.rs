//! The library's handles on a VM, in a program that can't become a VMM itself: this one, whose `main` is the harness's.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use bottle::image::{Image, ImportOptions, Source, Store};
use bottle::vm::agent::{AgentError, ExecRequest};
use bottle::vm::{Vm, VmConfig, VmError, create_overlay};

use crate::harness::{archive, bottle, cache, vmm_processes};

/// For what takes an emulated guest some seconds.
const LIMIT: Duration = Duration::from_secs(120);

fn image() -> Image {
    let source: Source = format!("docker-archive:{}", archive("debian").display()).parse().unwrap();
    let store = Store::open(cache()).unwrap();
    store.import(&source, &ImportOptions::default(), &mut |_| ControlFlow::Continue(())).unwrap()
}

fn config(directory: &Path, image: &Image, program: &Path) -> VmConfig {
    let disk = directory.join("disk.qcow2");
    if !disk.exists() {
        create_overlay(&image.base, &disk, None).unwrap();
    }
    // What the boot before has left.
    drop(std::fs::remove_file(directory.join("ready.sock")));
    drop(std::fs::remove_file(directory.join("agent.sock")));
    let mut config = VmConfig::new(directory, disk).image(image);
    config.memory_mib = 256;
    config.cpus = 1;
    config.vmm_program = Some(program.to_owned());
    config
}

fn stdout(vm: &Vm, argv: &[&str]) -> String {
    let output = vm.agent().exec(&ExecRequest::new(argv.iter().copied())).unwrap().output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_handle_is_shared_and_its_vm_ends_in_order_or_at_once() {
    let (image, directory) = (image(), tempfile::tempdir().unwrap());
    let config = config(directory.path(), &image, &bottle());
    let vm = Vm::start(&config).unwrap();
    std::thread::scope(|scope| {
        for number in 0..4 {
            let vm = &vm;
            scope
                .spawn(move || assert_eq!(stdout(vm, &["echo", &number.to_string()]), format!("{number}\n")));
        }
    });
    let steps = vm.boot();
    let all = [steps.vmm, steps.machine, steps.kernel, steps.root, steps.agent];
    assert!(all.iter().all(|step| !step.is_zero()), "{steps:?}");
    assert_eq!(vmm_processes(), [vm.vmm_pid()]);
    stdout(&vm, &["sh", "-c", "echo kept > /root/file"]);
    // In order: what was written is on the disk, although nobody synced it.
    vm.shutdown(Duration::from_secs(5)).unwrap();
    assert_eq!(vmm_processes(), Vec::<u32>::new());

    let config = self::config(directory.path(), &image, &bottle());
    let vm = Vm::start(&config).unwrap();
    assert_eq!(stdout(&vm, &["cat", "/root/file"]), "kept\n");
    let sleeping = vm.agent().exec(&ExecRequest::new(["sleep", "1000"])).unwrap();
    assert!(!vm.ends_within(Duration::from_millis(1)));
    let killer = vm.killer();
    std::thread::scope(|scope| {
        scope.spawn(|| killer.kill());
        assert!(vm.ends_within(LIMIT));
        let error = sleeping.output().unwrap_err();
        assert!(matches!(error, AgentError::Lost { .. }), "{error:?}");
        assert!(matches!(vm.explain(error), Ok(VmError::Stopped)));
    });
    assert!(matches!(vm.agent().info(), Err(AgentError::Connect { .. })));
    // Once more is no harm, and the handle's end neither.
    killer.kill();
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_program_that_does_not_become_the_vmm_is_told_from_one_that_fails() {
    let image = image();
    let start = |program: &str| {
        let directory = tempfile::tempdir().unwrap();
        Vm::start(&config(directory.path(), &image, Path::new(program))).unwrap_err()
    };
    let error = start("/bin/echo");
    assert!(matches!(error, VmError::NotVmm { .. }) && error.hint().is_some(), "{error:?}");
    assert!(error.to_string().contains("/bin/echo"), "{error}");
    assert!(matches!(start("/bin/false"), VmError::Died { .. }));
    assert!(matches!(start("/no/such/program"), VmError::Host { .. }));
}
