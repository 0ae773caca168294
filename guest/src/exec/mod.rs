//! One exec: a process, and the loop that carries its streams until it has ended and all its output is sent.
//!
//! ```text
//! socket ─ Stdin ──► queue (≤ the stdin window) ──► stdin pipe or terminal      StdinCredit as it drains
//! socket ◄─ Stdout, Stderr ─ at most the host's credit ─ pipes or terminal      OutputCredit as the host reads
//! ```
//!
//! One thread polls everything. When the process has ended, what is in its pipes by then is sent in any case; if
//! others still hold them open, they have [`LINGER`] to say their last words, and nobody waits for them any longer.
//!
//! A host that goes away takes its process along, unless it was to be detached or the host says so later ([`alone`]).

mod alone;
mod command;
mod spawn;
mod stdin;
mod users;

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use bottle_protocol::{
    ClientFrame, DATA_LIMIT_BYTES, ExecRequest, ExitStatus, GuestConfig, GuestFrame, OUTPUT_WINDOW_BYTES,
    TtySize,
};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use crate::link::{Link, Lost, poll_until};
use crate::reaper::{Child, Reaper};
use spawn::{Streams, Wanted};

pub(crate) use command::{identity, other};
pub(crate) use stdin::Stdin;

/// How long after a process's end output of those that it left behind is still taken: enough for the last lines of
/// `program > >(filter)`, not enough to be noticed after `server &`.
const LINGER: Duration = Duration::from_millis(100);

/// Time between SIGHUP and SIGKILL for a process whose host went away. Shells and editors save their state well within it.
const HANGUP_GRACE: Duration = Duration::from_secs(2);

/// How long a killed process is waited for; one that is stuck in the kernel for longer is left to the reaper.
const KILL_WAIT: Duration = Duration::from_secs(10);

/// A terminal holds less than this; what comes after its process has ended is not its own.
const TERMINAL_REST_BYTES: u64 = 1024 * 1024;

/// Runs the request to its end.
pub(crate) fn run(
    mut link: Link,
    scratch: &mut [u8],
    request: &ExecRequest,
    config: &GuestConfig,
    reaper: &Reaper,
) -> Result<(), Lost> {
    let wanted = Wanted {
        tty: request.tty,
        null_stdin: request.null_stdin || request.detached,
        null_output: request.detached,
    };
    let started =
        command::prepare(request, config).and_then(|command| spawn::start(&command, wanted, reaper));
    let (child, streams) = match started {
        Ok(started) => started,
        Err(failure) => {
            link.put(&GuestFrame::Failed(failure))?;
            return link.drain(scratch);
        }
    };
    let mut session = Session::new(link, &child, streams, reaper);
    if request.detached {
        return session.detach(scratch);
    }
    match session.carry(scratch) {
        Ok(Ending::Exited(status)) => {
            let mut link = session.link;
            link.put(&GuestFrame::Exited(status))?;
            link.drain(scratch)
        }
        Ok(Ending::Detached) => {
            session.leave(scratch);
            Ok(())
        }
        Err(Lost) => {
            drop(session);
            hang_up(&child, reaper);
            Err(Lost)
        }
    }
}

/// Ends a process whose host went away.
fn hang_up(child: &Child, reaper: &Reaper) {
    for (signal, limit) in [(libc::SIGHUP, HANGUP_GRACE), (libc::SIGKILL, KILL_WAIT)] {
        reaper.signal(child, signal);
        // A stopped process would sleep through the SIGHUP.
        reaper.signal(child, libc::SIGCONT);
        let mut fds = [PollFd::from_borrowed_fd(child.ended(), PollFlags::IN)];
        if matches!(poll_until(&mut fds, Some(Instant::now() + limit)), Ok(1..)) {
            return;
        }
    }
}

/// Why nothing more is carried.
enum Ending {
    Exited(ExitStatus),
    Detached,
}

/// One of the process's outputs.
struct Output {
    fd: OwnedFd,
    frame: fn(Vec<u8>) -> GuestFrame,
    /// Bytes still owed after the process's end; before it, no limit.
    owed: Option<u64>,
}

