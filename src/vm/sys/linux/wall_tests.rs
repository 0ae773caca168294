//! The wall from inside: this test program again, confined like a VMM, tries one thing, and its end says what came of it.
//!
//! No VM is needed, so these run everywhere; what the kernel's Landlock can't do is left out, loudly.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::ptr;

use libc::{c_int, c_long};
use rustix::fs::{AtFlags, CWD, FileType, Mode, chmodat, makedev, mknodat};
use rustix::net::{AddressFamily, SocketType, bind, listen};
use tempfile::TempDir;

use super::wall::{erect_wall, seal_wall, wall_parts};
use crate::vm::confine::{Limits, SharedDir};

/// What the child is to try; with it, where, and in which circumstances.
const ATTEMPT: &str = "BOTTLE_WALL_ATTEMPT";

/// Set where the kernel has all parts, so that nothing goes untested.
const WHOLE_WALL: &str = "BOTTLE_TEST_WHOLE_WALL";

/// The child's exit code for what worked. An errno is another number, and so is what cargo's harness ends with.
const WORKED: u8 = 200;

/// What came of an attempt.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Worked,
    Refused(i32),
    /// By seccomp, which named this call.
    Killed(c_long),
}

const EACCES: Outcome = Outcome::Refused(libc::EACCES);

/// A host with things to protect, and a VM's directory.
struct Host {
    dir: TempDir,
    allowed: TcpListener,
    other: TcpListener,
    _docker: UnixListener,
}

impl Host {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["state", "home", "read", "write"] {
            fs::create_dir(path(name)).unwrap();
        }
        for name in ["base", "state/disk", "state/record", "home/secret", "read/file", "write/file"] {
            fs::write(path(name), "content").unwrap();
        }
        for volume in ["read/link", "write/link"] {
            std::os::unix::fs::symlink(path("home/secret"), path(volume)).unwrap();
        }
        let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let docker = UnixListener::bind(path("home/docker.sock")).unwrap();
        Self { allowed: listen(), other: listen(), _docker: docker, dir }
    }

    /// What a VMM gets that may connect to one port.
    fn attempt(&self, what: &str) -> Outcome {
        self.run(&[what, "network"])
    }

    /// The same, once its guest is up.
    fn sealed(&self, what: &str) -> Outcome {
        self.run(&[what, "network", "sealed"])
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "vm::sys::linux::wall_tests::attempt", "--ignored", "--nocapture"]);
        command.args(["--test-threads", "1"]).env(ATTEMPT, words.join(" ")).current_dir(self.dir.path());
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port().to_string();
        command.env("ALLOWED_PORT", port(&self.allowed)).env("OTHER_PORT", port(&self.other));
        command
    }

    fn run(&self, words: &[&str]) -> Outcome {
        let output = self.command(words).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        match (output.status.code(), output.status.signal()) {
            (Some(code), _) if code == i32::from(WORKED) => Outcome::Worked,
            (Some(code), _) if stderr.is_empty() => Outcome::Refused(code),
            (None, Some(libc::SIGSYS)) => {
                let number = stderr.trim().rsplit(' ').next().unwrap();
                Outcome::Killed(number.parse().unwrap_or_else(|_| panic!("{stderr}")))
            }
            _ => panic!("{words:?}: {} {stderr}", output.status),
        }
    }
}

/// Landlock's version has that part; if not, says so, and fails where all parts are to be had.
fn has(part: &str) -> bool {
    let missing = wall_parts().into_iter().find(|found| found.name == part && found.state.is_err());
    if let Some(missing) = &missing {
        assert!(std::env::var_os(WHOLE_WALL).is_none(), "this kernel lacks a part: {missing}");
        eprintln!("NOT TESTED, this kernel lacks it: {missing}");
    }
    missing.is_none()
}

#[test]
#[ignore = "what the other tests run in a process of its own"]
fn attempt() {
    let Ok(words) = std::env::var(ATTEMPT) else { return };
    let words: Vec<&str> = words.split(' ').collect();
    let dir = std::env::current_dir().unwrap();
    let port = |name: &str| std::env::var(name).unwrap().parse::<u16>().unwrap();
    let (allowed, other) = (port("ALLOWED_PORT"), port("OTHER_PORT"));
    let shared = |name: &str, read_only| SharedDir { path: dir.join(name), read_only };
    let is = |word| words.contains(&word);
    let (state_dir, disk, base) = (dir.join("state"), dir.join("state/disk"), dir.join("base"));
    let mut volumes = Vec::new();
    if is("volumes") || is("reads") {
        volumes.push(shared("read", true));
    }
    if is("volumes") {
        volumes.push(shared("write", false));
    }
    let seals = is("sealed").then_some(!volumes.is_empty());
    let limits = Limits {
        state_dir: &state_dir,
        sockets: Vec::new(),
        disk: &disk,
        base: Some(&base),
        volumes,
        ports: if is("network") { vec![allowed..=allowed] } else { Vec::new() },
    };
    erect_wall(&limits).unwrap();
    if let Some(keeps_opening_files) = seals {
        seal_wall(keeps_opening_files).unwrap();
    }
    let code = match attempt_of(words[0], &dir, allowed, other) {
        Ok(()) => i32::from(WORKED),
        Err(error) => error.raw_os_error().unwrap_or(250),
    };
    // SAFETY: `_exit` has no preconditions; the harness would have words to say.
    unsafe { libc::_exit(code) }
}

