//! One connection: the host's frames in, ours out, never blocking.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use bottle_protocol::{ClientFrame, Decoder, GuestFrame, Message, hello};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::sys;

/// Above this, no more output is taken from a process until the socket took some.
const OUT_HIGH_BYTES: usize = 128 * 1024;

/// What one read of the socket takes at most.
const READ_BYTES: usize = 64 * 1024;

/// The host is gone, or broke the protocol: either way there is nobody to answer to.
#[derive(Debug)]
pub(crate) struct Lost;

/// See the module.
#[derive(Debug)]
pub(crate) struct Link {
    socket: OwnedFd,
    decoder: Decoder<ClientFrame>,
    out: Vec<u8>,
    sent: usize,
}

impl Link {
    /// Takes over a connection; our greeting is on its way.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        sys::set_nonblocking(&socket)?;
        Ok(Self { socket, decoder: Decoder::new(), out: hello().to_vec(), sent: 0 })
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// What to poll the socket for.
    pub(crate) fn interest(&self) -> PollFlags {
        if self.idle() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT }
    }

    /// Everything queued was sent.
    pub(crate) fn idle(&self) -> bool {
        self.out.len() == self.sent
    }

    /// There is room for another piece of output.
    pub(crate) fn has_room(&self) -> bool {
        self.out.len() - self.sent < OUT_HIGH_BYTES
    }

    /// Queues a frame.
    pub(crate) fn put(&mut self, frame: &GuestFrame) -> Result<(), Lost> {
        if self.idle() {
            self.out.clear();
            self.sent = 0;
        } else if self.sent > OUT_HIGH_BYTES {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
        frame.encode(&mut self.out).map_err(|error| {
            crate::log(&format!("cannot answer: {error}"));
            Lost
        })
    }

    /// Sends what the socket takes.
    pub(crate) fn flush(&mut self) -> Result<(), Lost> {
        while !self.idle() {
            match rustix::net::send(&self.socket, &self.out[self.sent..], rustix::net::SendFlags::NOSIGNAL) {
                Ok(count) => self.sent += count,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(_) => return Err(Lost),
            }
        }
        Ok(())
    }

    /// Reads once. `Lost` at the end of the stream too: the host keeps a connection as long as it wants an answer.
    pub(crate) fn fill(&mut self, scratch: &mut [u8]) -> Result<(), Lost> {
        let room = scratch.len().min(READ_BYTES);
        match rustix::io::read(&self.socket, &mut scratch[..room]) {
            Ok(0) => Err(Lost),
            Ok(count) => {
                self.decoder.push(&scratch[..count]);
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(_) => Err(Lost),
        }
    }

    /// The next frame of those read.
    pub(crate) fn frame(&mut self) -> Result<Option<ClientFrame>, Lost> {
        self.decoder.message().map_err(|error| {
            crate::log(&format!("connection dropped: {error}"));
            Lost
        })
    }

    /// Waits for the first frame until `deadline`.
    pub(crate) fn first_frame(&mut self, scratch: &mut [u8], deadline: Instant) -> Result<ClientFrame, Lost> {
        self.frame_by(scratch, Some(deadline))
    }

    /// Waits for another frame, however long that takes.
    pub(crate) fn next_frame(&mut self, scratch: &mut [u8]) -> Result<ClientFrame, Lost> {
        self.frame_by(scratch, None)
    }

    fn frame_by(&mut self, scratch: &mut [u8], deadline: Option<Instant>) -> Result<ClientFrame, Lost> {
        loop {
            let sent = self.flush();
            // Also after a failed flush: what the host sent before it left may say why.
            if let Some(frame) = self.frame()? {
                return Ok(frame);
            }
            sent?;
            self.wait(deadline)?;
            self.fill(scratch)?;
        }
    }

    /// Sends everything queued, however long the host takes.
    pub(crate) fn drain(&mut self, scratch: &mut [u8]) -> Result<(), Lost> {
        loop {
            self.flush()?;
            if self.idle() {
                return Ok(());
            }
            self.wait(None)?;
            self.fill(scratch)?;
            while self.frame()?.is_some() {}
        }
    }

    /// Sends the last answer, and leaves the connection to the host to close: what it still sends would make the answer
    /// be thrown away with it.
    pub(crate) fn end(&mut self, scratch: &mut [u8], deadline: Instant) -> Result<(), Lost> {
        self.drain(scratch)?;
        loop {
            self.wait(Some(deadline))?;
            self.fill(scratch)?;
            while self.frame()?.is_some() {}
        }
    }

    /// Waits until the socket can be read, or takes what is queued.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Result<(), Lost> {
        let mut fds = [PollFd::new(&self.socket, self.interest())];
        match poll_until(&mut fds, deadline) {
            Ok(0) | Err(_) => Err(Lost),
            Ok(_) => Ok(()),
        }
    }
}

/// Polls until something happens (the number of descriptors) or `deadline` has passed (0).
pub(crate) fn poll_until(fds: &mut [PollFd<'_>], deadline: Option<Instant>) -> io::Result<usize> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
        match poll(fds, timeout.as_ref()) {
            Ok(count) => return Ok(count),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
