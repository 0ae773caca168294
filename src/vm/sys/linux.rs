//! Linux: KVM.

#![allow(unsafe_code)]

mod landlock;
mod seccomp;
mod wall;
#[cfg(test)]
mod wall_tests;

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::io::Errno;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

use crate::vm::VmError;

pub(crate) use wall::{erect_wall, seal_wall, wall_parts};

/// A socket's path, without the NUL behind it (unix(7)).
pub(crate) const SOCKET_PATH_LIMIT_BYTES: usize = 107;

/// How to get the guest kernel.
pub(crate) const KERNEL_HINT: &str = "install libkrunfw 5 (`dnf install libkrunfw`, `apt install libkrunfw5`), or put \
     libkrunfw.so.5 of its release files into ~/.local/share/bottle/lib";

const KVM: &str = "/dev/kvm";

/// Can this process start a VM? What it can't see here, a machine whose processor only pretends, shows at the boot.
pub(crate) fn check_virtualisation() -> Result<(), VmError> {
    let missing = |what: String, hint| Err(VmError::NoVirtualisation { what, hint });
    match OpenOptions::new().read(true).write(true).open(KVM) {
        Ok(device) if is_kvm(&device) => Ok(()),
        Ok(_) => missing(format!("{KVM} is not the device of KVM"), "load the module kvm_intel or kvm_amd"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => missing(
            format!("there is no {KVM}: this machine can't run virtual machines"),
            "turn virtualisation on in the firmware, or nested virtualisation where this is a virtual machine itself, \
             and load the module kvm_intel or kvm_amd",
        ),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => missing(
            format!("{KVM} may not be opened by this user"),
            "add the user to the group kvm (`sudo usermod -aG kvm $USER`) and log in again",
        ),
        Err(error) => missing(format!("{KVM} can't be opened: {error}"), "is a module of KVM loaded?"),
    }
}

/// The kernel's list of devices gives it this number for good.
fn is_kvm(device: &std::fs::File) -> bool {
    rustix::fs::fstat(device).is_ok_and(|stat| {
        let is_device =
            rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::CharacterDevice;
        is_device && stat.st_rdev == rustix::fs::makedev(10, 232)
    })
}

/// The program that runs, even when its file has been replaced since.
pub(crate) fn own_program() -> io::Result<PathBuf> {
    Ok(PathBuf::from("/proc/self/exe"))
}

/// Closes every descriptor behind stderr but one. For a process that has opened none yet.
pub(crate) fn close_inherited(but: Option<RawFd>) {
    let last = libc::c_uint::MAX;
    let ranges = match but.and_then(|fd| libc::c_uint::try_from(fd).ok()).filter(|fd| *fd > 2) {
        Some(fd) => [(3, fd - 1), (fd.saturating_add(1), last)],
        None => [(3, last); 2],
    };
    for (from, to) in ranges.into_iter().filter(|(from, to)| from <= to) {
        // SAFETY: nothing in this process owns one of them: it has just started. On a kernel without the call (before
        // 5.9) they stay open, as they would in any program.
        unsafe { libc::close_range(from, to, 0) };
    }
}

/// Lets a child's loader find libraries in `dir`. Not needed here: a library that is loaded by its path is found
/// again by its name.
pub(crate) fn add_loader_path(_command: &mut Command, _dir: &Path) {}

/// Sees the host's clock jump: a timer that the kernel cancels then, and when the machine wakes up (timerfd_create(2)).
#[derive(Debug)]
pub(crate) struct ClockWatch {
    timer: OwnedFd,
}

impl ClockWatch {
    /// None where libkrun keeps the guest's clock right by itself.
    pub(crate) fn new() -> io::Result<Option<Self>> {
        let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC)?;
        Ok(Some(Self { timer }))
    }

    /// Waits until the clock jumps (`true`), or `period` is over.
    pub(crate) fn wait(&mut self, period: Duration) -> io::Result<bool> {
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        let mut value = clock_gettime(ClockId::Realtime);
        value.tv_sec = value.tv_sec.saturating_add(i64::try_from(period.as_secs()).unwrap_or(i64::MAX));
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        match timerfd_settime(&self.timer, flags, &Itimerspec { it_interval: never, it_value: value }) {
            Ok(_) => {}
            // It jumped since the last wait.
            Err(Errno::CANCELED) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
        let mut count = [0; 8];
        loop {
            match rustix::io::read(&self.timer, &mut count) {
                Ok(_) => return Ok(false),
                Err(Errno::CANCELED) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The machine's memory in MiB.
pub(crate) fn total_memory_mib() -> u64 {
    let info = rustix::system::sysinfo();
    (info.totalram as u64).saturating_mul(u64::from(info.mem_unit)) >> 20
}
