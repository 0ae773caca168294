//! The second wall around real VMMs: that it stands, on every thread, and what it stops when the first is not there.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;

use crate::harness::{Bottle, archive, vmm_processes};
use crate::network::PROBE;

/// Says what came of listening on all of the host's addresses.
const LISTEN: &str = "use Socket; socket(my $s, AF_INET, SOCK_STREAM, 0); bind($s, pack_sockaddr_in(0, INADDR_ANY)); \
     listen($s, 1); print q(listen: ), $!+0, qq(\\n);";

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn every_thread_of_a_vmm_is_confined() {
    let bottle = Bottle::vm_run("debian", &["-i", "--confine=require"], &["sh", "-c", "echo up; read end"]);
    let mut running = bottle.env("SOME_TOKEN", "of-the-users").start();
    let stdin = running.stdin();
    running.until_stdout("up");
    let bottle =
        fs::read_dir(running.state()).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_dir());
    let log = fs::read_to_string(bottle.unwrap().join("vmm.log")).unwrap();
    assert!(
        log.starts_with("the VMM is confined by: files (Landlock, version ") && !log.contains("missing"),
        "{log}"
    );
    let vmms = vmm_processes();
    let tasks = fs::read_dir(format!("/proc/{}/task", vmms[0])).unwrap();
    let statuses: Vec<String> =
        tasks.map(|task| fs::read_to_string(task.unwrap().path().join("status")).unwrap()).collect();
    assert!(vmms.len() == 1 && statuses.len() > 5, "{vmms:?} {statuses:?}");
    for status in statuses {
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
        assert_eq!((field("Seccomp:"), field("NoNewPrivs:")), ("2", "1"), "{status}");
        // CAP_DAC_OVERRIDE.
        assert_eq!(u64::from_str_radix(field("CapPrm:"), 16).unwrap(), 2, "{status}");
    }
    let environment = fs::read(format!("/proc/{}/environ", vmms[0])).unwrap();
    assert!(
        !environment.windows(5).any(|word| word == b"TOKEN"),
        "{}",
        String::from_utf8_lossy(&environment)
    );
    drop(stdin);
    running.end().expect(1).nothing_left();
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn alone_it_stops_other_ports_listeners_and_datagrams() {
    let program = std::env::var_os("BOTTLE_BIN_NO_FIRST_WALL").map(PathBuf::from);
    let program = program.expect("BOTTLE_BIN_NO_FIRST_WALL is not set: run cargo xtask test");
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (allowed, other) = (listen(), listen());
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let image = format!("docker-archive:{}", archive("debian").display());
    let rule = format!("tcp:127.0.0.1:{}", port(&allowed));
    let script = "perl -e \"$2\"; exec perl -e \"$1\"";
    let args = [
        "vm", "run", "-i", "--cpus", "1", "--memory", "512", "--allow", &rule, &image, "--", "sh", "-c",
        script, "sh", PROBE, LISTEN,
    ];
    let mut running = Bottle::wrapped(&[], &program, &args).start();
    let allowed = format!("tcp 127.0.0.1 {}", port(&allowed));
    let refused =
        [format!("tcp 127.0.0.1 {}", port(&other)), "tcp 1.1.1.1 443".to_owned(), "tcp ::1 22".to_owned()];
    let lines = format!("{allowed}\n{}\nudp 127.0.0.1 53\n", refused.join("\n"));
    running.feed(lines.into_bytes());
    let ended = running.end();
    assert!(ended.text().contains(&format!("{allowed}: connected\n")), "{}", ended.quoted());
    for attempt in refused {
        assert!(ended.text().contains(&format!("{attempt}: errno 13\n")), "{attempt}: {}", ended.quoted());
    }
    assert!(ended.text().starts_with("listen: 13\n"), "{}", ended.quoted());
    // A datagram socket is what no VMM makes: that guest is over.
    let ended = ended.expect(125);
    for words in ["killed by its seccomp filter", "number 41", "\nhint: "] {
        assert!(ended.stderr.contains(words), "{words}: {}", ended.quoted());
    }
}
