//! What is tried. Pure: from the policy, and what there is on the host.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use bottle_protocol::AGENT_PORT;
use bottle_protocol::probe::{Attempt, Transport, TsiRequest, TsiSocket};
use libkrun_sys::allowlist::{TsiAllowlist, TsiRuleError};

use crate::vm::AllowRule;

/// Addresses of others: on the internet, of cloud machines' metadata, and of the private networks that a host may be in.
const ELSEWHERE: [&str; 7] = [
    "1.1.1.1:443",
    "8.8.8.8:53",
    "169.254.169.254:80",
    "10.0.0.1:22",
    "172.17.0.1:22",
    "192.168.1.1:80",
    "[2606:4700:4700::1111]:53",
];

/// Where a program would look for names: the system's resolvers of many a host.
const RESOLVERS: [&str; 2] = ["127.0.0.53:53", "1.1.1.1:53"];

/// Of what listens on the host, no more is tried: a machine with so many has something else wrong.
pub(super) const LISTENERS_LIMIT: usize = 512;

/// Devices that lead to memory, to the disk past its file system, or to the host.
const FILES: [&str; 8] = [
    "/dev/mem",
    "/dev/kmem",
    "/dev/port",
    "/proc/kcore",
    "/dev/vda",
    "/dev/hvc0",
    "/dev/kvm",
    "/dev/vhost-vsock",
];

/// What the guest may do, understood.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) rules: Vec<AllowRule>,
    pub(super) allowed: TsiAllowlist,
}

impl Policy {
    pub(super) fn new(rules: Vec<AllowRule>) -> Result<Self, TsiRuleError> {
        let text: Vec<String> = rules.iter().map(ToString::to_string).collect();
        let allowed = TsiAllowlist::parse(text.iter().map(String::as_str))?;
        Ok(Self { rules, allowed })
    }

    /// The rules that name one port of one address.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = SocketAddr> {
        self.rules.iter().filter_map(|rule| {
            let text = rule.to_string();
            let text = text.strip_prefix("tcp:")?.replace("/32:", ":").replace("/128:", ":");
            text.parse().ok()
        })
    }
}

/// What there is on the host that a guest could reach.
#[derive(Debug, Default)]
pub(super) struct Host {
    /// Canaries.
    pub(super) tcp: Vec<SocketAddr>,
    pub(super) udp: Vec<SocketAddr>,
    /// Stream or not, and where.
    pub(super) unix: Vec<(bool, PathBuf)>,
    /// Everybody else's.
    pub(super) listeners: Vec<SocketAddr>,
    /// Nobody listens on these.
    pub(super) free_ports: Vec<u16>,
    /// Where directories of the host's are mounted in the guest because the user said so.
    pub(super) mountpoints: Vec<String>,
}

/// One attempt, and what is to come of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way {
    /// What it is, in words.
    pub(super) what: String,
    pub(super) attempt: Attempt,
    pub(super) expected: Expected,
}

/// What is to come of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    Refused,
    /// If the guest's own kernel connects to somebody in the guest, that is none of the host's concern: the canary tells.
    Unheard,
    /// It is allowed.
    Works,
}

/// All of it.
pub(super) fn ways(policy: &Policy, host: &Host) -> Vec<Way> {
    let mut ways = Ways { allowed: &policy.allowed, ways: Vec::new() };
    for to in &host.tcp {
        for (spelled, to) in spellings(*to) {
            ways.tcp(&format!("the host's {spelled}"), to, Expected::Unheard);
        }
    }
    for to in &host.udp {
        for (spelled, to) in spellings(*to) {
            ways.udp(&format!("the host's {spelled}"), to);
        }
    }
    for (stream, path) in &host.unix {
        let kind = if *stream { "stream" } else { "datagram" };
        let path = path.as_os_str().as_bytes();
        let name = [&[0], path].concat();
        for (what, path) in [("UNIX", path.to_vec()), ("abstract UNIX", name)] {
            let request = TsiRequest::ConnectUnix { stream: *stream, path };
            ways.refused(format!("TSI: the host's {what} {kind} socket"), Attempt::Tsi(request));
        }
    }
    for to in parsed(&ELSEWHERE) {
        ways.tcp(&to.to_string(), to, Expected::Refused);
        ways.udp(&to.to_string(), to);
    }
    for to in parsed(&RESOLVERS) {
        ways.tcp(&format!("DNS on {to}"), to, Expected::Unheard);
        ways.udp(&format!("DNS on {to}"), to);
    }
    for to in host.listeners.iter().take(LISTENERS_LIMIT) {
        let request = TsiRequest::Connect(TsiSocket::Stream, *to);
        if !policy.allowed.permits(to) {
            ways.refused(format!("TSI: {to}, where somebody listens on the host"), Attempt::Tsi(request));
        }
    }
    ways.listeners(host);
    ways.requests_that_lie();
    ways.vsock();
    ways.inside(host);
    for to in policy.endpoints() {
        let datagram = TsiRequest::Connect(TsiSocket::Datagram, to);
        ways.refused(format!("TSI: UDP to {to}, which is allowed for TCP"), Attempt::Tsi(datagram));
        let none = TsiRequest::Connect(TsiSocket::None, to);
        ways.refused(format!("TSI: {to}, without a socket"), Attempt::Tsi(none));
        // The last, so that it shows that nothing before it broke what is allowed.
        ways.add(
            format!("TCP to {to}, which is allowed"),
            Attempt::Connect(Transport::Tcp, to),
            Expected::Works,
        );
    }
    ways.ways
}