fn attempt_of(what: &str, dir: &Path, allowed: u16, other: u16) -> io::Result<()> {
    let open = |name: &str| File::open(dir.join(name)).map(drop);
    let write = |name: &str| OpenOptions::new().write(true).open(dir.join(name)).map(drop);
    let connect = |port| TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).map(drop);
    if let Some((verb, name)) = what.split_once(':') {
        return match verb {
            "read" => open(name),
            "write" => write(name),
            "create" => File::create_new(dir.join(name)).map(drop),
            "list" => fs::read_dir(dir.join(name)).map(drop),
            "unlink" => fs::remove_file(dir.join(name)),
            "chmod" => Ok(chmodat(CWD, dir.join(name), Mode::RWXU, AtFlags::empty())?),
            "whiteout" => Ok(mknodat(CWD, dir.join(name), FileType::CharacterDevice, Mode::RWXU, 0)?),
            "device" => {
                Ok(mknodat(CWD, dir.join(name), FileType::CharacterDevice, Mode::RWXU, makedev(1, 3))?)
            }
            "ioctl" => {
                let request = u64::from_str_radix(name, 16).unwrap();
                // SAFETY: stdin is no device with requests of its own.
                check(unsafe { libc::syscall(libc::SYS_ioctl, 0, request, 0) })
            }
            "unix" => UnixStream::connect(dir.join(name)).map(drop),
            "listen" => UnixListener::bind(dir.join(name)).map(drop),
            "socket" => {
                let numbers: Vec<c_int> = name.split(',').map(|number| number.parse().unwrap()).collect();
                // SAFETY: socket() has no preconditions.
                check(unsafe { libc::socket(numbers[0], numbers[1], numbers[2]) }.into())
            }
            "abstract" => UnixStream::connect_addr(&UnixAddr::from_abstract_name(name)?).map(drop),
            _ => panic!("{what}"),
        };
    }
    match what {
        "connect" => connect(allowed),
        "connect-other" => connect(other),
        // The standard library would set an option in between.
        "bind" => Ok(bind(tcp()?, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?),
        // The kernel chooses the port.
        "listen" => Ok(listen(tcp()?, 1)?),
        "thread" => {
            std::thread::spawn(|| ()).join().unwrap();
            Ok(())
        }
        "wait" => {
            println!("confined");
            io::stdin().read(&mut [0]).map(drop)
        }
        call => check(forbidden(call)),
    }
}

fn tcp() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?)
}

fn check(answer: c_long) -> io::Result<()> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Calls that end a VMM, by their names.
fn forbidden(call: &str) -> c_long {
    let program = CString::new("/bin/true").unwrap();
    let argv = [program.as_ptr(), ptr::null()];
    let byte = [0_u8; 16];
    let address = byte.as_ptr();
    // SAFETY: whatever these would do, they get only pointers that are good for it or null.
    unsafe {
        match call {
            "execve" => libc::execve(program.as_ptr(), argv.as_ptr(), argv[1..].as_ptr().cast()).into(),
            "fork" => libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0),
            "namespace" => libc::syscall(
                libc::SYS_clone,
                libc::CLONE_NEWUSER | libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD,
                0,
                0,
                0,
                0,
            ),
            "unshare" => libc::unshare(libc::CLONE_NEWUSER).into(),
            "setns" => libc::setns(0, 0).into(),
            "mount" => libc::mount(ptr::null(), ptr::null(), ptr::null(), 0, ptr::null()).into(),
            "chroot" => libc::chroot(program.as_ptr()).into(),
            "ptrace" => libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0),
            "process_vm_readv" => libc::syscall(libc::SYS_process_vm_readv, 1, 0, 0, 0, 0, 0),
            "kill" => libc::kill(1, 0).into(),
            "tgkill" => libc::syscall(libc::SYS_tgkill, 1, 1, 0),
            "code" => {
                let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
                libc::mmap(ptr::null_mut(), 4096, libc::PROT_READ | libc::PROT_EXEC, kind, -1, 0) as c_long
            }
            "io_uring" => libc::syscall(libc::SYS_io_uring_setup, 1, 0),
            "bpf" => libc::syscall(libc::SYS_bpf, 0, 0, 0),
            "keyctl" => libc::syscall(libc::SYS_keyctl, 0, 0, 0),
            "dumpable" => libc::prctl(libc::PR_SET_DUMPABLE, 1).into(),
            "tiocsti" => libc::ioctl(0, libc::TIOCSTI, address).into(),
            "fastopen" => libc::sendto(0, address.cast(), 1, libc::MSG_FASTOPEN, ptr::null(), 0) as c_long,
            "sendto" => libc::sendto(0, address.cast(), 1, 0, address.cast(), 16) as c_long,
            "handler" => libc::signal(libc::SIGSYS, libc::SIG_IGN) as c_long,
            "filter" => libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, 0),
            "clock" => libc::clock_settime(libc::CLOCK_REALTIME, address.cast()).into(),
            _ => panic!("{call}"),
        }
    }
}

