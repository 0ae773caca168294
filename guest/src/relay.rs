//! Joins stdin and stdout to a TCP connection, and never waits in the connection: as git's proxy (`core.gitProxy`).
//!
//! The guest kernel's TSI sockets are locked while somebody waits in a read of theirs, for writers as well. git does that when it pushes:
//! a thread waits for the server's words while another process is to send the objects, so that both wait for ever.

use std::ffi::OsStr;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// What this program is called where it is git's proxy: git runs `git-proxy HOST PORT`.
pub const NAME: &str = "git-proxy";

const PIECE_BYTES: usize = 64 * 1024;

/// Relays until the server has said all, or nobody reads it any more.
///
/// # Errors
/// When the server can't be reached or the connection breaks.
pub fn run(host: &OsStr, port: &OsStr) -> io::Result<()> {
    let invalid = || io::Error::from(ErrorKind::InvalidInput);
    let port = port.to_str().and_then(|port| port.parse::<u16>().ok()).ok_or_else(invalid)?;
    let server = TcpStream::connect((host.to_str().ok_or_else(invalid)?, port))?;
    relay(server, &mut io::stdin().lock(), &mut io::stdout().lock())
}

fn relay<R: Read + AsFd, W: Write + AsFd>(
    mut server: TcpStream,
    input: &mut R,
    output: &mut W,
) -> io::Result<()> {
    server.set_nonblocking(true)?;
    let (mut unsent, mut open) = (Vec::new(), true);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let may_write = if unsent.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        let mut watched = vec![
            PollFd::new(&server, PollFlags::IN | may_write),
            // Nothing but its end.
            PollFd::new(&*output, PollFlags::empty()),
        ];
        if open && unsent.is_empty() {
            watched.push(PollFd::new(&*input, PollFlags::IN));
        }
        match poll(&mut watched, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let happened: Vec<PollFlags> = watched.iter().map(PollFd::revents).collect();
        drop(watched);
        if happened.get(1).is_some_and(|flags| !flags.is_empty()) {
            return Ok(());
        }
        if happened.get(2).is_some_and(|flags| !flags.is_empty()) {
            let count = input.read(&mut piece)?;
            unsent.extend_from_slice(&piece[..count]);
            // No half-close: the server takes what it was sent, and answers.
            open = count > 0;
        }
        if !unsent.is_empty()
            && let Some(count) = at_once(server.write(&unsent))?
        {
            unsent.drain(..count);
        }
        match at_once(server.read(&mut piece))? {
            Some(0) => return Ok(()),
            Some(count) => {
                output.write_all(&piece[..count])?;
                output.flush()?;
            }
            None => {}
        }
    }
}

/// Nothing, where it would have waited.
fn at_once(done: io::Result<usize>) -> io::Result<Option<usize>> {
    match done {
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn what_is_sent_comes_back_in_both_directions_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // Says something first, then all that it hears, and ends when it has heard enough.
        const LENGTH: usize = 3_000_000;
        let server = thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            client.write_all(b"hello").unwrap();
            let mut heard = vec![0; LENGTH];
            client.read_exact(&mut heard).unwrap();
            client.write_all(&heard).unwrap();
        });
        let (mut input, mut sender) = io::pipe().unwrap();
        let (mut receiver, mut output) = io::pipe().unwrap();
        let relaying = thread::spawn(move || {
            relay(TcpStream::connect(address).unwrap(), &mut input, &mut output).unwrap();
        });
        let sent: Vec<u8> = (0..LENGTH).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let sending = sent.clone();
        let sender = thread::spawn(move || sender.write_all(&sending).unwrap());
        let mut received = Vec::new();
        receiver.read_to_end(&mut received).unwrap();
        assert_eq!(&received[..5], b"hello");
        assert!(received[5..] == sent);
        for thread in [server, relaying, sender] {
            thread.join().unwrap();
        }
    }

    #[test]
    fn it_ends_when_nobody_reads_it_any_more() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut input, _sender) = io::pipe().unwrap();
        let (receiver, mut output) = io::pipe().unwrap();
        drop(receiver);
        relay(TcpStream::connect(listener.local_addr().unwrap()).unwrap(), &mut input, &mut output).unwrap();
    }
}
