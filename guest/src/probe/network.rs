//! By the means of the guest's own kernel.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;

use bottle_protocol::probe::{ProbeOutcome, Transport};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto};

use super::{ANSWER_LIMIT, Held, hold};
use crate::sys;

/// What is said first is short, if it is ours.
const GREETING_BYTES: usize = 64;

pub(super) fn connect(transport: Transport, to: SocketAddr, token: &[u8]) -> io::Result<ProbeOutcome> {
    match transport {
        Transport::Tcp => {
            let mut stream = TcpStream::connect(to)?;
            let mut greeting = [0; GREETING_BYTES];
            // Not all that can be connected to speaks first.
            let count = if is_readable(&stream)? { stream.read(&mut greeting)? } else { 0 };
            Ok(ProbeOutcome::Reached(greeting[..count].to_vec()))
        }
        Transport::Udp => {
            let socket = unconnected(to)?;
            socket.connect(to)?;
            socket.send(token)?;
            Ok(ProbeOutcome::Sent)
        }
    }
}

pub(super) fn send_to(to: SocketAddr, token: &[u8]) -> io::Result<ProbeOutcome> {
    unconnected(to)?.send_to(token, to)?;
    Ok(ProbeOutcome::Sent)
}

fn unconnected(to: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    UdpSocket::bind((any, 0))
}

pub(super) fn listen(at: SocketAddr, held: &Held) -> io::Result<ProbeOutcome> {
    hold(held, TcpListener::bind(at)?);
    Ok(ProbeOutcome::Nothing)
}

/// A stream that is opened and whose other end is gone is refused: some of libkrun's ports answer so.
pub(super) fn vsock(cid: u32, port: u32) -> io::Result<ProbeOutcome> {
    let mut stream = std::fs::File::from(sys::vsock_connect_to(cid, port)?);
    stream.write_all(b"?")?;
    if !is_readable(&stream)? {
        return Ok(ProbeOutcome::Reached(Vec::new()));
    }
    let mut greeting = [0; GREETING_BYTES];
    match stream.read(&mut greeting)? {
        0 => Err(Errno::CONNRESET.into()),
        count => Ok(ProbeOutcome::Reached(greeting[..count].to_vec())),
    }
}

pub(super) fn ping(raw: bool, to: SocketAddr) -> io::Result<ProbeOutcome> {
    // Type 8, code 0, checksum, identifier 1, number 1.
    const ECHO_REQUEST: [u8; 8] = [8, 0, 0xf7, 0xfd, 0, 1, 0, 1];
    let kind = if raw { SocketType::RAW } else { SocketType::DGRAM };
    let socket = rustix::net::socket(AddressFamily::INET, kind, Some(ipproto::ICMP))?;
    rustix::net::sendto(&socket, &ECHO_REQUEST, SendFlags::empty(), &to)?;
    if !is_readable(&socket)? {
        return Ok(ProbeOutcome::Silence);
    }
    let mut answer = [0; GREETING_BYTES];
    let (count, _) = rustix::net::recv(&socket, &mut answer, RecvFlags::empty())?;
    Ok(ProbeOutcome::Reached(answer[..count].to_vec()))
}

pub(super) fn is_readable(socket: &impl AsFd) -> io::Result<bool> {
    let limit = Timespec { tv_sec: i64::try_from(ANSWER_LIMIT.as_secs()).unwrap_or(1), tv_nsec: 0 };
    Ok(poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&limit))? > 0)
}
