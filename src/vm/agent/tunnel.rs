//! A connection to a server in the guest: the caller has one end of a socket pair, and a thread joins the other to the
//! connection to the agent.
//!
//! ```text
//! caller ── pair ──► at most the guest's credit ── Stdin, StdinEof ──► guest ─► server
//!        ◄─ pair ─── queue (≤ the output window) ◄─ Stdout, StreamEof ─ guest ◄─ server
//! ```
//!
//! The thread polls everything and never waits for one of the two, so that the guest's VMM never has to wait for it.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bottle_protocol::{
    ClientFrame, DATA_LIMIT_BYTES, Decoder, GuestFrame, Message, MessageReader, OUTPUT_WINDOW_BYTES,
    STDIN_WINDOW_BYTES,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::AgentError;
use super::ready::Until;

/// Credit is given back in pieces of this.
const GRANT_BYTES: u32 = OUTPUT_WINDOW_BYTES / 4;

/// When the caller has let go of its end, a server has so long to take what was sent before that, and to close in its turn.
const LINGER: Duration = Duration::from_secs(10);

/// Whether a poll tells an end that is gone from one that will only not be written to any more. Elsewhere the first write
/// to it does.
const HANGUP_IS_FINAL: bool = cfg!(target_os = "linux");

/// Waits for the guest's answer to the request that was sent on `guest`, and gives the caller's end.
pub(super) fn open(guest: UnixStream, what: &str, limit: Duration) -> Result<UnixStream, AgentError> {
    let mut reader = MessageReader::new(Until::within(guest, limit));
    match reader.message().map_err(|error| AgentError::read(error, what))? {
        Some(GuestFrame::Connected) => {}
        Some(GuestFrame::Failed(failure)) => return Err(failure.into()),
        Some(_) => return Err(AgentError::Unexpected { what: what.to_owned(), sent: "another answer" }),
        None => return Err(AgentError::Lost { what: what.to_owned() }),
    }
    let (until, decoder) = reader.into_parts();
    let guest = until.into_stream();
    guest.set_nonblocking(true)?;
    let (theirs, ours) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let tunnel = Tunnel::new(guest, decoder, ours);
    std::thread::Builder::new().name("tunnel".into()).stack_size(256 * 1024).spawn(move || {
        // The caller sees the end of the stream, which is all that a stream can say.
        if let Err(error) = tunnel.carry() {
            log::debug!("a connection into the guest: {error}");
        }
    })?;
    Ok(theirs)
}

struct Tunnel {
    guest: UnixStream,
    decoder: Decoder<GuestFrame>,
    /// Frames that the guest's socket has not taken yet.
    out: VecDeque<u8>,
    caller: UnixStream,
    /// Output that the caller has not taken yet.
    queue: VecDeque<u8>,
    /// Output that the caller took, and for which the guest has no new credit yet.
    ungranted: u32,
    /// Stdin that may be sent.
    credit: u32,
    /// Nothing comes from the guest any more, and nothing goes there. What came before is still the caller's.
    guest_gone: bool,
    /// The caller will send no more, and the guest knows.
    caller_ended: bool,
    /// The server will send no more.
    server_ended: bool,
    /// The caller knows that.
    told_caller: bool,
    /// The caller has let go; what is left to be done has until then.
    gone_until: Option<Instant>,
}

impl Tunnel {
    fn new(guest: UnixStream, decoder: Decoder<GuestFrame>, caller: UnixStream) -> Self {
        Self {
            guest,
            decoder,
            out: VecDeque::new(),
            caller,
            queue: VecDeque::new(),
            ungranted: 0,
            credit: STDIN_WINDOW_BYTES,
            guest_gone: false,
            caller_ended: false,
            server_ended: false,
            told_caller: false,
            gone_until: None,
        }
    }

    fn carry(mut self) -> io::Result<()> {
        let mut scratch = vec![0; DATA_LIMIT_BYTES];
        // The answer may have come with more behind it.
        self.take_frames()?;
        loop {
            self.write_guest();
            self.write_caller()?;
            let all_told = self.caller_ended && self.told_caller && self.out.is_empty();
            if all_told || (self.guest_gone && self.queue.is_empty()) {
                return Ok(());
            }
            let (guest, caller) = self.poll()?;
            if !guest.is_empty() {
                self.read_guest(&mut scratch)?;
            }
            if HANGUP_IS_FINAL && caller.contains(PollFlags::HUP) {
                self.caller_is_gone();
            }
            if self.reads_caller() && !caller.is_empty() {
                self.read_caller(&mut scratch)?;
            }
        }
    }

