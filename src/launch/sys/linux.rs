//! Linux: a process is waited for by a descriptor of its own.

use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// Becomes readable when the process, which need not be a child, has ended.
pub(crate) fn end_of(process: Pid) -> io::Result<OwnedFd> {
    Ok(pidfd_open(process, PidfdFlags::empty())?)
}