#[test]
fn tcp_goes_to_the_allowed_port_and_nowhere_else() {
    let host = Host::new();
    assert_eq!(host.attempt("connect"), Outcome::Worked);
    assert_eq!(host.run(&["connect"]), Outcome::Killed(libc::SYS_socket), "no network, no sockets for it");
    if has("TCP connections") {
        assert_eq!(host.attempt("connect-other"), EACCES);
        assert_eq!(host.attempt("bind"), EACCES);
    }
    assert_eq!(host.sealed("connect"), Outcome::Worked);
    assert_eq!(host.sealed("bind"), EACCES);
    assert_eq!(host.sealed("listen"), EACCES);
}

#[test]
fn other_sockets_are_not_to_be_had() {
    let host = Host::new();
    let datagram = [libc::AF_INET, libc::AF_INET6, libc::AF_UNIX].map(|family| (family, libc::SOCK_DGRAM, 0));
    let raw = [(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP), (libc::AF_PACKET, libc::SOCK_RAW, 0)];
    let stream = [
        (libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP),
        (libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_SCTP),
        (libc::AF_NETLINK, libc::SOCK_RAW, 0),
        (libc::AF_VSOCK, libc::SOCK_STREAM, 0),
        (libc::AF_ALG, libc::SOCK_SEQPACKET, 0),
    ];
    for (family, kind, protocol) in datagram.into_iter().chain(raw).chain(stream) {
        let attempt = format!("socket:{family},{kind},{protocol}");
        assert_eq!(host.attempt(&attempt), Outcome::Killed(libc::SYS_socket), "{attempt}");
    }
}

#[test]
fn files_are_the_vms_own() {
    let host = Host::new();
    if !has("files") {
        return;
    }
    for worked in ["read:base", "read:state/disk", "write:state/disk", "listen:state/agent.sock"] {
        assert_eq!(host.attempt(worked), Outcome::Worked, "{worked}");
    }
    for refused in [
        "read:home/secret",
        "read:/etc/passwd",
        "read:/proc/self/maps",
        "write:home/secret",
        "write:base",
        "read:state/record",
        "write:state/record",
        "create:state/new",
        "create:home/new",
        "list:home",
        "list:state",
        "unlink:state/record",
        "unlink:home/secret",
        "listen:home/agent.sock",
    ] {
        assert_eq!(host.attempt(refused), EACCES, "{refused}");
    }
}

#[test]
fn volumes_end_where_they_end() {
    let host = Host::new();
    if !has("files") {
        return;
    }
    let sealed = |what| host.run(&[what, "volumes", "sealed"]);
    for worked in [
        "read:read/file",
        "list:read",
        "read:write/file",
        "write:write/file",
        "create:write/new",
        "chmod:write/file",
    ] {
        assert_eq!(sealed(worked), Outcome::Worked, "{worked}");
    }
    assert_eq!(sealed("device:write/null"), Outcome::Refused(libc::EPERM));
    // Where the directory is itself on an overlayfs, that has none; but the wall does not mind.
    assert_ne!(sealed("whiteout:write/gone"), EACCES);
    for refused in
        ["write:read/file", "create:read/new", "read:read/link", "write:write/link", "read:home/secret"]
    {
        assert_eq!(sealed(refused), EACCES, "{refused}");
    }
}

#[test]
fn volumes_to_read_need_no_calls_that_change_files() {
    let host = Host::new();
    let reads = |what| host.run(&[what, "reads", "sealed"]);
    assert_eq!(reads("read:read/file"), Outcome::Worked);
    assert_eq!(reads("chmod:read/file"), Outcome::Killed(libc::SYS_fchmodat));
    assert_eq!(reads("whiteout:read/gone"), Outcome::Killed(libc::SYS_mknodat));
}

