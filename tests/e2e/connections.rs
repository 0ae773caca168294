//! A guest's connections to what it may reach.

use std::net::{Ipv4Addr, TcpListener};
use std::thread;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::harness::{Bottle, archive, bottle};

/// More than the soft limit of open files that a process is usually born with, 1,024.
const CONNECTIONS: usize = 1200;

/// Opens so many, keeps all, and reads the byte that comes on the last.
const OPEN: &str = r#"use Socket; my @all; my $to = pack_sockaddr_in($ARGV[0], INADDR_LOOPBACK);
for (1..$ARGV[1]) { my $s; socket($s, AF_INET, SOCK_STREAM, 0) or die "socket $_: $!"; connect($s, $to) or die "connect $_: $!"; push @all, $s }
sysread($all[-1], my $byte, 1); print scalar(@all), " open, $byte\n";"#;

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn many_are_open_at_once() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    thread::spawn(move || {
        let mut all = Vec::new();
        for stream in listener.incoming().take(CONNECTIONS) {
            all.push(stream.unwrap());
        }
        std::io::Write::write_all(all.last_mut().unwrap(), b"x").unwrap();
        thread::park();
    });
    // The launcher is born with the usual limit, whatever ours is.
    let born = ["sh", "-c", "ulimit -Sn 1024; exec \"$@\"", "sh"];
    let image = format!("docker-archive:{}", archive("debian").display());
    let rule = format!("tcp:127.0.0.1:{port}");
    let script = "ulimit -n 4096; exec perl -e \"$1\" \"$2\" \"$3\"";
    let count = CONNECTIONS.to_string();
    let machine = ["vm", "run", "--cpus", "1", "--memory", "512", "--allow", &rule, &image];
    let command = ["--", "sh", "-c", script, "sh", OPEN, &port, &count];
    let args = [&machine[..], &command].concat();
    let ended = Bottle::wrapped(&born, &bottle(), &args).run().expect(0);
    assert_eq!(ended.text(), format!("{CONNECTIONS} open, x\n"), "{}", ended.quoted());
    ended.nothing_left();
}
