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

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What macOS lets any process have (`OPEN_MAX`), and enough.
const MOST_FILES: u64 = 10_240;

/// Leaves the terminal and the process group that it was started in.
pub(crate) fn new_session() -> io::Result<()> {
    match rustix::process::setsid() {
        Ok(_) => Ok(()),
        // It leads its process group already, a session's or one of its own: no signal of the terminal's comes here.
        Err(rustix::io::Errno::PERM) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Has a child leave them before it is its own program: whatever the terminal sends from then on is not for it, and there is no moment
/// at which it would end by that.
pub(crate) fn give_own_session(command: &mut Command) {
    // SAFETY: between fork and exec, the function makes one system call; it neither allocates nor takes a lock.
    unsafe { command.pre_exec(new_session) };
}

/// Lets this process have as many files open as it may, and no more than it needs. The usual limit, 1,024 on Linux and 256 on macOS, is
/// no limit of the machine's: it is for programs that use `select`. A guest's connections take a descriptor each, also for the
/// seconds for which libkrun keeps one that has ended.
pub(crate) fn allow_many_files() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(MOST_FILES, |maximum| maximum.min(MOST_FILES));
    if limit.current.is_some_and(|current| current < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum })?;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_is_raised_and_never_lowered() {
        let maximum = getrlimit(Resource::Nofile).maximum;
        let set = |current| setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum }).unwrap();
        let current = || {
            allow_many_files().unwrap();
            getrlimit(Resource::Nofile).current
        };
        let most = maximum.map_or(MOST_FILES, |maximum| maximum.min(MOST_FILES));
        set(256);
        assert_eq!(current(), Some(most));
        let more = maximum.map_or(MOST_FILES + 1, |maximum| maximum.min(MOST_FILES + 1));
        set(more);
        assert_eq!(current(), Some(more));
    }
}
