//! Starting children that die with us and inherit chosen descriptors.
#![allow(unsafe_code)]

use std::{
    io,
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    process::{Child, Command},
};

use crate::error::{Error, Result};

/// Starts `command` so that the kernel kills it when this process ends, however that happens. To be called on the main
/// thread: the kernel looks at the thread that forked.
///
/// Each of `inherited` is found by the child under the number beside it; the numbers must be far above those in use.
pub(crate) fn dying_with_us(command: &mut Command, inherited: &[(&OwnedFd, RawFd)]) -> Result<Child> {
    let parent = rustix::process::getpid();
    let inherited: Vec<(RawFd, RawFd)> =
        inherited.iter().map(|(fd, number)| (fd.as_raw_fd(), *number)).collect();
    let prepare = move || {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        if rustix::process::getppid() != Some(parent) {
            // It has died before the line above could take effect.
            return Err(io::Error::from_raw_os_error(libc::ECHILD));
        }
        for &(fd, number) in &inherited {
            // SAFETY: dup2 on a descriptor that the caller's borrow keeps open; it changes this child only.
            if unsafe { libc::dup2(fd, number) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls only, and allocates nothing.
    unsafe { command.pre_exec(prepare) };
    command.spawn().map_err(|source| Error::Start {
        program: command.get_program().to_string_lossy().into_owned(),
        source,
    })
}

/// Makes `command` run as this user, in a session of its own, so that a signal to the group reaches all of it.
pub(crate) fn as_user(command: &mut Command, user: u32, group: u32, groups: Vec<u32>) {
    let prepare = move || {
        // SAFETY: plain system calls with a pointer and length of one live vector.
        let failed = unsafe {
            libc::setsid();
            libc::setgroups(groups.len(), groups.as_ptr()) < 0
                || libc::setgid(group) < 0
                || libc::setuid(user) < 0
        };
        if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: between fork and exec the closure makes system calls only, and allocates nothing.
    unsafe { command.pre_exec(prepare) };
}

/// Moves this thread, and with it all that it starts, into a network of its own.
pub(crate) fn enter_private_network() -> Result<()> {
    // SAFETY: a plain system call; a new network namespace leaves memory and open files as they are.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } < 0 {
        return Err(Error::System {
            what: "make a network namespace".to_owned(),
            source: io::Error::last_os_error(),
        });
    }
    Ok(())
}

/// Kills every process but this one: for PID 1, at the end.
pub(crate) fn kill_all_others() -> io::Result<()> {
    // SAFETY: a plain system call; -1 stands for all processes but the caller and PID 1.
    if unsafe { libc::kill(-1, libc::SIGKILL) } == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        // There are none.
        error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        error => Err(error),
    }
}
