//! What the guest's kernel would ask the host, said without it: TSI's control packets are vsock datagrams, which any process
//! may send. So no check that this kernel makes is relied on, nor that it is this kernel.
//!
//! ```text
//! port 1024 create      port u32, family u16, type u16
//!      1025 connect     port u32, address length u32, address 128 bytes      answered: result i32
//!      1027 send        as connect; then the datagram itself to 1028
//!      1029 listen      port u32, own port u32, backlog u32, address length u32, address      answered
//!      1030 accept      port u32, flags u32                                  answered
//!      1031 release     port u32, host's port u32
//! ```
//!
//! All little-endian; `port` is a number that stands for the socket, which the host makes.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use bottle_protocol::probe::{ProbeOutcome, TsiRequest, TsiSocket};
use rustix::net::RecvFlags;

use super::network::is_readable;
use super::{Held, hold};
use crate::sys;

const CREATE: u32 = 1024;
const CONNECT: u32 = 1025;
const SEND_ADDRESS: u32 = 1027;
const SEND_DATA: u32 = 1028;
const LISTEN: u32 = 1029;
const ACCEPT: u32 = 1030;
const RELEASE: u32 = 1031;

/// The host's end of each stream of TSI's.
const PROXY_PORT: u32 = 620;

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const SOCK_STREAM: u16 = 1;
const SOCK_DGRAM: u16 = 2;

const ADDRESS_BYTES: usize = 128;

/// One socket of the host's, and the way to ask for it.
struct Tsi {
    control: OwnedFd,
    /// The number of the socket. That of our own port, which the host goes by for datagrams.
    port: u32,
}

/// Asks, as the requests' names say.
pub(super) fn ask(request: &TsiRequest, token: &[u8], held: &Held) -> io::Result<ProbeOutcome> {
    let tsi = Tsi::new()?;
    match request {
        TsiRequest::Connect(socket, to) => {
            tsi.create(*socket, family(*to))?;
            tsi.connect(&encode(*to))
        }
        TsiRequest::ConnectUnix { stream, path } => {
            tsi.send(CREATE, &[&AF_UNIX.to_le_bytes(), &kind(*stream).to_le_bytes()])?;
            tsi.connect(&[&AF_UNIX.to_le_bytes()[..], path].concat())
        }
        TsiRequest::Send(to) => {
            tsi.create(TsiSocket::Datagram, family(*to))?;
            let address = encode(*to);
            tsi.send(SEND_ADDRESS, &[&length(&address), &padded(&address)])?;
            sys::vsock_send_to(&tsi.control, SEND_DATA, token)?;
            Ok(ProbeOutcome::Sent)
        }
        TsiRequest::Listen(at) => {
            tsi.create(TsiSocket::Stream, family(*at))?;
            let (address, backlog) = (encode(*at), 1u32.to_le_bytes());
            let own = tsi.port.to_le_bytes();
            tsi.send(LISTEN, &[&own, &backlog, &length(&address), &padded(&address)])?;
            let outcome = tsi.answer();
            hold(held, tsi);
            outcome
        }
        TsiRequest::Accept => {
            tsi.create(TsiSocket::Stream, AF_INET)?;
            tsi.send(ACCEPT, &[&0u32.to_le_bytes()])?;
            tsi.answer()
        }
        TsiRequest::Raw { port, bytes } => {
            sys::vsock_send_to(&tsi.control, *port, bytes)?;
            tsi.answer()
        }
    }
}

impl Tsi {
    fn new() -> io::Result<Self> {
        let control = sys::vsock_datagrams(libc::VMADDR_PORT_ANY)?;
        let port = sys::vsock_port(&control)?;
        Ok(Self { control, port })
    }

    fn create(&self, socket: TsiSocket, family: u16) -> io::Result<()> {
        match socket {
            TsiSocket::Stream => self.send(CREATE, &[&family.to_le_bytes(), &SOCK_STREAM.to_le_bytes()]),
            TsiSocket::Datagram => self.send(CREATE, &[&family.to_le_bytes(), &SOCK_DGRAM.to_le_bytes()]),
            TsiSocket::None => Ok(()),
        }
    }

    fn connect(&self, address: &[u8]) -> io::Result<ProbeOutcome> {
        self.send(CONNECT, &[&length(address), &padded(address)])?;
        self.answer()
    }

    /// Each request begins with the socket's number.
    fn send(&self, to: u32, parts: &[&[u8]]) -> io::Result<()> {
        let request = [&self.port.to_le_bytes()[..], &parts.concat()].concat();
        sys::vsock_send_to(&self.control, to, &request)
    }

    fn answer(&self) -> io::Result<ProbeOutcome> {
        if !is_readable(&self.control)? {
            return Ok(ProbeOutcome::Silence);
        }
        let mut answer = [0; 4];
        let (count, _) = rustix::net::recv(&self.control, &mut answer, RecvFlags::empty())?;
        match i32::from_le_bytes(answer) {
            _ if count < answer.len() => Ok(ProbeOutcome::Found(format!("an answer of {count} bytes"))),
            0 => Ok(ProbeOutcome::Reached(Vec::new())),
            result @ ..0 => Ok(ProbeOutcome::Refused(result.saturating_neg())),
            result => Ok(ProbeOutcome::Found(format!("the answer {result}"))),
        }
    }
}

/// The host keeps a socket until it is told that nobody wants it.
impl Drop for Tsi {
    fn drop(&mut self) {
        self.send(RELEASE, &[&PROXY_PORT.to_le_bytes()]).unwrap_or_default();
    }
}

fn family(address: SocketAddr) -> u16 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

fn kind(stream: bool) -> u16 {
    if stream { SOCK_STREAM } else { SOCK_DGRAM }
}

/// As `struct sockaddr_in` and `sockaddr_in6` lie in memory.
fn encode(address: SocketAddr) -> Vec<u8> {
    let (family, port) = (family(address).to_le_bytes(), address.port().to_be_bytes());
    match address {
        SocketAddr::V4(address) => [&family[..], &port, &address.ip().octets(), &[0; 8]].concat(),
        SocketAddr::V6(address) => [
            &family[..],
            &port,
            &address.flowinfo().to_be_bytes(),
            &address.ip().octets(),
            &address.scope_id().to_le_bytes(),
        ]
        .concat(),
    }
}

fn length(address: &[u8]) -> [u8; 4] {
    u32::try_from(address.len()).unwrap_or(u32::MAX).to_le_bytes()
}

fn padded(address: &[u8]) -> [u8; ADDRESS_BYTES] {
    let mut padded = [0; ADDRESS_BYTES];
    for (to, from) in padded.iter_mut().zip(address) {
        *to = *from;
    }
    padded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lie_as_in_c() {
        let v4 = encode("127.0.0.16:443".parse().unwrap());
        assert_eq!(v4, [2, 0, 1, 0xbb, 127, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0]);
        let v6 = encode("[fe80::1%3]:443".parse().unwrap());
        assert_eq!(
            (v6.len(), &v6[..8], &v6[8..10]),
            (28, &[10, 0, 1, 0xbb, 0, 0, 0, 0][..], &[0xfe, 0x80][..])
        );
        assert_eq!(v6[24..], [3, 0, 0, 0]);
        assert_eq!((length(&v4), padded(&v4)[..16].to_vec()), ([16, 0, 0, 0], v4));
    }
}
