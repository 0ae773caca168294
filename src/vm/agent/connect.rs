//! Connecting to libkrun's socket. Its listen queue holds five, and the VMM takes them one at a time: with many
//! requests at once, some wait here.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// The VMM takes a connection within milliseconds. Longer means that it is stopped or hung.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Connects, and waits while the queue is full.
pub(crate) fn connect(socket: &Path) -> io::Result<UnixStream> {
    sys::connect(socket, Instant::now() + CONNECT_LIMIT)
}

#[cfg(target_os = "linux")]
mod sys {
    //! On Linux a connect blocks while the queue is full, for as long as the socket's send timeout.

    use super::{Instant, Path, UnixStream, io};
    use rustix::net::sockopt::{Timeout, set_socket_timeout};
    use rustix::net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect as connect_to, socket_with,
    };

    pub(super) fn connect(path: &Path, deadline: Instant) -> io::Result<UnixStream> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        let left = deadline.saturating_duration_since(Instant::now());
        set_socket_timeout(&socket, Timeout::Send, Some(left))?;
        match connect_to(&socket, &SocketAddrUnix::new(path)?) {
            Err(rustix::io::Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            result => result?,
        }
        set_socket_timeout(&socket, Timeout::Send, None)?;
        Ok(socket.into())
    }
}

#[cfg(not(target_os = "linux"))]
mod sys {
    //! Elsewhere a connect to a full queue is refused, as is one to a socket that nobody listens on any more. There is
    //! no event to wait for: it is tried again for as long as a full queue can reasonably last.

    use super::{Duration, Instant, Path, UnixStream, io};

    const FULL_QUEUE_LIMIT: Duration = Duration::from_secs(1);
    const RETRY: Duration = Duration::from_millis(5);

    pub(super) fn connect(path: &Path, deadline: Instant) -> io::Result<UnixStream> {
        let deadline = deadline.min(Instant::now() + FULL_QUEUE_LIMIT);
        loop {
            match UnixStream::connect(path) {
                Err(error)
                    if error.kind() == io::ErrorKind::ConnectionRefused && Instant::now() < deadline =>
                {
                    std::thread::sleep(RETRY);
                }
                result => return result,
            }
        }
    }
}