struct Session<'a> {
    link: Link,
    child: &'a Child,
    reaper: &'a Reaper,
    stdin: Stdin,
    outputs: Vec<Output>,
    terminal: Option<OwnedFd>,
    credit: u32,
    /// When output of others stops being waited for; set at the process's end.
    linger_until: Option<Instant>,
    /// The host leaves the process alone.
    detached: bool,
}

impl<'a> Session<'a> {
    fn new(link: Link, child: &'a Child, streams: Streams, reaper: &'a Reaper) -> Self {
        let output = |fd, frame| Output { fd, frame, owed: None };
        let (stdin, outputs, terminal) = match streams {
            Streams::Pipes { stdin, output: ends } => {
                let outputs = ends.into_iter().flat_map(|(stdout, stderr)| {
                    [output(stdout, GuestFrame::Stdout), output(stderr, GuestFrame::Stderr)]
                });
                (stdin.map_or_else(Stdin::none, Stdin::pipe), outputs.collect(), None)
            }
            Streams::Terminal(master) => match (master.try_clone(), master.try_clone()) {
                (Ok(reading), Ok(resizing)) => {
                    (Stdin::terminal(master), vec![output(reading, GuestFrame::Stdout)], Some(resizing))
                }
                _ => (Stdin::terminal(master), Vec::new(), None),
            },
        };
        Self {
            link,
            child,
            reaper,
            stdin,
            outputs,
            terminal,
            credit: OUTPUT_WINDOW_BYTES,
            linger_until: None,
            detached: false,
        }
    }

    fn started(&mut self) -> Result<(), Lost> {
        self.link.put(&GuestFrame::Started { pid: self.child.pid.unsigned_abs() })
    }

    /// For a process that nobody asked to hear more of. It goes on, whether the host got to know or not.
    fn detach(mut self, scratch: &mut [u8]) -> Result<(), Lost> {
        let told = self.started().and_then(|()| self.link.drain(scratch));
        self.leave(scratch);
        told
    }

    /// Closes the connection, and stays until the process has ended.
    fn leave(mut self, scratch: &mut [u8]) {
        drop(self.link);
        drop(self.terminal);
        self.stdin.leave();
        let outputs = self.outputs.into_iter().map(|output| output.fd).collect();
        alone::stay(self.child, self.stdin, outputs, scratch);
    }

    /// Until the process has ended and its output is queued, or the host leaves it alone.
    fn carry(&mut self, scratch: &mut [u8]) -> Result<Ending, Lost> {
        self.started()?;
        loop {
            self.link.flush()?;
            if let Some(status) = self.finished() {
                return Ok(Ending::Exited(status));
            }
            let ready = self.poll()?;
            if ready.socket {
                self.link.fill(scratch)?;
                while let Some(frame) = self.link.frame()? {
                    self.take(frame)?;
                    if self.detached {
                        return Ok(Ending::Detached);
                    }
                }
            }
            if ready.stdin {
                self.stdin.write();
            }
            if let Some(bytes) = self.stdin.grant() {
                self.link.put(&GuestFrame::StdinCredit(bytes))?;
            }
            for index in (0..self.outputs.len()).rev().filter(|index| ready.outputs[*index]) {
                self.read_output(index, scratch)?;
            }
            if ready.ended {
                self.process_ended();
            }
        }
    }

    fn finished(&self) -> Option<ExitStatus> {
        let linger_until = self.linger_until?;
        let over = Instant::now() >= linger_until;
        let owing = self.outputs.iter().any(|output| !over || output.owed.is_some_and(|owed| owed > 0));
        if owing { None } else { self.child.status() }
    }

