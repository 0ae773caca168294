//! What the prober is asked and answers: `bottle-guest probe`, which the host runs in the guest as any other process.
//!
//! ```text
//! host → prober, on its stdin     length u32 LE, ProbePlan in postcard; then nothing until the end, which ends the prober
//! prober → host, on its stdout    length u32 LE, ProbeReport in postcard; what was listened on stays so until then
//! ```

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Neither message comes near this.
const LIMIT_BYTES: u32 = 4 * 1024 * 1024;

/// What to try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbePlan {
    /// Each of these, first by root, then by that user.
    pub attempts: Vec<Attempt>,
    /// An ordinary user's number.
    pub uid: u32,
    /// That user's group's.
    pub gid: u32,
    /// What is sent wherever something can be sent.
    pub token: Vec<u8>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// One for each attempt.
    pub as_root: Vec<ProbeOutcome>,
    /// One for each attempt.
    pub as_user: Vec<ProbeOutcome>,
}

/// A way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Attempt {
    /// Connects a socket of the guest's kernel, which asks the host when it finds nobody in the guest.
    Connect(Transport, SocketAddr),
    /// Sends a datagram from a socket that is not connected.
    SendTo(SocketAddr),
    /// Listens, and goes on listening. That is no way out in itself; the host looks whether it got a listener of it.
    Listen(SocketAddr),
    /// Past all that the guest's kernel checks: a request of TSI's, as this kernel would send it to the host.
    Tsi(TsiRequest),
    /// Connects a vsock stream to a port of a context, 2 being the host.
    Vsock {
        /// The context.
        cid: u32,
        /// The port.
        port: u32,
    },
    /// Sends an ICMP echo request; on a raw socket, or on one that any user may have.
    Icmp {
        /// The kind of socket.
        raw: bool,
        /// Where to.
        to: SocketAddr,
    },
    /// Looks for network interfaces that are more than a name.
    Interfaces,
    /// Looks for virtio and PCI devices other than those of each bottle.
    Devices,
    /// Opens a device for reading and writing. To root, all in the guest belongs, and this shows nothing.
    Open(String),
    /// Looks for mounted directories of the host's other than on these mount points.
    Mounts(Vec<String>),
    /// Mounts a directory of the host's by its tag, and looks for what is no part of the virtual root.
    Mount(String),
}

/// How a socket is to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    /// Stream.
    Tcp,
    /// Datagram.
    Udp,
}

/// A socket of TSI's, made by the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TsiSocket {
    /// TCP, of the address's family.
    Stream,
    /// UDP, of the address's family.
    Datagram,
    /// None, though the request names one.
    None,
}

/// What TSI is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TsiRequest {
    /// Connects.
    Connect(TsiSocket, SocketAddr),
    /// Connects a UNIX socket, stream or datagram, to a path, or to an abstract name (which begins with NUL).
    ConnectUnix {
        /// `SOCK_STREAM` or `SOCK_DGRAM`.
        stream: bool,
        /// Path or name.
        path: Vec<u8>,
    },
    /// Sends a datagram.
    Send(SocketAddr),
    /// Listens.
    Listen(SocketAddr),
    /// Accepts.
    Accept,
    /// Any bytes, to a port of TSI's.
    Raw {
        /// The port.
        port: u32,
        /// What is said to be an attempt at what.
        bytes: Vec<u8>,
    },
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeOutcome {
    /// With this error number.
    Refused(i32),
    /// Nobody answered, for as long as was waited.
    Silence,
    /// There was no error. Whether it arrived, only the other end knows.
    Sent,
    /// It worked; what the other end said first.
    Reached(Vec<u8>),
    /// There is nothing there to be found.
    Nothing,
    /// There is: what.
    Found(String),
    /// It could not be tried.
    Failed(String),
}

/// Writes one of the two messages.
///
/// # Errors
/// When it can't be written, or is too large.
pub fn write_probe(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let bytes = postcard::to_stdvec(message).map_err(io::Error::other)?;
    let len = u32::try_from(bytes.len()).ok().filter(|len| *len <= LIMIT_BYTES);
    let len = len.ok_or_else(|| io::Error::other("too large"))?;
    to.write_all(&[&len.to_le_bytes()[..], &bytes].concat())?;
    to.flush()
}

/// Reads one.
///
/// # Errors
/// When it can't be read, is too large, or garbled.
pub fn read_probe<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<T> {
    let invalid =
        |error: &dyn std::fmt::Display| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
    let mut len = [0; 4];
    from.read_exact(&mut len)?;
    let len = u32::from_le_bytes(len);
    if len > LIMIT_BYTES {
        return Err(invalid(&"too large"));
    }
    let mut bytes = Vec::new();
    from.take(len.into()).read_to_end(&mut bytes)?;
    postcard::from_bytes(&bytes).map_err(|error| invalid(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_arrives_and_a_cut_or_huge_one_does_not() {
        let report = ProbeReport {
            as_root: vec![ProbeOutcome::Refused(13), ProbeOutcome::Reached(b"hello".to_vec())],
            as_user: vec![ProbeOutcome::Found("eth0".to_owned()), ProbeOutcome::Silence],
        };
        let mut bytes = Vec::new();
        write_probe(&mut bytes, &report).unwrap();
        assert_eq!(read_probe::<ProbeReport>(&mut &bytes[..]).unwrap(), report);
        for end in 0..bytes.len() {
            assert!(read_probe::<ProbeReport>(&mut &bytes[..end]).is_err(), "cut at {end}");
        }
        assert!(read_probe::<ProbeReport>(&mut &[0xff; 64][..]).is_err());
    }
}
