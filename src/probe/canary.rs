//! Who should hear nothing: listeners of ours on the host, on addresses that the policy does not allow.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;

use libkrun_sys::allowlist::TsiAllowlist;
use tempfile::TempDir;

/// Loopback, the last of the addresses that bundles have, and IPv6. A host need not have the last two.
const ADDRESSES: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 31)),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

/// How often another port is tried: a policy may allow many.
const PORT_TRIES: u32 = 64;

pub(super) struct Canaries {
    tcp: Vec<TcpListener>,
    udp: Vec<UdpSocket>,
    stream: UnixListener,
    datagram: UnixDatagram,
    dir: TempDir,
}

impl Canaries {
    /// Starts them. The policy that allows all leaves none to the network.
    pub(super) fn start(allowed: &TsiAllowlist) -> io::Result<Self> {
        let (mut tcp, mut udp) = (Vec::new(), Vec::new());
        for address in ADDRESSES {
            let listener = (0..PORT_TRIES).find_map(|_| {
                let listener = TcpListener::bind((address, 0)).ok()?;
                let refused = !allowed.permits(&listener.local_addr().ok()?);
                refused.then_some(listener)
            });
            if let Some(listener) = listener {
                listener.set_nonblocking(true)?;
                tcp.push(listener);
            }
            if let Ok(socket) = UdpSocket::bind((address, 0)) {
                socket.set_nonblocking(true)?;
                udp.push(socket);
            }
        }
        let dir = tempfile::Builder::new().prefix("bottle-probe-").tempdir()?;
        let stream = UnixListener::bind(dir.path().join("stream"))?;
        let datagram = UnixDatagram::bind(dir.path().join("datagram"))?;
        stream.set_nonblocking(true)?;
        datagram.set_nonblocking(true)?;
        Ok(Self { tcp, udp, stream, datagram, dir })
    }

    pub(super) fn tcp(&self) -> Vec<SocketAddr> {
        self.tcp.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    pub(super) fn udp(&self) -> Vec<SocketAddr> {
        self.udp.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }

    /// Stream and datagram.
    pub(super) fn unix(&self) -> [(bool, PathBuf); 2] {
        [(true, self.dir.path().join("stream")), (false, self.dir.path().join("datagram"))]
    }

    /// What they heard, each in a few words.
    pub(super) fn heard(&self) -> io::Result<Vec<String>> {
        let mut heard = Vec::new();
        for listener in &self.tcp {
            if happened(listener.accept())? {
                heard.push(format!("a connection came to {} (TCP)", listener.local_addr()?));
            }
        }
        for socket in &self.udp {
            if happened(socket.recv_from(&mut [0; 64]))? {
                heard.push(format!("a datagram came to {} (UDP)", socket.local_addr()?));
            }
        }
        if happened(self.stream.accept())? {
            heard.push("a connection came to a UNIX socket".to_owned());
        }
        if happened(self.datagram.recv_from(&mut [0; 64]))? {
            heard.push("a datagram came to a UNIX socket".to_owned());
        }
        Ok(heard)
    }
}

fn happened<T>(result: io::Result<T>) -> io::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn they_hear_each_kind_of_call_and_nothing_else() {
        let canaries = Canaries::start(&TsiAllowlist::default()).unwrap();
        assert!(canaries.heard().unwrap().is_empty());
        drop(TcpStream::connect(canaries.tcp()[0]).unwrap());
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.send_to(b"x", canaries.udp()[0]).unwrap();
        let [(_, stream), (_, datagram)] = canaries.unix();
        drop(std::os::unix::net::UnixStream::connect(stream).unwrap());
        UnixDatagram::unbound().unwrap().send_to(b"x", datagram).unwrap();
        assert_eq!(canaries.heard().unwrap().len(), 4);
        assert!(canaries.heard().unwrap().is_empty());
    }

    #[test]
    fn none_is_where_the_policy_allows_it() {
        let allowed = TsiAllowlist::parse(["tcp:127.0.0.0/8:1-65535"]).unwrap();
        assert!(Canaries::start(&allowed).unwrap().tcp().iter().all(SocketAddr::is_ipv6));
    }
}