struct Ways<'a> {
    allowed: &'a TsiAllowlist,
    ways: Vec<Way>,
}

impl Ways<'_> {
    fn add(&mut self, what: String, attempt: Attempt, expected: Expected) {
        self.ways.push(Way { what, attempt, expected });
    }

    fn refused(&mut self, what: String, attempt: Attempt) {
        self.add(what, attempt, Expected::Refused);
    }

    /// By the guest's kernel, and past it.
    fn tcp(&mut self, what: &str, to: SocketAddr, expected: Expected) {
        if !self.allowed.permits(&to) {
            self.add(format!("TCP to {what}"), Attempt::Connect(Transport::Tcp, to), expected);
            let request = TsiRequest::Connect(TsiSocket::Stream, to);
            self.refused(format!("TSI: TCP to {what}"), Attempt::Tsi(request));
        }
    }

    fn udp(&mut self, what: &str, to: SocketAddr) {
        self.refused(format!("UDP to {what}, connected"), Attempt::Connect(Transport::Udp, to));
        self.refused(format!("UDP to {what}"), Attempt::SendTo(to));
        let connect = TsiRequest::Connect(TsiSocket::Datagram, to);
        self.refused(format!("TSI: UDP to {what}, connected"), Attempt::Tsi(connect));
        self.refused(format!("TSI: UDP to {what}"), Attempt::Tsi(TsiRequest::Send(to)));
    }

    fn listeners(&mut self, host: &Host) {
        let any = [IpAddr::V4(Ipv4Addr::LOCALHOST), Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::LOCALHOST.into()];
        let mut ports = host.free_ports.iter();
        for (address, port) in any.iter().cycle().zip(ports.by_ref().take(any.len())) {
            let at = SocketAddr::new(*address, *port);
            // It is to work, in the guest.
            self.refused(format!("a listener on {at}"), Attempt::Listen(at));
        }
        for (address, port) in any.iter().cycle().zip(ports.take(any.len())) {
            let at = SocketAddr::new(*address, *port);
            self.refused(format!("TSI: a listener on {at}"), Attempt::Tsi(TsiRequest::Listen(at)));
        }
        let at = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        self.refused("TSI: a listener on any port".to_owned(), Attempt::Tsi(TsiRequest::Listen(at)));
        self.refused("TSI: accept".to_owned(), Attempt::Tsi(TsiRequest::Accept));
    }

    /// Requests that are too short, lie about their length, or name sockets that are not TSI's.
    fn requests_that_lie(&mut self) {
        let agent = AGENT_PORT.to_le_bytes();
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        let proxy = 620;
        let raw: [(&str, u32, Vec<u8>); 13] = [
            ("create, too short", 1024, vec![1, 2, 3]),
            ("connect, empty", 1025, Vec::new()),
            ("connect, too short", 1025, vec![0; 5]),
            ("connect, an address of 4 GiB", 1025, words(&[7, u32::MAX, 2])),
            ("connect, an address of no bytes", 1025, words(&[7, 0, 2])),
            ("connect, an unknown family", 1025, [words(&[7, 16]), vec![0xff; 16]].concat()),
            ("send, an address of 4 GiB", 1027, words(&[7, u32::MAX, 2])),
            ("listen, an address of 4 GiB", 1029, words(&[7, 7, 1, u32::MAX, 2])),
            ("accept, too short", 1030, vec![0; 7]),
            ("create, in the place of the agent's socket", 1024, [&agent[..], &[2, 0, 1, 0]].concat()),
            ("the name of the agent's socket", 1026, words(&[AGENT_PORT, proxy, 1])),
            ("accept, on the agent's socket", 1030, words(&[AGENT_PORT, 0])),
            ("the end of the agent's socket", 1031, words(&[AGENT_PORT, proxy])),
        ];
        for (what, port, bytes) in raw {
            self.refused(format!("TSI: {what}"), Attempt::Tsi(TsiRequest::Raw { port, bytes }));
        }
    }

    fn vsock(&mut self) {
        for (cid, name) in [(2, "the host's"), (0, "the hypervisor's"), (4, "another guest's")] {
            for port in [1, 22, 80, 1024, 1025, AGENT_PORT] {
                self.refused(format!("vsock to {name} port {port}"), Attempt::Vsock { cid, port });
            }
        }
        self.refused("vsock to TSI's own port".to_owned(), Attempt::Vsock { cid: 2, port: 620 });
    }

    fn inside(&mut self, host: &Host) {
        for to in parsed(&["1.1.1.1:0", "192.168.1.1:0"]) {
            for (raw, kind) in [(true, "raw"), (false, "datagram")] {
                self.refused(format!("ICMP to {}, {kind} socket", to.ip()), Attempt::Icmp { raw, to });
            }
        }
        self.refused("network interfaces".to_owned(), Attempt::Interfaces);
        self.refused("virtio and PCI devices".to_owned(), Attempt::Devices);
        for path in FILES {
            self.refused(path.to_owned(), Attempt::Open(path.to_owned()));
        }
        let mounts = Attempt::Mounts(host.mountpoints.clone());
        self.refused("mounted directories of the host's".to_owned(), mounts);
        for tag in ["/dev/root", "root", "shared", "virtiofs"] {
            self.refused(
                format!("a directory of the host's by the tag {tag}"),
                Attempt::Mount(tag.to_owned()),
            );
        }
    }
}

