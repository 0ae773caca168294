//! macOS: a process is waited for by a kernel queue, and who listens on a socket is known by `LOCAL_PEERPID` (unix(4)). There is
//! no descriptor of a process: its number is used at once.

#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::ptr;

use rustix::event::kqueue::{Event, EventFilter, EventFlags, ProcessEvents, kevent, kqueue};
use rustix::process::{Pid, Signal, kill_process};

/// The process that listens at the other end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    stream: UnixStream,
}

impl Peer {
    /// Who listens there, whether or not they have taken the connection.
    pub(crate) fn of(stream: &UnixStream) -> io::Result<Self> {
        Ok(Self { stream: stream.try_clone()? })
    }

    /// Ends it with SIGKILL.
    pub(crate) fn kill(&self) -> io::Result<()> {
        let mut pid: libc::pid_t = 0;
        let mut len = size_of::<libc::pid_t>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `len` bytes, the size of `pid`, an integer; the descriptor is open.
        let answer = unsafe {
            libc::getsockopt(
                self.stream.as_raw_fd(),
                libc::SOL_LOCAL,
                libc::LOCAL_PEERPID,
                (&raw mut pid).cast(),
                &raw mut len,
            )
        };
        if answer != 0 {
            return Err(io::Error::last_os_error());
        }
        // While the connection is open, the number is that of who listens.
        if super::super::stop::has_ended(&self.stream)? {
            return Err(io::ErrorKind::NotFound.into());
        }
        let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::NotFound)?;
        Ok(kill_process(pid, Signal::KILL)?)
    }
}

/// Becomes readable when the process, which need not be a child, has ended.
pub(crate) fn end_of(process: Pid) -> io::Result<OwnedFd> {
    let queue = kqueue()?;
    let end = EventFilter::Proc { pid: process, flags: ProcessEvents::EXIT };
    let wanted = [Event::new(end, EventFlags::ADD, ptr::null_mut())];
    let no_events: &mut [MaybeUninit<Event>] = &mut [];
    // SAFETY: no descriptor is named in the event.
    unsafe { kevent(&queue, &wanted, no_events, None)? };
    Ok(queue)
}
