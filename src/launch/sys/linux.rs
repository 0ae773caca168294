//! Linux: a process is known by a descriptor of its own (pidfd_open(2)), and who listens on a socket by `SO_PEERCRED` (unix(7)).

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The process that listens at the other end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    process: OwnedFd,
}

impl Peer {
    /// Who listens there, whether or not they have taken the connection.
    pub(crate) fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = rustix::net::sockopt::socket_peercred(stream)?;
        let process = pidfd_open(credentials.pid, PidfdFlags::empty())?;
        // The descriptor is that of whoever has the number now. While the connection is open, that is who listens.
        if super::super::stop::has_ended(stream)? {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Self { process })
    }

    /// Ends it with SIGKILL.
    pub(crate) fn kill(&self) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.process, Signal::KILL)?)
    }
}

/// Becomes readable when the process, which need not be a child, has ended.
pub(crate) fn end_of(process: Pid) -> io::Result<OwnedFd> {
    Ok(pidfd_open(process, PidfdFlags::empty())?)
}
