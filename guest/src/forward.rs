//! The host's connection to a server in the guest: TCP on the loopback interface, joined to a connection of the host's.
//!
//! ```text
//! socket ─ Stdin, StdinEof ──► queue (≤ the stdin window) ──► TCP      StdinCredit as it drains
//! socket ◄─ Stdout, StreamEof ─ at most the host's credit ─── TCP      OutputCredit as the host reads
//! ```
//!
//! It opens nothing to anybody but the host: the guest's own connects go where they went.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;

use bottle_protocol::{ClientFrame, ExecFailure, FailureKind, GuestFrame, OUTPUT_WINDOW_BYTES};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use crate::exec::{Stdin, other};
use crate::link::{Link, Lost, poll_until};
use crate::sys;

/// State of a socket that listens, in `/proc/net/tcp`.
const LISTENING: &str = "0A";

/// The local addresses that a connection to the loopback interface is taken on, as `/proc/net/tcp` and `tcp6` write them on
/// a little-endian machine: words in the machine's order.
const LOOPBACK: [&str; 6] = [
    "00000000",
    "0100007F",
    "00000000000000000000000000000000",
    "00000000000000000000000001000000",
    "0000000000000000FFFF000000000000",
    "0000000000000000FFFF00000100007F",
];

/// Connects to `port` and carries what both sides send, until both have ended or one is gone.
pub(crate) fn run(mut link: Link, scratch: &mut [u8], port: u16, tsi: bool) -> Result<(), Lost> {
    let failed = |error: io::Error| other(format!("cannot connect to port {port} in the guest: {error}"));
    let opened = connect(port, tsi).and_then(|tcp| Forward::halves(tcp).map_err(failed));
    match opened {
        Ok((tcp, stdin)) => {
            link.put(&GuestFrame::Connected)?;
            Forward { link, tcp, stdin, credit: OUTPUT_WINDOW_BYTES, ended: false }.carry(scratch)
        }
        Err(failure) => {
            link.put(&GuestFrame::Failed(failure))?;
            link.drain(scratch)
        }
    }
}

fn connect(port: u16, tsi: bool) -> Result<TcpStream, ExecFailure> {
    let refused = || ExecFailure {
        kind: FailureKind::Refused,
        message: format!("nobody in the guest listens on port {port} of its loopback interface"),
    };
    // With TSI, a connect that nobody in the guest takes goes on to the host, and this one is not meant for there.
    if tsi && !is_listened_on(port) {
        return Err(refused());
    }
    let addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, port)), (Ipv6Addr::LOCALHOST, port).into()];
    TcpStream::connect(&addresses[..]).map_err(|error| match error.kind() {
        // The second is the answer of a guest whose kernel has no IPv6.
        io::ErrorKind::ConnectionRefused | io::ErrorKind::AddrNotAvailable => refused(),
        _ => other(format!("cannot connect to port {port} in the guest: {error}")),
    })
}

fn is_listened_on(port: u16) -> bool {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .any(|table| fs::read_to_string(table).is_ok_and(|table| has_listener(&table, port)))
}

/// `  sl  local_address rem_address   st …`, an address being `HEX:PORT`.
fn has_listener(table: &str, port: u16) -> bool {
    table.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next().and_then(|local| local.split_once(':'));
        local.is_some_and(|(address, number)| {
            LOOPBACK.contains(&address) && u16::from_str_radix(number, 16) == Ok(port)
        }) && fields.nth(1) == Some(LISTENING)
    })
}

struct Forward {
    link: Link,
    tcp: OwnedFd,
    stdin: Stdin,
    credit: u32,
    /// The server has sent all that it will.
    ended: bool,
}

impl Forward {
    fn halves(tcp: TcpStream) -> io::Result<(OwnedFd, Stdin)> {
        // What comes in pieces is sent in pieces: the host knows better what belongs together.
        tcp.set_nodelay(true)?;
        sys::set_nonblocking(&tcp)?;
        let writing = tcp.try_clone()?;
        Ok((tcp.into(), Stdin::socket(writing.into())))
    }

    fn carry(&mut self, scratch: &mut [u8]) -> Result<(), Lost> {
        while !(self.ended && self.stdin.is_closed()) {
            self.link.flush()?;
            let (socket, room, data) = self.poll()?;
            if socket {
                self.link.fill(scratch)?;
                while let Some(frame) = self.link.frame()? {
                    self.take(frame)?;
                }
            }
            if room {
                self.stdin.write();
            }
            if let Some(bytes) = self.stdin.grant() {
                self.link.put(&GuestFrame::StdinCredit(bytes))?;
            }
            if data {
                self.read(scratch)?;
            }
        }
        self.link.drain(scratch)
    }

    /// Waits until there is something from the host, room for the server's input, or something from the server.
    fn poll(&self) -> Result<(bool, bool, bool), Lost> {
        let mut fds = vec![PollFd::from_borrowed_fd(self.link.socket(), self.link.interest())];
        let waiting = self.stdin.waiting();
        fds.extend(waiting.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::OUT)));
        let reading = !self.ended && self.credit > 0 && self.link.has_room();
        // Behind its end, there is nothing to come but word that the connection is gone.
        let interest = if self.ended { PollFlags::empty() } else { PollFlags::IN };
        if reading || self.ended {
            fds.push(PollFd::new(&self.tcp, interest));
        }
        poll_until(&mut fds, None).map_err(|_| Lost)?;
        let mut happened = fds.iter().map(|fd| !fd.revents().is_empty());
        let mut next = |polled: bool| polled && happened.next().unwrap_or(false);
        Ok((next(true), next(waiting.is_some()), next(reading || self.ended)))
    }

    fn take(&mut self, frame: ClientFrame) -> Result<(), Lost> {
        match frame {
            ClientFrame::Stdin(data) => self.stdin.queue(&data),
            ClientFrame::StdinEof => {
                self.stdin.end();
                Ok(())
            }
            ClientFrame::OutputCredit(bytes) => {
                self.credit = self.credit.saturating_add(bytes).min(OUTPUT_WINDOW_BYTES);
                Ok(())
            }
            _ => {
                crate::log("connection dropped: not a frame of a stream");
                Err(Lost)
            }
        }
    }

    fn read(&mut self, scratch: &mut [u8]) -> Result<(), Lost> {
        if self.ended {
            self.stdin.close();
            return Ok(());
        }
        let most = scratch.len().min(usize::try_from(self.credit).unwrap_or(usize::MAX));
        match rustix::io::read(&self.tcp, &mut scratch[..most]) {
            Ok(0) => {
                self.ended = true;
                self.link.put(&GuestFrame::StreamEof)
            }
            Ok(count) => {
                self.credit -= u32::try_from(count).unwrap_or(self.credit);
                self.link.put(&GuestFrame::Stdout(scratch[..count].to_vec()))
            }
            Err(Errno::INTR | Errno::AGAIN) => Ok(()),
            // It was reset: nothing goes either way any more.
            Err(error) => {
                self.ended = true;
                self.stdin.close();
                self.link.put(&GuestFrame::Failed(other(format!("the server's connection: {error}"))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_read_out_of_the_kernels_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n   \
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n   \
            1: 0100007F:1F91 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0\n   \
            2: 0171A8C0:1F92 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n   \
            3: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0 0\n";
        assert!(has_listener(table, 0x1f90) && has_listener(table, 80));
        assert!(!has_listener(table, 0x1f91), "a connection is no listener");
        assert!(!has_listener(table, 0x1f92), "another interface's");
        assert!(!has_listener(table, 443) && !has_listener("", 80));
    }
}
