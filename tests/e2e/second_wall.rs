//! The second wall around real VMMs: that it stands, on every thread, and what it stops when the first is not there.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;

use tempfile::TempDir;

use crate::harness::{Bottle, Running, archive, bottle, vmm_processes};
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
    let log = vmm_log(&running);
    assert!(
        log.starts_with("the VMM is confined by: files (Landlock, version ") && !log.contains("missing"),
        "{log}"
    );
    let vmms = vmm_processes();
    // After the name: state, parent, process group, session.
    let stat = fs::read_to_string(format!("/proc/{}/stat", vmms[0])).unwrap();
    let session = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(3));
    assert_eq!(session, Some(&*vmms[0].to_string()), "{stat}");
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

/// Runs what follows as on a kernel without Landlock: a seccomp filter answers that there is no such call.
const WITHOUT_LANDLOCK: &str = "use POSIX; my $prctl = (uname)[4] eq q(x86_64) ? 157 : 167; \
     my ($load, $equal, $return, $landlock_create_ruleset, $enosys) = (0x20, 0x15, 0x06, 444, 0x50026); \
     my $filter = pack(q(SCCL) x 4, $load, 0, 0, 0, $equal, 0, 1, $landlock_create_ruleset, \
         $return, 0, 0, $enosys, $return, 0, 0, 0x7fff0000); \
     my $program = pack(q(S x6 P), 4, $filter); \
     syscall($prctl, 38, 1, 0, 0, 0) == 0 && syscall($prctl, 22, 2, $program) == 0 or die $!; exec @ARGV";

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_wall_that_is_required_is_there_or_nothing_starts() {
    let image = format!("docker-archive:{}", archive("debian").display());
    let run = |confine: &str| {
        let machine = ["vm", "run", "-i", "--cpus", "1", "--memory", "512"];
        let command = [&*image, "--", "sh", "-c", "echo up; read end"];
        let args = [&machine[..], &["--confine", confine], &command].concat();
        Bottle::wrapped(&["perl", "-e", WITHOUT_LANDLOCK], &bottle(), &args)
    };
    run("require").run().refused(125, &["missing: files", "TCP connections", "signals"]);
    let mut running = run("auto").start();
    let stdin = running.stdin();
    running.until_stdout("up");
    let log = vmm_log(&running);
    assert!(log.starts_with("the VMM is confined by: system calls (seccomp); missing: files"), "{log}");
    drop(stdin);
    running.end().expect(1).nothing_left();
    // It is said, and no failure.
    let whole = Bottle::new(&["doctor"]).run();
    let weaker =
        Bottle::wrapped(&["perl", "-e", WITHOUT_LANDLOCK], &bottle(), &["doctor"]).run().expect(whole.code);
    assert!(whole.text().contains("ok       second wall: files"), "{}", whole.quoted());
    assert!(weaker.text().contains("weaker   second wall: files"), "{}", weaker.quoted());
}

/// What the VMM of the one bottle there says of itself.
fn vmm_log(running: &Running) -> String {
    let mut entries = fs::read_dir(running.state()).unwrap().map(|entry| entry.unwrap().path());
    fs::read_to_string(entries.find(|path| path.is_dir()).unwrap().join("vmm.log")).unwrap()
}

