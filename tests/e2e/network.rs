//! Both ends of attempts to get out: the prober that runs in a guest, and listeners on the host that should not hear of
//! it.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

/// Perl, which every Debian image has. Reads lines, answers each with itself, a colon and the result:
///
/// - `tcp ADDRESS PORT` and `udp ADDRESS PORT`: `connected`, `sent`, or `errno NUMBER`;
/// - `proxy`: a request through `$HTTP_PROXY`, and the page that came;
/// - `serve`: whether a server on 127.0.0.1 port 0 serves a client beside it;
/// - `hold`: listens on two ports, and keeps them.
///
/// No single quotes in here: it is quoted with them.
pub(crate) const PROBE: &str = r#"
use Socket qw(:DEFAULT inet_pton pack_sockaddr_in6 AF_INET6);
$| = 1;
sub to { my ($host, $port) = @_;
  return $host =~ /:/ ? (AF_INET6, pack_sockaddr_in6($port, inet_pton(AF_INET6, $host)))
                      : (AF_INET, pack_sockaddr_in($port, inet_aton($host))) }
sub tcp { my ($family, $address) = to(@_); my $s;
  socket($s, $family, SOCK_STREAM, 0) or return "errno " . ($!+0);
  connect($s, $address) ? "connected" : "errno " . ($!+0) }
sub udp { my ($family, $address) = to(@_); my $s; my $t;
  socket($s, $family, SOCK_DGRAM, 0) or return "errno " . ($!+0);
  my $sent = send($s, "from the guest", 0, $address); my $error = $!+0;
  # The other way: connected first.
  socket($t, $family, SOCK_DGRAM, 0); connect($t, $address) and send($t, "from the guest", 0);
  $sent ? "sent" : "errno $error" }
sub listener { my $s; socket($s, AF_INET, SOCK_STREAM, 0) or die; bind($s, pack_sockaddr_in(0, inet_aton($_[0]))) or die "bind: $!";
  listen($s, 5) or die "listen: $!"; $s }
sub serve { my $s = listener("127.0.0.1"); my ($port) = sockaddr_in(getsockname($s));
  if (!fork) { my $c; socket($c, AF_INET, SOCK_STREAM, 0); connect($c, pack_sockaddr_in($port, inet_aton("127.0.0.1"))) or exit 1;
    syswrite($c, "ping\n"); exit(<$c> eq "pong\n" ? 0 : 2) }
  accept(my $a, $s) or die "accept: $!"; my $got = <$a>; syswrite($a, "pong\n"); wait;
  $port && $got eq "ping\n" && $? == 0 ? "served" : "not served: $port $got $?" }
sub proxy { $ENV{HTTP_PROXY} =~ m{^http://([\d.]+):(\d+)$} or return "no proxy"; my ($host, $port, $s) = ($1, $2);
  socket($s, AF_INET, SOCK_STREAM, 0); connect($s, pack_sockaddr_in($port, inet_aton($host))) or return "errno " . ($!+0);
  syswrite($s, "GET http://127.0.0.1:8080/ HTTP/1.0\r\n\r\n"); my $page = join("", <$s>); $page =~ s/\s+/ /g; $page }
my @held;
while (<STDIN>) { chomp; my ($verb, @rest) = split; alarm 60;
  my $answer = $verb eq "tcp" ? tcp(@rest) : $verb eq "udp" ? udp(@rest) : $verb eq "serve" ? serve() : $verb eq "proxy" ? proxy()
    : $verb eq "hold" ? do { push @held, listener("127.0.0.1"), listener("0.0.0.0"); "held" } : "unknown";
  print "$_: $answer\n"; alarm 0 }
"#;

/// For a datagram or connection of our own to arrive on this machine.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(5);

/// On every address of the host, IPv4 and IPv6, TCP and UDP, the same port.
pub(crate) struct Listeners {
    tcp: TcpListener,
    udp: UdpSocket,
}

impl Listeners {
    pub(crate) fn start() -> Self {
        // Linux's sockets on `::` take IPv4 as well.
        let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let (tcp, udp) = (0..100)
            .find_map(|_| {
                let tcp = TcpListener::bind((any, 0)).unwrap();
                let udp = UdpSocket::bind((any, tcp.local_addr().unwrap().port())).ok()?;
                Some((tcp, udp))
            })
            .expect("no port is free in both");
        tcp.set_nonblocking(true).unwrap();
        udp.set_nonblocking(true).unwrap();
        Self { tcp, udp }
    }

    pub(crate) fn port(&self) -> u16 {
        self.tcp.local_addr().unwrap().port()
    }

    /// Nothing has arrived; and these addresses of the host, and its loopback, do reach us from the host itself.
    pub(crate) fn assert_untouched(&self, addresses: &[Ipv4Addr]) {
        match self.tcp.accept() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            other => panic!("a connection arrived: {other:?}"),
        }
        let mut datagram = [0; 64];
        match self.udp.recv_from(&mut datagram) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            other => panic!("a datagram arrived: {other:?}"),
        }
        self.tcp.set_nonblocking(false).unwrap();
        self.udp.set_nonblocking(false).unwrap();
        self.udp.set_read_timeout(Some(ARRIVAL_LIMIT)).unwrap();
        let loopback = [
            IpAddr::from(Ipv4Addr::LOCALHOST),
            Ipv4Addr::new(127, 0, 0, 16).into(),
            Ipv6Addr::LOCALHOST.into(),
        ];
        for address in loopback.into_iter().chain(addresses.iter().map(|address| IpAddr::V4(*address))) {
            let there = SocketAddr::new(address, self.port());
            TcpStream::connect_timeout(&there, ARRIVAL_LIMIT)
                .unwrap_or_else(|error| panic!("{there}: {error}"));
            self.tcp.accept().unwrap();
            let own: IpAddr =
                if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            UdpSocket::bind((own, 0)).unwrap().send_to(b"from the host", there).unwrap();
            let (length, _) =
                self.udp.recv_from(&mut datagram).unwrap_or_else(|error| panic!("{there}: {error}"));
            assert_eq!(&datagram[..length], b"from the host");
        }
    }
}

/// What listens on the host, as `/proc/net` writes addresses.
pub(crate) fn host_listeners() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let text = std::fs::read_to_string(format!("/proc/net/{table}")).unwrap();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            // 0A: LISTEN; 07: a UDP socket that is not connected.
            if matches!(fields[3], "0A" | "07") {
                found.insert(format!("{table} {}", fields[1]));
            }
        }
    }
    found
}

/// An address as `/proc/net/tcp` writes it.
pub(crate) fn proc_net(address: Ipv4Addr, port: u16) -> String {
    format!("tcp {:08X}:{port:04X}", u32::from_ne_bytes(address.octets()))
}
