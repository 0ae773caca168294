//! A process's stdin: a queue no larger than the window, and the pipe, terminal or socket that it goes into.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bottle_protocol::STDIN_WINDOW_BYTES;
use rustix::io::Errno;
use rustix::termios::{LocalModes, SpecialCodeIndex, tcgetattr};

use crate::link::Lost;

/// Credit is given back in pieces of at least this, but at once when the queue is empty.
const GRANT_BYTES: u32 = 64 * 1024;

/// How its end is told to whoever reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Pipe,
    Terminal,
    Socket,
}

#[derive(Debug)]
pub(crate) struct Stdin {
    /// Gone when it was closed, by either side.
    fd: Option<OwnedFd>,
    kind: Kind,
    queue: VecDeque<u8>,
    ending: bool,
    /// What the host may still send.
    window: u32,
    /// Written, and not yet granted anew.
    written: u32,
    last: u8,
}

impl Stdin {
    pub(super) fn pipe(fd: OwnedFd) -> Self {
        Self::new(Some(fd))
    }

    fn new(fd: Option<OwnedFd>) -> Self {
        Self {
            fd,
            kind: Kind::Pipe,
            queue: VecDeque::new(),
            ending: false,
            window: STDIN_WINDOW_BYTES,
            written: 0,
            last: b'\n',
        }
    }

    pub(super) fn terminal(fd: OwnedFd) -> Self {
        Self { kind: Kind::Terminal, ..Self::pipe(fd) }
    }

    /// One half of a connection, whose other half is somebody else's.
    pub(crate) fn socket(fd: OwnedFd) -> Self {
        Self { kind: Kind::Socket, ..Self::pipe(fd) }
    }

    /// Whether nothing is taken any more: it has ended, and all is written, or its reader is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.fd.is_none()
    }

    /// For a process that gets none.
    pub(super) fn none() -> Self {
        Self::new(None)
    }

    /// Nobody will say when it ends: a pipe ends when all that is queued is written, a terminal never.
    pub(super) fn leave(&mut self) {
        if self.kind != Kind::Terminal {
            self.end();
        }
    }

    /// Takes what the host sent, which it must have had the credit for.
    pub(crate) fn queue(&mut self, data: &[u8]) -> Result<(), Lost> {
        let left = u32::try_from(data.len()).ok().and_then(|length| self.window.checked_sub(length));
        let (Some(left), false) = (left, self.ending) else {
            crate::log("connection dropped: stdin beyond its credit or its end");
            return Err(Lost);
        };
        self.window = left;
        // Nobody reads it any more: no credit is given for it either, so that the host stops.
        if self.fd.is_some() {
            self.queue.extend(data);
            self.write();
        }
        Ok(())
    }

    /// No more will come.
    pub(crate) fn end(&mut self) {
        self.ending = true;
        self.write();
    }

    pub(crate) fn close(&mut self) {
        self.fd = None;
        self.queue.clear();
    }

    /// What to poll for room, if something waits for it.
    pub(crate) fn waiting(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().filter(|_| !self.queue.is_empty()).map(AsFd::as_fd)
    }

    /// Writes what the process takes.
    pub(crate) fn write(&mut self) {
        while let Some(fd) = &self.fd {
            let (piece, _) = self.queue.as_slices();
            if piece.is_empty() {
                break;
            }
            match rustix::io::write(fd, piece) {
                Ok(count) => {
                    self.last = piece.get(count.wrapping_sub(1)).copied().unwrap_or(self.last);
                    drop(self.queue.drain(..count));
                    self.written = self.written.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // The process closed it.
                Err(_) => self.close(),
            }
        }
        if self.ending {
            self.finish();
        }
    }

    fn finish(&mut self) {
        let Some(fd) = self.fd.take() else { return };
        match self.kind {
            Kind::Pipe => return,
            Kind::Socket => {
                // Fails only if the connection is gone.
                let _ = rustix::net::shutdown(&fd, rustix::net::Shutdown::Write);
                return;
            }
            Kind::Terminal => {}
        }
        // A terminal is not closed by its input's end: the end is typed. In the middle of a line the first one only
        // ends the line. A program that reads keys as they come does not take this for an end, as on any terminal.
        if let Ok(modes) = tcgetattr(&fd)
            && modes.local_modes.contains(LocalModes::ICANON)
        {
            let end = modes.special_codes[SpecialCodeIndex::VEOF];
            let typed = if self.last == b'\n' { &[end][..] } else { &[end, end] };
            let _ = rustix::io::write(&fd, typed);
        }
    }

    /// Credit to give to the host now.
    pub(crate) fn grant(&mut self) -> Option<u32> {
        let due = self.written >= GRANT_BYTES || (self.written > 0 && self.queue.is_empty());
        if !due || self.ending {
            return None;
        }
        self.window = self.window.saturating_add(self.written);
        Some(std::mem::take(&mut self.written))
    }
}
