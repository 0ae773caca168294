//! Hearing that a bottle's log has grown, from its launcher.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use super::control::Order;
use crate::state::Found;

/// A connection to a launcher that logs.
#[derive(Debug)]
pub struct Follower {
    stream: UnixStream,
}

impl Follower {
    /// From now on, nothing that is logged goes unheard. Nothing if the bottle does not live.
    ///
    /// # Errors
    /// When its launcher can't be spoken to.
    pub fn connect(bottle: &Found) -> io::Result<Option<Self>> {
        let connected = UnixStream::connect(bottle.control_socket()).and_then(|mut stream| {
            stream.write_all(Order::Follow.line().as_bytes())?;
            Ok(stream)
        });
        match connected {
            Ok(stream) => Ok(Some(Self { stream })),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits until something was logged since the last look; `false` if nothing will be any more.
    ///
    /// # Errors
    /// When the connection fails otherwise than by the launcher's end.
    pub fn wait(&mut self) -> io::Result<bool> {
        loop {
            // All notices that came: one look is enough for them.
            match self.stream.read(&mut [0; 4096]) {
                Ok(count) => return Ok(count > 0),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_gone(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Nobody is there, or not any more.
pub(super) fn is_gone(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound};
    matches!(error.kind(), NotFound | ConnectionRefused | ConnectionReset | BrokenPipe)
}