    fn poll(&self) -> Result<Ready, Lost> {
        let mut fds = vec![PollFd::from_borrowed_fd(self.link.socket(), self.link.interest())];
        let running = self.linger_until.is_none();
        if running {
            fds.push(PollFd::from_borrowed_fd(self.child.ended(), PollFlags::IN));
        }
        let stdin = self.stdin.waiting();
        fds.extend(stdin.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::OUT)));
        let reading = self.credit > 0 && self.link.has_room();
        if reading {
            fds.extend(self.outputs.iter().map(|output| PollFd::new(&output.fd, PollFlags::IN)));
        }
        // While what is owed waits for credit, time does not matter: only the host's next frame does.
        let deadline = if reading { self.linger_until } else { None };
        let over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        poll_until(&mut fds, deadline).map_err(|_| Lost)?;

        let mut happened = fds.iter().map(|fd| !fd.revents().is_empty());
        let mut next = |polled: bool| polled && happened.next().unwrap_or(false);
        let mut ready = Ready {
            socket: next(true),
            ended: next(running),
            stdin: next(stdin.is_some()),
            outputs: [false; 2],
        };
        for flag in ready.outputs.iter_mut().take(self.outputs.len()) {
            // Past the deadline what is owed is read whether it is there or not: a terminal's is an estimate.
            *flag = next(reading) || (reading && over);
        }
        Ok(ready)
    }

    fn take(&mut self, frame: ClientFrame) -> Result<(), Lost> {
        match frame {
            ClientFrame::Stdin(data) => self.stdin.queue(&data),
            ClientFrame::StdinEof => {
                self.stdin.end();
                Ok(())
            }
            ClientFrame::Resize(size) => {
                self.resize(size);
                Ok(())
            }
            ClientFrame::Signal(signal) => {
                // What is no signal's number is nothing to anybody; 0 only asks whether the group is there.
                if let Ok(signal @ 1..=64) = i32::try_from(signal) {
                    self.reaper.signal(self.child, signal);
                }
                Ok(())
            }
            ClientFrame::OutputCredit(bytes) => {
                self.credit = self.credit.saturating_add(bytes).min(OUTPUT_WINDOW_BYTES);
                Ok(())
            }
            ClientFrame::Detach => {
                self.detached = true;
                Ok(())
            }
            ClientFrame::Request(_) | ClientFrame::Part(_) => {
                crate::log("connection dropped: a second request on it, or a copy's part");
                Err(Lost)
            }
        }
    }

    fn resize(&self, size: TtySize) {
        if let Some(terminal) = &self.terminal {
            // Fails only if there is no terminal any more.
            drop(spawn::resize(terminal, size));
        }
    }

    fn read_output(&mut self, index: usize, scratch: &mut [u8]) -> Result<(), Lost> {
        let Some(output) = self.outputs.get_mut(index) else { return Ok(()) };
        let over = self.linger_until.is_some_and(|until| Instant::now() >= until);
        let most =
            scratch.len().min(DATA_LIMIT_BYTES).min(usize::try_from(self.credit).unwrap_or(usize::MAX)).min(
                if over {
                    output.owed.map_or(0, |owed| usize::try_from(owed).unwrap_or(usize::MAX))
                } else {
                    usize::MAX
                },
            );
        if most == 0 {
            return Ok(());
        }
        match rustix::io::read(&output.fd, &mut scratch[..most]) {
            Ok(count) if count > 0 => {
                self.credit -= u32::try_from(count).unwrap_or(self.credit);
                if let Some(owed) = &mut output.owed {
                    *owed = owed.saturating_sub(count as u64);
                }
                let frame = (output.frame)(scratch[..count].to_vec());
                self.link.put(&frame)
            }
            Err(Errno::INTR) => Ok(()),
            Err(Errno::AGAIN) => {
                if self.linger_until.is_some() {
                    output.owed = Some(0);
                }
                Ok(())
            }
            // End of a pipe; EIO is what a terminal says when the last one has closed it.
            Ok(_) | Err(_) => {
                drop(self.outputs.remove(index));
                Ok(())
            }
        }
    }

    /// All that the process wrote is in its pipes now: so much is owed to the host.
    fn process_ended(&mut self) {
        self.linger_until = Some(Instant::now() + LINGER);
        self.stdin.close();
        let terminal = self.terminal.is_some();
        for output in &mut self.outputs {
            // A terminal's count leaves out what its line discipline still holds; it is read until it is empty.
            output.owed = Some(if terminal {
                TERMINAL_REST_BYTES
            } else {
                rustix::io::ioctl_fionread(output.fd.as_fd()).unwrap_or(0)
            });
        }
    }
}

/// What a poll found.
struct Ready {
    socket: bool,
    ended: bool,
    stdin: bool,
    outputs: [bool; 2],
}
