//! Whether KVM works on this machine: a device that can be opened is not enough (some machines' nested KVM boots no
//! ordinary kernel), so the emulated host's kernel is booted with it. The answer holds until this machine reboots, and
//! is kept in the cache.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{emulator::QEMU, initramfs, rundir::RunDir, spawn};
use crate::{
    error::{Context, Result},
    paths,
    setup::kernel::Kernel,
};

/// With KVM that boot takes about a second; where KVM does not work, it does not end.
const LIMIT: Duration = Duration::from_secs(20);

/// What the probe's init prints.
const MARKER: &str = "bottle-probe-booted";

/// Boots a kernel with KVM, or remembers how that went.
pub(crate) fn kvm_works_here(kernel: &Kernel) -> Result<bool> {
    if fs::File::options().read(true).write(true).open("/dev/kvm").is_err() {
        return Ok(false);
    }
    let boot = Path::new("/proc/sys/kernel/random/boot_id");
    let boot = fs::read_to_string(boot).file("read", boot)?;
    let remembered = paths::cache_dir()?.join("kvm-probe");
    let question = format!("{} {}", boot.trim(), kernel.version);
    let known = fs::read_to_string(&remembered).unwrap_or_default();
    if let Some(answer) = known.strip_prefix(&question) {
        return Ok(answer.trim() == "works");
    }
    let works = boots(kernel)?;
    eprintln!(
        "xtask kvm: {}",
        if works { "KVM works here" } else { "KVM boots no kernel here: using the emulated host" }
    );
    let answer = if works { "works" } else { "does not work" };
    super::write_atomically(&remembered, format!("{question} {answer}\n").as_bytes())?;
    Ok(works)
}

fn boots(kernel: &Kernel) -> Result<bool> {
    let run = RunDir::new()?;
    let log = run.join("probe.log");
    let mut qemu = Command::new(QEMU);
    qemu.args(["-M", "q35", "-accel", "kvm", "-cpu", "host", "-m", "512", "-nodefaults", "-no-user-config"])
        .args(["-no-reboot", "-display", "none", "-monitor", "none"])
        .arg("-kernel")
        .arg(kernel.image())
        .arg("-initrd")
        .arg(initramfs::for_kernel(kernel, false)?)
        .args(["-append", "console=ttyS0 quiet panic=-1"])
        .args(["-serial", &format!("file:{}", log.display())])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut process = spawn::dying_with_us(&mut qemu, &[])?;
    let deadline = Instant::now() + LIMIT;
    while process.try_wait().doing("wait for the probe")?.is_none() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(50));
    }
    drop(process.kill());
    process.wait().doing("wait for the probe")?;
    Ok(fs::read(&log).is_ok_and(|log| String::from_utf8_lossy(&log).contains(MARKER)))
}
