//! The control socket: how a launcher is told things, and how others see it end.
//!
//! ```text
//! stop GRACE_MS\n     ends the launch in order, as `interrupt` has it
//! follow\n            a byte comes back whenever something was logged: look again
//! ```
//!
//! Either way the connection stays open until the launcher has let go of the bottle: its end is the news of that. One thread
//! serves all. Only the bottle's owner can connect; what they send is nevertheless looked at as if a stranger had sent it.

use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use super::{Interrupt, LaunchError};

/// The longest order is a `stop` with twenty digits.
const ORDER_LIMIT_BYTES: usize = 64;

/// Connections at a time: more are not people. Those beyond it are closed at once.
const CONNECTION_LIMIT: usize = 64;

/// An order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Order {
    Stop(Duration),
    Follow,
}

impl Order {
    /// As it is sent.
    pub(super) fn line(&self) -> String {
        match self {
            Self::Stop(grace) => format!("stop {}\n", grace.as_millis()),
            Self::Follow => "follow\n".to_owned(),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        match line.split_once(' ') {
            Some(("stop", grace_ms)) => grace_ms.parse().ok().map(Duration::from_millis).map(Self::Stop),
            None if line == "follow" => Some(Self::Follow),
            _ => None,
        }
    }
}

/// Those who want to know when something was logged.
#[derive(Debug, Clone, Default)]
pub(super) struct Followers(Arc<Mutex<Vec<UnixStream>>>);

impl Followers {
    /// Something was logged.
    pub(super) fn notify(&self) {
        let mut followers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        followers.retain(|mut follower| match follower.write_all(b".") {
            Ok(()) => true,
            // There is news that it has not looked at yet.
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        });
    }

    fn add(&self, follower: &UnixStream) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(follower.try_clone()?);
        Ok(())
    }
}

/// Serves the control socket until it is dropped.
#[derive(Debug)]
pub(super) struct Control {
    followers: Followers,
    /// Its end is the thread's.
    wake: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Serves on a listener that does not block.
    pub(super) fn serve(listener: UnixListener, interrupt: &Interrupt) -> Result<Self, LaunchError> {
        let failed = |source| LaunchError::Host { what: "cannot serve the control socket", source };
        let (end, wake) = io::pipe().map_err(failed)?;
        let followers = Followers::default();
        let mut server =
            Server { interrupt: interrupt.clone(), followers: followers.clone(), connections: Vec::new() };
        let thread = thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || server.run(&listener, &end))
            .map_err(failed)?;
        Ok(Self { followers, wake: Some(wake), thread: Some(thread) })
    }

    /// To be told when something was logged.
    pub(super) fn followers(&self) -> Followers {
        self.followers.clone()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        drop(self.wake.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or_default();
        }
        // The connections' other descriptors.
        self.followers.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

struct Server {
    interrupt: Interrupt,
    followers: Followers,
    connections: Vec<Connection>,
}

struct Connection {
    stream: UnixStream,
    line: Vec<u8>,
    ordered: bool,
}

impl Server {
    fn run(&mut self, listener: &UnixListener, end: &PipeReader) {
        loop {
            let mut fds = vec![PollFd::new(end, PollFlags::IN), PollFd::new(listener, PollFlags::IN)];
            fds.extend(self.connections.iter().map(|one| PollFd::new(&one.stream, PollFlags::IN)));
            match poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    log::error!("the control socket is not served any more: {error}");
                    return;
                }
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            if ready[0] {
                return;
            }
            let mut index = 1;
            let (interrupt, followers) = (&self.interrupt, &self.followers);
            self.connections.retain_mut(|one| {
                index += 1;
                !ready[index] || one.read(interrupt, followers)
            });
            if ready[1] && !self.accept(listener) {
                return;
            }
        }
    }

    /// Takes a connection; `false` if the listener is of no use any more.
    fn accept(&mut self, listener: &UnixListener) -> bool {
        match listener.accept() {
            Ok((stream, _)) => {
                if self.connections.len() < CONNECTION_LIMIT && stream.set_nonblocking(true).is_ok() {
                    self.connections.push(Connection { stream, line: Vec::new(), ordered: false });
                }
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => true,
            Err(error) => {
                log::error!("the control socket takes no connections any more: {error}");
                false
            }
        }
    }
}

impl Connection {
    /// Reads what there is; `false` if the connection is to be closed.
    fn read(&mut self, interrupt: &Interrupt, followers: &Followers) -> bool {
        let mut piece = [0; ORDER_LIMIT_BYTES];
        match self.stream.read(&mut piece) {
            Ok(0) => return false,
            Ok(count) => self.line.extend_from_slice(&piece[..count]),
            Err(error) => return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
        if self.ordered || self.line.len() > ORDER_LIMIT_BYTES {
            return false;
        }
        let Some(line) = self.line.strip_suffix(b"\n") else { return true };
        self.ordered = true;
        match std::str::from_utf8(line).ok().and_then(Order::parse) {
            Some(Order::Stop(grace)) => {
                interrupt.stop(grace);
                true
            }
            Some(Order::Follow) => followers.add(&self.stream).is_ok(),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve() -> (Control, Interrupt, std::path::PathBuf, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let interrupt = Interrupt::new();
        (Control::serve(listener, &interrupt).unwrap(), interrupt, path, dir)
    }

    fn connect(path: &std::path::Path, order: &[u8]) -> UnixStream {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(order).unwrap();
        stream
    }

    #[test]
    fn orders_are_read_as_they_are_written() {
        for order in [Order::Stop(Duration::from_millis(1500)), Order::Follow] {
            assert_eq!(Order::parse(order.line().trim_end()), Some(order));
        }
        for bad in ["", "stop", "stop -1", "stop 1 2", "follow me", "stop 99999999999999999999999"] {
            assert_eq!(Order::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_connection_lasts_as_long_as_the_launcher() {
        let (control, interrupt, path, _dir) = serve();
        let mut stop = connect(&path, Order::Stop(Duration::ZERO).line().as_bytes());
        let mut follow = connect(&path, b"fol");
        follow.write_all(b"low\n").unwrap();
        // The follower's order was taken once a notice comes, and so was the one before it.
        let followers = control.followers();
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while followers.0.lock().unwrap().is_empty() || interrupt.signal().is_none() {
            assert!(std::time::Instant::now() < deadline);
            thread::yield_now();
        }
        followers.notify();
        assert_eq!(follow.read(&mut [0; 8]).unwrap(), 1);
        drop(control);
        assert_eq!(stop.read(&mut [0; 8]).unwrap(), 0);
        assert_eq!(follow.read(&mut [0; 8]).unwrap(), 0);
    }

    #[test]
    fn what_is_no_order_is_not_listened_to() {
        let (_control, interrupt, path, _dir) = serve();
        for bad in [&b"nonsense\n"[..], b"stop x\n", b"\xff\n", &[b'x'; 200], b"stop 1\nstop 1\n"] {
            let ended = connect(&path, bad).read(&mut [0; 8]);
            // A socket that is closed with something unread in it is reset.
            assert!(
                matches!(ended, Ok(0)) || ended.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset),
                "{bad:?}"
            );
        }
        assert_eq!(interrupt.signal(), None);
        let mut many: Vec<UnixStream> = (0..CONNECTION_LIMIT).map(|_| connect(&path, b"")).collect();
        assert_eq!(connect(&path, b"").read(&mut [0; 8]).unwrap(), 0);
        many.clear();
    }
}