    /// What happened at the guest's end, and at the caller's.
    fn poll(&self) -> io::Result<(PollFlags, PollFlags)> {
        let mut fds = Vec::with_capacity(2);
        if !self.guest_gone {
            let mut wanted = PollFlags::IN;
            wanted.set(PollFlags::OUT, !self.out.is_empty());
            fds.push(PollFd::from_borrowed_fd(self.guest.as_fd(), wanted));
        }
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::IN, self.reads_caller());
        wanted.set(PollFlags::OUT, !self.queue.is_empty());
        // Of one that is gone, a poll would say so without end; where it says the same of one half, of that too.
        if !wanted.is_empty() || (HANGUP_IS_FINAL && self.gone_until.is_none()) {
            fds.push(PollFd::from_borrowed_fd(self.caller.as_fd(), wanted));
        }
        let timeout = self.gone_until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = timeout.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => {
                let mut happened = fds.iter().map(PollFd::revents);
                let mut next = || happened.next().unwrap_or(PollFlags::empty());
                let guest = if self.guest_gone { PollFlags::empty() } else { next() };
                Ok((guest, next()))
            }
            Err(rustix::io::Errno::INTR) => Ok((PollFlags::empty(), PollFlags::empty())),
            Err(error) => Err(error.into()),
        }
    }

    fn reads_caller(&self) -> bool {
        !self.caller_ended && !self.guest_gone && self.credit > 0 && self.out.len() < DATA_LIMIT_BYTES
    }

    fn caller_is_gone(&mut self) {
        self.gone_until.get_or_insert_with(|| Instant::now() + LINGER);
        self.queue.clear();
    }

    fn put(&mut self, frame: &ClientFrame) -> io::Result<()> {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        self.out.extend(bytes);
        Ok(())
    }

    fn read_caller(&mut self, scratch: &mut [u8]) -> io::Result<()> {
        let most = scratch.len().min(usize::try_from(self.credit).unwrap_or(usize::MAX));
        match self.caller.read(&mut scratch[..most]) {
            Ok(0) => self.end_of_caller(),
            Ok(count) => {
                self.credit = self.credit.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
                self.put(&ClientFrame::Stdin(scratch[..count].to_vec()))
            }
            Err(error) if is_transient(&error) => Ok(()),
            // It let go with something unread.
            Err(_) => self.end_of_caller(),
        }
    }

    fn end_of_caller(&mut self) -> io::Result<()> {
        self.caller_ended = true;
        self.put(&ClientFrame::StdinEof)
    }

    fn write_guest(&mut self) {
        while !self.out.is_empty() {
            match self.guest.write(self.out.as_slices().0) {
                Ok(count) => drop(self.out.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // It may have said more before, which is still to be read.
                Err(_) => self.out.clear(),
            }
        }
    }

    fn write_caller(&mut self) -> io::Result<()> {
        while !self.queue.is_empty() {
            match self.caller.write(self.queue.as_slices().0) {
                Ok(count) => {
                    drop(self.queue.drain(..count));
                    self.ungranted += u32::try_from(count).unwrap_or(u32::MAX);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.caller_is_gone(),
            }
        }
        if self.ungranted >= GRANT_BYTES {
            let bytes = std::mem::take(&mut self.ungranted);
            self.put(&ClientFrame::OutputCredit(bytes))?;
            self.write_guest();
        }
        if self.server_ended && self.queue.is_empty() && !self.told_caller {
            self.told_caller = true;
            // It fails where there is nobody to be told.
            self.caller.shutdown(Shutdown::Write).unwrap_or_default();
        }
        Ok(())
    }

    fn read_guest(&mut self, scratch: &mut [u8]) -> io::Result<()> {
        match self.guest.read(scratch) {
            Ok(count @ 1..) => {
                self.decoder.push(&scratch[..count]);
                self.take_frames()
            }
            Err(error) if is_transient(&error) => Ok(()),
            Ok(_) | Err(_) => {
                self.guest_gone = true;
                Ok(())
            }
        }
    }

    fn take_frames(&mut self) -> io::Result<()> {
        while let Some(frame) = self.decoder.message().map_err(io::Error::other)? {
            match frame {
                GuestFrame::Stdout(data) if !self.server_ended => self.queue_output(&data)?,
                GuestFrame::StdinCredit(bytes) => {
                    self.credit = self.credit.saturating_add(bytes).min(STDIN_WINDOW_BYTES);
                }
                GuestFrame::StreamEof => self.server_ended = true,
                GuestFrame::Failed(failure) => {
                    log::debug!("a connection into the guest: {failure}");
                    self.guest_gone = true;
                }
                _ => return Err(io::Error::other("the guest sent what does not belong into a stream")),
            }
        }
        Ok(())
    }

    fn queue_output(&mut self, data: &[u8]) -> io::Result<()> {
        if self.gone_until.is_some() {
            return Err(io::Error::other("the server goes on, and nobody reads it any more"));
        }
        self.queue.extend(data);
        let window = usize::try_from(OUTPUT_WINDOW_BYTES.saturating_sub(self.ungranted)).unwrap_or(0);
        if self.queue.len() > window {
            return Err(io::Error::other("the guest sent more than it had credit for"));
        }
        Ok(())
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