#[test]
fn a_machine_that_runs_is_all_that_is_left_of_kvm() {
    let host = Host::new();
    let not_here = Outcome::Refused(libc::ENOTTY);
    let create = ["ioctl:ae01", "ioctl:ae41", "ioctl:4020ae46", "ioctl:c00caee0"];
    let run = ["ioctl:ae80", "ioctl:4008ae61", "ioctl:4008ae6a"];
    for request in create.iter().chain(&run) {
        assert_eq!(host.attempt(request), not_here, "{request}");
    }
    for request in create {
        assert_eq!(host.sealed(request), EACCES, "{request}");
    }
    for request in run {
        assert_eq!(host.sealed(request), not_here, "{request}");
    }
}

#[test]
fn a_sealed_vmm_has_no_way_to_the_users_programs() {
    let host = Host::new();
    // The one hole of the time before, which is why there is a seal.
    assert_ne!(host.attempt("unix:home/docker.sock"), Outcome::Killed(libc::SYS_socket));
    assert_eq!(host.sealed("unix:home/docker.sock"), EACCES);
    assert_eq!(host.sealed("listen:state/agent.sock"), EACCES);
    assert_eq!(host.sealed("read:base"), EACCES);
    assert_eq!(host.sealed("thread"), Outcome::Worked);
}

#[test]
fn abstract_sockets_are_out_of_reach() {
    let host = Host::new();
    let name = format!("bottle-test-{}", std::process::id());
    let _listener = UnixListener::bind_addr(&UnixAddr::from_abstract_name(&name).unwrap()).unwrap();
    if has("signals and abstract sockets") {
        assert_eq!(host.attempt(&format!("abstract:{name}")), Outcome::Refused(libc::EPERM));
    }
    assert_eq!(host.sealed(&format!("abstract:{name}")), EACCES);
}

#[test]
fn what_no_vmm_does_ends_it() {
    let host = Host::new();
    for (attempt, call) in [
        ("execve", libc::SYS_execve),
        ("fork", libc::SYS_clone),
        ("namespace", libc::SYS_clone),
        ("unshare", libc::SYS_unshare),
        ("setns", libc::SYS_setns),
        ("mount", libc::SYS_mount),
        ("chroot", libc::SYS_chroot),
        ("ptrace", libc::SYS_ptrace),
        ("process_vm_readv", libc::SYS_process_vm_readv),
        ("kill", libc::SYS_kill),
        ("tgkill", libc::SYS_tgkill),
        ("code", libc::SYS_mmap),
        ("io_uring", libc::SYS_io_uring_setup),
        ("bpf", libc::SYS_bpf),
        ("keyctl", libc::SYS_keyctl),
        ("dumpable", libc::SYS_prctl),
        ("tiocsti", libc::SYS_ioctl),
        ("fastopen", libc::SYS_sendto),
        ("sendto", libc::SYS_sendto),
        ("handler", libc::SYS_rt_sigaction),
        ("filter", libc::SYS_seccomp),
        ("clock", libc::SYS_clock_settime),
    ] {
        assert_eq!(host.attempt(attempt), Outcome::Killed(call), "{attempt}");
    }
    assert_eq!(host.attempt("thread"), Outcome::Worked);
}

#[test]
fn the_process_can_win_no_rights_and_leaves_no_core() {
    let host = Host::new();
    let mut child =
        host.command(&["wait", "network"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    let mut stdout = child.stdout.take().unwrap();
    while !said.contains("confined") {
        let mut piece = [0; 64];
        let count = stdout.read(&mut piece).unwrap();
        assert_ne!(count, 0, "it ended after {said:?}");
        said.push_str(&String::from_utf8_lossy(&piece[..count]));
    }
    let proc = PathBuf::from(format!("/proc/{}", child.id()));
    let threads = fs::read_dir(proc.join("task")).unwrap();
    let statuses: Vec<String> =
        threads.map(|task| fs::read_to_string(task.unwrap().path().join("status")).unwrap()).collect();
    let field = |name: &str| {
        // The harness may have a thread beside that of the test.
        let of = |status: &String| {
            status.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
        };
        statuses.iter().filter_map(of).collect::<Vec<_>>()
    };
    assert!(field("NoNewPrivs:").contains(&"1".to_owned()), "{statuses:?}");
    assert!(field("Seccomp:").contains(&"2".to_owned()), "{statuses:?}");
    // Nothing, or CAP_DAC_OVERRIDE, which is the second.
    let capabilities = field("CapEff:");
    assert!(
        capabilities.iter().any(|set| u64::from_str_radix(set, 16).unwrap() & !2 == 0),
        "{capabilities:?}"
    );
    let limits = fs::read_to_string(proc.join("limits")).unwrap();
    let core: Vec<&str> = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap()
        .split_whitespace()
        .collect();
    assert_eq!(core[4..6], ["0", "0"]);
    child.stdin.take().unwrap().write_all(b"x").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(i32::from(WORKED)));
}
