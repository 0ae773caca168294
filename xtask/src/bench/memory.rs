//! (c) The memory of the process that is the VM, with a guest that idles, and the disk of a new instance. What the guest itself
//! has touched, the kernel and its page cache for the most part, is told apart: it is the largest mapping.

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
#[derive(Clone, Copy, Default, PartialEq)]
struct Use {
    rss_kib: u64,
    pss_kib: u64,
    /// Of both: what is the guest's memory.
    guest_kib: u64,
}

/// No other mapping is as large as half of a guest's memory.
const GUEST_KIB: u64 = 256 << 10;

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
    let path = format!("/proc/{pid}/smaps");
    Ok(sum(&fs::read_to_string(&path).file("read", &path)?))
}

/// Adds up the mappings of `/proc/PID/smaps`: each begins with its addresses and its size.
fn sum(smaps: &str) -> Use {
    let mut all = Use::default();
    let mut size_kib = 0;
    for line in smaps.lines() {
        let mut fields = line.split_whitespace();
        let (Some(key), Some(kib)) = (fields.next(), fields.next().and_then(|kib| kib.parse::<u64>().ok()))
        else {
            continue;
        };
        match key {
            "Size:" => size_kib = kib,
            "Rss:" => all.rss_kib += kib,
            "Pss:" => {
                all.pss_kib += kib;
                all.guest_kib += if size_kib >= GUEST_KIB { kib } else { 0 };
            }
            _ => {}
        }
    }
    all
}

impl Memory {
    pub(super) fn print(&self) {
        println!("\n(c) Memory of an idle VM with {} MiB, and its disk", super::MEMORY_MIB);
        println!("(load average {}; one run)", table::load());
        println!(
            "{:<44} {:>9} {:>9} {:>7} {:>7} {:>9} {:>11}",
            "", "RSS KiB", "PSS KiB", "RSS /", "PSS /", "guest KiB", "PSS without"
        );
        for (name, row) in
            [("plain libkrun", self.plain), ("bottle's VMM", self.vmm), ("bottle's launcher", self.launcher)]
        {
            let ratio = |own: u64, reference: u64| own as f64 / reference as f64;
            let (rss, pss) = (ratio(row.rss_kib, self.plain.rss_kib), ratio(row.pss_kib, self.plain.pss_kib));
            print!("{name:<44} {:>9} {:>9} {rss:>7.2} {pss:>7.2}", row.rss_kib, row.pss_kib);
            println!(" {:>9} {:>11}", row.guest_kib, row.pss_kib - row.guest_kib);
        }
        let beyond_kib = [self.vmm, self.launcher].map(|row| row.pss_kib - row.guest_kib).iter().sum::<u64>();
        println!("an idle bottle takes {:.1} MiB beyond its guest (PSS)", beyond_kib as f64 / 1024.0);
        println!("disk of an instance whose guest is up: {} KiB", self.used_disk_kib);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_is_the_largest_mapping() {
        let smaps = "7f00-7f10 rw-p 00000000 00:00 0\nSize:             524288 kB\nRss:   60000 kB\nPss:   60000 kB\n\
            VmFlags: rd wr\n7f20-7f30 r-xp 00000000 08:01 42   /bin/bottle\nSize:   8000 kB\nRss:  3000 kB\nPss:  1500 kB\n";
        let found = sum(smaps);
        assert_eq!((found.rss_kib, found.pss_kib, found.guest_kib), (63_000, 61_500, 60_000));
    }
}