/// The program whose guests the first wall does not hold.
fn no_first_wall() -> PathBuf {
    let program = std::env::var_os("BOTTLE_BIN_NO_FIRST_WALL").map(PathBuf::from);
    program.expect("BOTTLE_BIN_NO_FIRST_WALL is not set: run cargo xtask test")
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn alone_it_stops_other_ports_listeners_and_datagrams() {
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
    let mut running = Bottle::wrapped(&[], &no_first_wall(), &args).start();
    let allowed = format!("tcp 127.0.0.1 {}", port(&allowed));
    let refused =
        [format!("tcp 127.0.0.1 {}", port(&other)), "tcp 1.1.1.1 443".to_owned(), "tcp ::1 22".to_owned()];
    let mut stdin = running.stdin();
    stdin.write_all(format!("{allowed}\n{}\n", refused.join("\n")).as_bytes()).unwrap();
    running.until_stdout(&format!("{allowed}: connected\n"));
    for attempt in refused {
        running.until_stdout(&format!("{attempt}: errno 13\n"));
    }
    assert!(running.stdout().starts_with("listen: 13\n"), "{}", running.stdout());
    // A datagram socket is what no VMM makes: that guest is over, with all that it had not yet been asked for.
    stdin.write_all(b"udp 127.0.0.1 53\n").unwrap();
    let ended = running.end().expect(125);
    for words in ["killed by its seccomp filter", "number 41", "\nhint: "] {
        assert!(ended.stderr.contains(words), "{words}: {}", ended.quoted());
    }
}

/// Mounts all of the host's files, and says of each attempt, one a line, what came of it.
const OPEN: &str = "mount -t virtiofs host /mnt || exit 1; while read line; do printf '%s: ' \"$line\"; \
     sh -c \"$line\" 2>&1 | sed 's/.*: //' | tail -n 1; done";

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn alone_it_keeps_the_users_files() {
    let host = TempDir::new().unwrap();
    for (dir, file) in [("home", "secret"), ("shared", "file")] {
        fs::create_dir(host.path().join(dir)).unwrap();
        fs::write(host.path().join(dir).join(file), "content\n").unwrap();
    }
    let dir = host.path().display();
    let image = format!("docker-archive:{}", archive("debian").display());
    let volume = format!("{dir}/shared:/v");
    let args =
        ["vm", "run", "-i", "--cpus", "1", "--memory", "512", "-v", &volume, &image, "--", "sh", "-c", OPEN];
    let mut running = Bottle::wrapped(&[], &no_first_wall(), &args).start();
    // The same file, by both ways: so it is the host that the guest has before it.
    let worked = ["cat /v/file".to_owned(), format!("cat /mnt{dir}/shared/file")];
    let refused = [
        format!("cat /mnt{dir}/home/secret"),
        format!("echo x > /mnt{dir}/home/secret"),
        format!("echo x > /mnt{dir}/home/new"),
        format!("rm -f /mnt{dir}/home/secret"),
        format!("mv /mnt{dir}/home/secret /mnt{dir}/shared/secret"),
        format!("ls /mnt{dir}/home"),
        "cat /mnt/etc/shadow".to_owned(),
        "cat /mnt/proc/self/environ".to_owned(),
    ];
    // Landlock's word for a file that would get rights by its new directory.
    let linked = [format!("ln /mnt{dir}/home/secret /mnt{dir}/shared/secret")];
    let lines: Vec<&str> = worked.iter().chain(&refused).chain(&linked).map(String::as_str).collect();
    running.feed((lines.join("\n") + "\n").into_bytes());
    let ended = running.end().expect(0);
    let outcomes = ["content", "Permission denied", "Invalid cross-device link"];
    for (attempts, outcome) in [&worked[..], &refused, &linked].into_iter().zip(outcomes) {
        for attempt in attempts {
            let line = format!("{attempt}: {outcome}\n");
            assert!(ended.text().contains(&line), "{attempt}: {}", ended.quoted());
        }
    }
    assert_eq!(fs::read(host.path().join("home/secret")).unwrap(), b"content\n");
    assert_eq!(fs::read_dir(host.path().join("home")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(host.path().join("shared")).unwrap().count(), 1);
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn without_it_the_same_guest_gets_a_file_and_a_port() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("shared")).unwrap();
    fs::write(dir.path().join("secret"), "content\n").unwrap();
    let (allowed, other) = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).into();
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let image = format!("docker-archive:{}", archive("debian").display());
    let rule = format!("tcp:127.0.0.1:{}", port(&allowed));
    let volume = format!("{}/shared:/v", dir.path().display());
    let script =
        format!("mount -t virtiofs host /mnt; cat /mnt{}/secret; exec perl -e \"$1\"", dir.path().display());
    let args = [
        "vm", "run", "-i", "--cpus", "1", "--memory", "512", "--allow", &rule, "-v", &volume, &image, "--",
        "sh", "-c", &script, "sh", PROBE,
    ];
    let without_landlock = ["perl", "-e", WITHOUT_LANDLOCK];
    let mut running = Bottle::wrapped(&without_landlock, &no_first_wall(), &args).start();
    let attempt = format!("tcp 127.0.0.1 {}", port(&other));
    running.feed(format!("{attempt}\n").into_bytes());
    let ended = running.end().expect(0);
    assert_eq!(ended.text(), format!("content\n{attempt}: connected\n"), "{}", ended.quoted());
}
