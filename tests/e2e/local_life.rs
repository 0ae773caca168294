//! Servers inside a guest, for clients inside it: all of that goes on behind an allowlist, and nothing of it is on the host.

use std::net::Ipv4Addr;

use crate::harness::Bottle;
use crate::network::{host_listeners, proc_net};

/// Each kind of server with a client in another process; says `KIND: served`, or what went wrong. Then, with its listeners still
/// there: `ports: …`, and waits for the end of stdin. The arguments are the ways to use datagrams.
const LIFE: &str = r#"
use strict; use Socket qw(:DEFAULT inet_pton pack_sockaddr_in6 sockaddr_in6 AF_INET6);
use Fcntl; use POSIX qw(EAGAIN);
$| = 1; my (@held, @ports);
sub ready { my ($s) = @_; my $r = ""; vec($r, fileno($s), 1) = 1; select($r, undef, undef, 10) > 0 }
sub client { my ($domain, $to) = @_; my $pid = fork; return $pid if $pid; my $c;
  socket($c, $domain, SOCK_STREAM, 0) && connect($c, $to) or POSIX::_exit(1); syswrite($c, "ping\n");
  my $got = <$c>; POSIX::_exit($got eq "pong\n" ? 0 : 2) }
sub stream { my ($kind, $domain, $at, $to) = @_; my ($s, $a);
  socket($s, $domain, SOCK_STREAM, 0); bind($s, $at) or return print "$kind: bind $!\n"; listen($s, 5) or return print "$kind: listen $!\n";
  fcntl($s, F_SETFL, O_NONBLOCK | fcntl($s, F_GETFL, 0));
  accept($a, $s) and return print "$kind: accepted nobody\n"; $!+0 == EAGAIN or return print "$kind: accept $!\n";
  my $pid = client($domain, $to->(getsockname($s)));
  ready($s) or return print "$kind: nobody came\n"; accept($a, $s) or return print "$kind: accept $!\n";
  ready($a); fcntl($a, F_SETFL, 0); my $got = <$a>; syswrite($a, "pong\n"); waitpid($pid, 0); push @held, $s;
  print "$kind: ", ($got eq "ping\n" && $? == 0 ? "served" : "$got $?"), "\n" }
sub port { my ($port) = sockaddr_in($_[0]); push @ports, $port; $port }
my $loop = inet_aton("127.0.0.1");
stream("tcp 127.0.0.1", AF_INET, pack_sockaddr_in(0, $loop), sub { pack_sockaddr_in(port($_[0]), $loop) });
stream("tcp 0.0.0.0", AF_INET, pack_sockaddr_in(0, INADDR_ANY), sub { pack_sockaddr_in(port($_[0]), $loop) });
stream("tcp a port", AF_INET, pack_sockaddr_in(18080, INADDR_ANY), sub { pack_sockaddr_in(port($_[0]), $loop) });
my $six = inet_pton(AF_INET6, "::1");
stream("tcp ::1", AF_INET6, pack_sockaddr_in6(0, $six), sub { my ($port) = sockaddr_in6($_[0]); pack_sockaddr_in6($port, $six) });
stream("unix path", AF_UNIX, pack_sockaddr_un("/tmp/life"), sub { pack_sockaddr_un("/tmp/life") });
stream("unix abstract", AF_UNIX, pack_sockaddr_un("\0life"), sub { pack_sockaddr_un("\0life") });
sub datagrams { my ($kind, $domain, $at, $to, $own, $how) = @_; my $s; socket($s, $domain, SOCK_DGRAM, 0);
  bind($s, $at) or return print "$kind: bind $!\n"; my $there = $to->(getsockname($s)); my $pid = fork;
  if (!$pid) { alarm 20; my ($c, $got); socket($c, $domain, SOCK_DGRAM, 0); bind($c, $own) if $own;
    if ($how eq "connected") { connect($c, $there) && send($c, "ping", 0) or POSIX::_exit(1) }
    else { send($c, "ping", 0, $there) or POSIX::_exit(1) }
    POSIX::_exit(3) if $how eq "polled" && !ready($c);
    recv($c, $got, 16, 0); POSIX::_exit($got eq "pong" ? 0 : 2) }
  $how ne "polled" || ready($s) or return print "$kind: nothing came\n";
  my $from = recv($s, my $got, 16, 0); send($s, "pong", 0, $from); waitpid($pid, 0); push @held, $s;
  print "$kind: ", ($got eq "ping" && $? == 0 ? "served" : "$got $?"), "\n" }
alarm 120;
for my $how (@ARGV) {
  datagrams("udp 127.0.0.1 $how", AF_INET, pack_sockaddr_in(0, $loop), sub { pack_sockaddr_in(port($_[0]), $loop) }, "", $how);
  datagrams("udp 0.0.0.0 $how", AF_INET, pack_sockaddr_in(0, INADDR_ANY), sub { pack_sockaddr_in(port($_[0]), $loop) }, "", $how);
}
datagrams("unix datagrams", AF_UNIX, pack_sockaddr_un("/tmp/life-s"), sub { $_[0] }, pack_sockaddr_un("/tmp/life-c"), "polled");
print "ports: @ports\n"; alarm 0; <STDIN>;
"#;

const KINDS: [&str; 7] =
    ["tcp 127.0.0.1", "tcp 0.0.0.0", "tcp a port", "tcp ::1", "unix path", "unix abstract", "unix datagrams"];

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn servers_inside_serve_clients_inside_and_are_nowhere_on_the_host() {
    // Behind TSI, libkrunfw's kernel does not poll a datagram socket that is only bound, and takes one that is connected, and in
    // the guest, for one on the host when it is answered. Nothing outside of that kernel can change it.
    let networks = [
        (&["--allow", "tcp:127.0.0.16:8888"][..], &["blocking"][..]),
        (&[], &["blocking", "connected", "polled"]),
    ];
    for (network, datagrams) in networks {
        let options = [network, &["-i"]].concat();
        let command = [&["perl", "-e", LIFE], datagrams].concat();
        let mut running = Bottle::vm_run("debian", &options, &command).start();
        running.until_stdout("ports: ");
        running.until("the end of the line", |running| running.stdout().ends_with('\n'));
        let text = running.stdout();
        let udp = |how: &&str| ["127.0.0.1", "0.0.0.0"].map(|address| format!("udp {address} {how}"));
        for kind in KINDS.map(str::to_owned).into_iter().chain(datagrams.iter().flat_map(udp)) {
            assert!(text.contains(&format!("{kind}: served\n")), "{kind}: {network:?}: {text}");
        }
        let ports = text.lines().find_map(|line| line.strip_prefix("ports: ")).unwrap();
        let ports: Vec<u16> = ports.split(' ').map(|port| port.parse().unwrap()).collect();
        assert!(ports.len() == 3 + 2 * datagrams.len() && ports.contains(&18080), "{text}");
        let on_host = host_listeners();
        for port in ports {
            for address in [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED] {
                let tcp = proc_net(address, port);
                assert!(!on_host.contains(&tcp), "{tcp} is on the host");
                assert!(!on_host.contains(&tcp.replacen("tcp", "udp", 1)), "{tcp} is on the host, as UDP");
            }
        }
        running.end().expect(0);
    }
}
