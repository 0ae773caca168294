//! macOS: Hypervisor.framework.

#![allow(unsafe_code)]

mod wall;

use std::convert::Infallible;
use std::io;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::vm::VmError;

pub(crate) use wall::{erect_wall, seal_wall, wall_parts};

/// A socket's path, without the NUL behind it (unix(4)).
pub(crate) const SOCKET_PATH_LIMIT_BYTES: usize = 103;

/// How to get the guest kernel.
pub(crate) const KERNEL_HINT: &str = "install libkrunfw (`brew install slp/krun/libkrunfw`), or put libkrunfw.5.dylib \
     into ~/.local/share/bottle/lib";

/// Can this machine start a VM? Whether this program may (its entitlement) shows at the start.
pub(crate) fn check_virtualisation() -> Result<(), VmError> {
    if sysctl::<i32>(c"kern.hv_support") == Some(1) {
        return Ok(());
    }
    Err(VmError::NoVirtualisation {
        what: "Hypervisor.framework is not available: this machine can't run virtual machines".to_owned(),
        hint: "a Mac with Apple silicon is needed; inside a virtual machine, one that nests",
    })
}

/// The program that runs.
pub(crate) fn own_program() -> io::Result<PathBuf> {
    std::env::current_exe()
}

/// Closes every descriptor behind stderr but one. For a process that has opened none yet.
pub(crate) fn close_inherited(but: Option<RawFd>) {
    // SAFETY: getdtablesize has no preconditions; nothing in this process owns one of these descriptors: it has just
    // started.
    unsafe {
        for fd in (3..libc::getdtablesize()).filter(|fd| Some(*fd) != but) {
            libc::close(fd);
        }
    }
}

/// Lets a child's loader find libraries in `dir`: here a library that is loaded is not found again by another name.
pub(crate) fn add_loader_path(command: &mut Command, dir: &Path) {
    command.env("DYLD_FALLBACK_LIBRARY_PATH", dir);
}

/// Nothing to do: here libkrun itself tells the guest the time, when the machine wakes up and once a minute.
#[derive(Debug)]
pub(crate) struct ClockWatch(Infallible);

impl ClockWatch {
    /// None where libkrun keeps the guest's clock right by itself.
    pub(crate) fn new() -> io::Result<Option<Self>> {
        Ok(None)
    }

    /// Waits until the clock jumps (`true`), or `period` is over.
    pub(crate) fn wait(&mut self, _period: Duration) -> io::Result<bool> {
        match self.0 {}
    }
}

/// The machine's memory in MiB.
pub(crate) fn total_memory_mib() -> u64 {
    sysctl::<u64>(c"hw.memsize").map_or(u64::MAX, |bytes| bytes >> 20)
}

/// A number that sysctl(3) knows by this name.
fn sysctl<T: Copy + Default>(name: &std::ffi::CStr) -> Option<T> {
    let mut value = T::default();
    let mut len = size_of::<T>();
    // SAFETY: the name is a C string; the kernel writes at most `len` bytes, the size of `value`, an integer.
    let answer = unsafe {
        libc::sysctlbyname(name.as_ptr(), (&raw mut value).cast(), &raw mut len, std::ptr::null_mut(), 0)
    };
    (answer == 0 && len == size_of::<T>()).then_some(value)
}
