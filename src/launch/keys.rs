//! What is typed on our raw terminal goes to the process, but for the keys that detach from it.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, getpid, getppid, getsid, kill_process};

use super::detach_keys::KeyWatch;
use super::{sys, terminal};
use crate::vm::agent::{ExecControl, ExecStdin};

/// How long the first of the detach keys is held back from the process. Typed on purpose, the next one comes well within
/// it; and a shell's Ctrl-P, the line before, does not take for ever.
const HOLD: Duration = Duration::from_secs(1);

/// A terminal gives no more at once.
const PIECE_BYTES: usize = 4096;

/// What ends the typing.
enum End {
    Detached,
    /// The process takes no more.
    Closed,
    /// The terminal is gone, or the shell that we are a job of.
    HungUp,
}

/// Until the detach keys are typed, the process takes no more, or the terminal is gone. That last one is a SIGHUP for us,
/// as the kernel sends it to those whom it knows to use the terminal.
pub(super) fn pass(terminal: &OwnedFd, mut to: ExecStdin, control: &ExecControl, watch: KeyWatch) {
    match until_end(terminal, &mut to, watch) {
        // If the guest does not hear it, it is gone, which shows where its output is read.
        End::Detached => control.detach().unwrap_or_default(),
        End::Closed => {}
        End::HungUp => {
            terminal::restore();
            kill_process(getpid(), Signal::HUP).unwrap_or_default();
        }
    }
}

fn until_end(terminal: &OwnedFd, to: &mut ExecStdin, mut watch: KeyWatch) -> End {
    let shell = shell_end();
    let mut piece = [0; PIECE_BYTES];
    let mut typed = Vec::with_capacity(PIECE_BYTES);
    loop {
        let mut fds = vec![PollFd::new(terminal, PollFlags::IN)];
        fds.extend(shell.iter().map(|shell| PollFd::from_borrowed_fd(shell.as_fd(), PollFlags::IN)));
        let held = Timespec { tv_sec: HOLD.as_secs().cast_signed(), tv_nsec: HOLD.subsec_nanos().into() };
        let found = poll(&mut fds, watch.is_holding().then_some(&held));
        let [by_terminal, by_shell] = [0, 1].map(|at| fds.get(at).is_some_and(|fd| !fd.revents().is_empty()));
        let mut detached = false;
        match found {
            Ok(0) => watch.release(&mut typed),
            Ok(_) if by_shell => return End::HungUp,
            Ok(_) if by_terminal => match rustix::io::read(terminal, &mut piece) {
                Ok(0) => return End::HungUp,
                Ok(count) => detached = watch.feed(&piece[..count], &mut typed),
                Err(Errno::INTR | Errno::AGAIN) => {}
                // Also where another process group has the terminal and nobody could bring us back to it.
                Err(_) => return End::HungUp,
            },
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return End::HungUp,
        }
        if to.write_all(&typed).is_err() {
            return End::Closed;
        }
        typed.clear();
        if detached {
            return End::Detached;
        }
    }
}

/// Becomes readable when our shell is gone: whoever has the terminal then did not ask for it raw. Only for a shell of our
/// own session; of a session whose leader ends, the kernel takes the terminal away.
fn shell_end() -> Option<OwnedFd> {
    let parent = getppid()?;
    let ours = getsid(None).ok()?;
    let end = (getsid(Some(parent)).ok()? == ours).then(|| sys::end_of(parent).ok()).flatten();
    // Its number may have become another's, if it ended in between.
    end.filter(|_| getppid() == Some(parent))
}
