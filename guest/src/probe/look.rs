//! What there is in the guest that may lead out of it.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use bottle_protocol::probe::ProbeOutcome;
use rustix::mount::{MountFlags, UnmountFlags, mount as mount_fs, unmount};

/// The virtio devices of each bottle, by their numbers in the standard: block, console, random numbers, balloon, vsock, file
/// system.
const VIRTIO: [u32; 6] = [2, 3, 4, 5, 19, 26];

/// What the virtual root holds: no file of the host's.
const VIRTUAL_ROOT: [&str; 6] = ["config.krun", "dev", "init.krun", "newroot", "proc", "sys"];

/// Where the prober itself mounts things, and what is found there is reported by that attempt.
const OWN_POINTS: &str = "/run/bottle-probe-";

/// File systems whose files may be those of another machine.
const FOREIGN: [&str; 6] = ["virtiofs", "9p", "nfs", "nfs4", "cifs", "ceph"];

pub(super) fn interfaces() -> io::Result<ProbeOutcome> {
    // What only the kernel has made up stands for no device.
    found(
        names("/sys/class/net")?
            .filter(|name| Path::new("/sys/class/net").join(name).join("device").exists()),
    )
}

pub(super) fn devices() -> io::Result<ProbeOutcome> {
    let virtio = "/sys/bus/virtio/devices";
    let number = |name: &String| -> Option<u32> {
        let text = fs::read_to_string(Path::new(virtio).join(name).join("device")).ok()?;
        u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()
    };
    let strange = |name: &String| !number(name).is_some_and(|number| VIRTIO.contains(&number));
    let describe = |name: String| match number(&name) {
        Some(number) => format!("{name} (virtio {number})"),
        None => name,
    };
    let pci = names("/sys/bus/pci/devices")?.map(|name| format!("{name} (PCI)"));
    found(names(virtio)?.filter(strange).map(describe).chain(pci))
}

pub(super) fn open(path: &str, is_root: bool) -> io::Result<ProbeOutcome> {
    drop(OpenOptions::new().read(true).write(true).open(path)?);
    // To root, all in the guest belongs.
    Ok(if is_root { ProbeOutcome::Nothing } else { ProbeOutcome::Found(format!("{path} opens")) })
}

pub(super) fn mounts(expected: &[String]) -> io::Result<ProbeOutcome> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    found(mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind) = (fields.next()?, fields.next()?);
        let is_foreign = FOREIGN.contains(&kind) || kind.starts_with("fuse");
        let is_foreign = is_foreign && !point.starts_with(OWN_POINTS);
        (is_foreign && !expected.iter().any(|known| known == point)).then(|| format!("{point} ({kind})"))
    }))
}

pub(super) fn mount(tag: &str) -> io::Result<ProbeOutcome> {
    static POINTS: AtomicU32 = AtomicU32::new(0);
    let number = POINTS.fetch_add(1, Ordering::Relaxed);
    let point = PathBuf::from(format!("{OWN_POINTS}{}-{number}", std::process::id()));
    fs::create_dir(&point)?;
    let mounted = mount_fs(tag, &point, "virtiofs", MountFlags::NOSUID | MountFlags::NODEV, None);
    let result = mounted.map_err(io::Error::from).and_then(|()| {
        let outcome = strangers(&point);
        unmount(&point, UnmountFlags::DETACH)?;
        outcome
    });
    // It is empty, and goes with the guest at the latest.
    fs::remove_dir(&point).unwrap_or_default();
    result
}

/// What is in the virtual root that is no part of it. It may not let itself be listed.
fn strangers(point: &Path) -> io::Result<ProbeOutcome> {
    if fs::write(point.join("written"), b"").is_ok() {
        return Ok(ProbeOutcome::Found("it can be written to".to_owned()));
    }
    found(names(point)?.filter(|name| !VIRTUAL_ROOT.contains(&&**name)))
}

/// The names in a directory; none, if there is none.
fn names(dir: impl AsRef<Path>) -> io::Result<impl Iterator<Item = String>> {
    let names: BTreeSet<String> = match fs::read_dir(dir) {
        Ok(entries) => entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<_>>()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
        Err(error) => return Err(error),
    };
    Ok(names.into_iter())
}

fn found(what: impl Iterator<Item = String>) -> io::Result<ProbeOutcome> {
    let what: Vec<String> = what.collect();
    Ok(if what.is_empty() { ProbeOutcome::Nothing } else { ProbeOutcome::Found(what.join(", ")) })
}
