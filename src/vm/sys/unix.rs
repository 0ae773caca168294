//! What Linux and macOS do alike and the standard library does not offer.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// Leaves the terminal and the process group that it was started in.
pub(crate) fn new_session() -> io::Result<()> {
    match rustix::process::setsid() {
        Ok(_) => Ok(()),
        // It leads its process group already, a session's or one of its own: no signal of the terminal's comes here.
        Err(rustix::io::Errno::PERM) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Lets a child have this descriptor, under the same number. No other child gets it.
pub(crate) fn hand_over(command: &mut Command, file: Arc<File>) {
    let keep = move || Ok(rustix::io::fcntl_setfd(&*file, rustix::io::FdFlags::empty())?);
    // SAFETY: between fork and exec, the closure makes one system call, on a descriptor that it keeps open; it neither
    // allocates nor takes a lock.
    unsafe { command.pre_exec(keep) };
}

/// Ends the process without running anything of it again: whatever its other threads hold, they lose.
pub(crate) fn exit_at_once() -> ! {
    // SAFETY: `_exit` has no preconditions.
    unsafe { libc::_exit(1) }
}

/// Loads a shared library and keeps it: who asks for one of the same name later gets this one.
pub(crate) fn load_for_good(path: &Path) -> io::Result<()> {
    open(path.as_os_str())
}

/// Can the system's loader find a library of this name?
pub(crate) fn can_load(name: &OsStr) -> bool {
    open(name).is_ok()
}

fn open(name: &OsStr) -> io::Result<()> {
    let name = CString::new(name.as_bytes())?;
    // SAFETY: the name is a C string. The libraries that this program loads run no code when they are loaded that
    // depends on its state.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    if !handle.is_null() {
        return Ok(());
    }
    // SAFETY: dlopen failed in this thread, so there is a message, valid until the next call of the family.
    let message = unsafe {
        let message = libc::dlerror();
        if message.is_null() { c"unknown error" } else { CStr::from_ptr(message) }
    };
    Err(io::Error::other(message.to_string_lossy().into_owned()))
}