/// The ways to write a loopback address that lead to the same place.
fn spellings(to: SocketAddr) -> Vec<(String, SocketAddr)> {
    let mut ips = vec![to.ip()];
    if let IpAddr::V4(ip) = to.ip() {
        ips.push(ip.to_ipv6_mapped().into());
    }
    match to.ip() {
        IpAddr::V4(Ipv4Addr::LOCALHOST) => {
            ips.extend([Ipv4Addr::UNSPECIFIED.into(), IpAddr::V6(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped())]);
        }
        IpAddr::V6(Ipv6Addr::LOCALHOST) => ips.push(Ipv6Addr::UNSPECIFIED.into()),
        _ => {}
    }
    let all = ips.into_iter().map(|ip| SocketAddr::new(ip, to.port()));
    all.map(|to| (to.to_string(), to)).collect()
}

fn parsed(addresses: &[&str]) -> Vec<SocketAddr> {
    addresses.iter().filter_map(|address| address.parse().ok()).collect()
}

/// A path of the guest's as `/proc/mounts` writes it.
pub(super) fn mountpoint(path: &OsStr) -> String {
    let mut text = String::new();
    for byte in path.as_bytes() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' => text.push_str(&format!("\\{byte:03o}")),
            byte => text.push(char::from(*byte)),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Host {
        Host {
            tcp: parsed(&["127.0.0.1:4001", "[::1]:4002"]),
            udp: parsed(&["127.0.0.1:4003"]),
            unix: vec![(true, "/tmp/x".into())],
            listeners: parsed(&["127.0.0.17:5000", "127.0.0.16:40123"]),
            free_ports: (6000..6006).collect(),
            mountpoints: Vec::new(),
        }
    }

    fn policy(rules: &[&str]) -> Policy {
        Policy::new(rules.iter().map(|rule| rule.parse().unwrap()).collect()).unwrap()
    }

    #[test]
    fn what_is_allowed_is_to_work_and_is_not_an_attempt() {
        let ways = ways(&policy(&["tcp:127.0.0.16/32:40123"]), &host());
        let works: Vec<&Way> = ways.iter().filter(|way| way.expected == Expected::Works).collect();
        let to: SocketAddr = "127.0.0.16:40123".parse().unwrap();
        assert_eq!(works[0].attempt, Attempt::Connect(Transport::Tcp, to));
        assert_eq!((works.len(), ways.last()), (1, Some(works[0])));
        let stream = Attempt::Tsi(TsiRequest::Connect(TsiSocket::Stream, to));
        assert!(ways.iter().all(|way| way.attempt != stream));
        let other = TsiRequest::Connect(TsiSocket::Stream, "127.0.0.17:5000".parse().unwrap());
        assert!(ways.iter().any(|way| way.attempt == Attempt::Tsi(other.clone())));
    }

    #[test]
    fn every_address_and_name_is_understood() {
        assert_eq!(parsed(&ELSEWHERE).len(), ELSEWHERE.len());
        assert_eq!(parsed(&RESOLVERS).len(), RESOLVERS.len());
        let spelled: Vec<String> =
            spellings("127.0.0.1:80".parse().unwrap()).into_iter().map(|(text, _)| text).collect();
        assert_eq!(spelled, ["127.0.0.1:80", "[::ffff:127.0.0.1]:80", "0.0.0.0:80", "[::ffff:0.0.0.0]:80"]);
        assert_eq!(mountpoint(OsStr::new("/a b\\c")), "/a\\040b\\134c");
    }

    #[test]
    fn nothing_is_tried_that_is_allowed_to_all() {
        let ways = ways(&policy(&["tcp:0.0.0.0/0:1-65535", "tcp:[::]/0:1-65535"]), &host());
        assert!(ways.iter().all(|way| !matches!(way.attempt, Attempt::Connect(Transport::Tcp, _))));
    }
}
