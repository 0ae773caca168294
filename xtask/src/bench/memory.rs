//! (c) The memory of the process that is the VM, with a guest that idles, and the disk of a new instance.

use std::{
    fs,
    io::Read,
    os::unix::fs::MetadataExt,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{Setting, table};
use crate::error::{Context, Error, Result};

/// An emulated guest is up in some seconds; on a busy machine it takes several times that.
const SETTLE_LIMIT: Duration = Duration::from_secs(120);

/// A guest whose memory has not grown for so long has booted.
const SETTLED: Duration = Duration::from_secs(5);

/// What was found.
pub(super) struct Memory {
    plain: Use,
    vmm: Use,
    launcher: Use,
    used_disk_kib: u64,
}

/// Of one process.
#[derive(Clone, Copy, PartialEq)]
struct Use {
    rss_kib: u64,
    pss_kib: u64,
}

/// Ends it when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Runs both, one after the other, and leaves a disk for the reference.
pub(super) fn measure(setting: &Setting) -> Result<Memory> {
    let mut bottle = setting.bottle(&["sh", "-c", "echo up; exec sleep 1000"]);
    let mut bottle = Running(
        bottle
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .doing("start bottle")?,
    );
    let mut byte = [0];
    let up = bottle.0.stdout.as_mut().map(|stdout| stdout.read_exact(&mut byte));
    if !matches!(up, Some(Ok(()))) {
        return Err(Error::other("bottle did not start a guest that idles"));
    }
    let children = format!("/proc/{0}/task/{0}/children", bottle.0.id());
    let vmm = fs::read_to_string(&children).file("read", &children)?;
    let vmm: u32 =
        vmm.trim().parse().map_err(|_| Error::other(format!("bottle has not one child: {vmm:?}")))?;
    let disk = find_disk(setting)?;
    let (vmm_use, launcher) = (settled(vmm)?, settled(bottle.0.id())?);
    let used_disk_kib = fs::metadata(&disk).file("examine", &disk)?.blocks() / 2;
    fs::copy(&disk, &setting.plain.disk).file("copy", &disk)?;
    drop(bottle);
    let mut plain = setting.plain.command("idle");
    let plain = plain.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let plain = Running(plain.spawn().doing("start plain libkrun")?);
    let plain_use = settled(plain.0.id())?;
    drop(plain);
    Ok(Memory { plain: plain_use, vmm: vmm_use, launcher, used_disk_kib })
}

/// The only disk in the state directory.
fn find_disk(setting: &Setting) -> Result<std::path::PathBuf> {
    let state = setting.state_dir();
    let entries = fs::read_dir(&state).file("read", &state)?;
    let mut disks =
        entries.flatten().map(|entry| entry.path().join("disk.qcow2")).filter(|disk| disk.exists());
    disks.next().ok_or_else(|| Error::other(format!("there is no disk in {}", state.display())))
}

/// What the process uses once that does not change any more.
fn settled(pid: u32) -> Result<Use> {
    let start = Instant::now();
    let (mut last, mut since) = (memory_of(pid)?, Instant::now());
    while since.elapsed() < SETTLED && start.elapsed() < SETTLE_LIMIT {
        thread::sleep(Duration::from_millis(200));
        let now = memory_of(pid)?;
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    Ok(last)
}

fn memory_of(pid: u32) -> Result<Use> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).file("read", &path)?;
    let kib = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    Ok(Use { rss_kib: kib("Rss:"), pss_kib: kib("Pss:") })
}

impl Memory {
    pub(super) fn print(&self) {
        println!("\n(c) Memory of an idle VM with {} MiB, and its disk", super::MEMORY_MIB);
        println!("(load average {}; one run)", table::load());
        println!("{:<44} {:>9} {:>9} {:>7} {:>7}", "", "RSS KiB", "PSS KiB", "RSS /", "PSS /");
        for (name, row) in
            [("plain libkrun", self.plain), ("bottle's VMM", self.vmm), ("bottle's launcher", self.launcher)]
        {
            let ratio = |own: u64, reference: u64| own as f64 / reference as f64;
            let (rss, pss) = (ratio(row.rss_kib, self.plain.rss_kib), ratio(row.pss_kib, self.plain.pss_kib));
            println!("{name:<44} {:>9} {:>9} {rss:>7.2} {pss:>7.2}", row.rss_kib, row.pss_kib);
        }
        println!("disk of an instance whose guest is up: {} KiB", self.used_disk_kib);
    }
}
