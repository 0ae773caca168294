//! A process whose host went away and left it running: nobody reads what it says, and it must not notice.

use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use super::stdin::Stdin;
use crate::link::poll_until;
use crate::reaper::Child;

/// Until the process has ended: its output is read to nowhere, and what was typed for it still reaches it. With the last
/// of these descriptors its terminal is gone, and with that those that it left behind in there.
pub(super) fn stay(child: &Child, mut stdin: Stdin, mut outputs: Vec<OwnedFd>, scratch: &mut [u8]) {
    loop {
        let waiting = stdin.waiting();
        let mut fds = vec![PollFd::from_borrowed_fd(child.ended(), PollFlags::IN)];
        fds.extend(outputs.iter().map(|output| PollFd::new(output, PollFlags::IN)));
        fds.extend(waiting.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::OUT)));
        if poll_until(&mut fds, None).is_err() {
            return;
        }
        let happened: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let writable = waiting.is_some() && happened.last() == Some(&true);
        drop(fds);
        if happened.first() == Some(&true) {
            return;
        }
        if writable {
            stdin.write();
        }
        let mut readable = happened.iter().skip(1);
        outputs.retain(|output| readable.next() != Some(&true) || is_open(output, scratch));
    }
}

/// Reads what is there; false at the end.
fn is_open(output: &OwnedFd, scratch: &mut [u8]) -> bool {
    match rustix::io::read(output, scratch) {
        Ok(count) => count > 0,
        Err(error) => matches!(error, Errno::AGAIN | Errno::INTR),
    }
}
