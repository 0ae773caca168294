//! The system calls that need `unsafe`, each wrapped once.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use bottle_protocol::ExitStatus;
use rustix::fd::BorrowedFd;

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Waits until some child has ended and returns its id, without reaping it.
pub(crate) fn peek_ended_child() -> io::Result<i32> {
    // SAFETY: `siginfo_t` is plain data for which zeroes are valid, and the call writes to it only.
    let info = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        check(libc::waitid(libc::P_ALL, 0, &raw mut info, libc::WEXITED | libc::WNOWAIT))?;
        info
    };
    // SAFETY: a successful waitid fills in the fields of SIGCHLD.
    Ok(unsafe { info.si_pid() })
}

/// Reaps a child that has ended.
pub(crate) fn reap(pid: i32) -> Option<ExitStatus> {
    let mut status = 0;
    // SAFETY: the call writes one int.
    let result = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
    if result != pid {
        return None;
    }
    if libc::WIFSIGNALED(status) {
        Some(ExitStatus::Signal(libc::WTERMSIG(status).unsigned_abs()))
    } else {
        Some(ExitStatus::Code(u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(255)))
    }
}

/// Sends a signal to a process group that is not our own.
pub(crate) fn kill_group(pid: i32, signal: i32) {
    if pid > 1 {
        // SAFETY: no memory is involved; the id is that of a child's own group.
        unsafe { libc::kill(-pid, signal) };
    }
}

/// Sends a signal to every process but this one. Only for process 1, for which that means: of the guest.
pub(crate) fn kill_all(signal: i32) {
    if std::process::id() == 1 {
        // SAFETY: no memory is involved.
        unsafe { libc::kill(-1, signal) };
    }
}

/// Makes an eventfd readable.
pub(crate) fn raise_event(event: &OwnedFd) {
    let _ = rustix::io::write(event, &1u64.to_ne_bytes());
}

/// Takes in the orphans among our descendants, as process 1 does by nature.
pub(crate) fn become_subreaper() -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }).map(drop)
}

/// A vsock socket that listens on `port`.
pub(crate) fn vsock_listen(port: u32) -> io::Result<OwnedFd> {
    let socket = vsock_socket(libc::SOCK_STREAM)?;
    vsock_bind(&socket, port)?;
    // SAFETY: no memory is involved.
    check(unsafe { libc::listen(socket.as_raw_fd(), 128) })?;
    Ok(socket)
}

/// A connection to the host's `port`.
pub(crate) fn vsock_connect(port: u32) -> io::Result<OwnedFd> {
    vsock_connect_to(libc::VMADDR_CID_HOST, port)
}

/// A connection to the `port` of a context.
pub(crate) fn vsock_connect_to(cid: u32, port: u32) -> io::Result<OwnedFd> {
    let socket = vsock_socket(libc::SOCK_STREAM)?;
    let address = vsock_address(cid, port);
    // SAFETY: the address lives through the call, and its length is its own.
    check(unsafe {
        libc::connect(socket.as_raw_fd(), (&raw const address).cast(), size_of_val(&address) as u32)
    })?;
    Ok(socket)
}

/// A vsock datagram socket on `port`.
pub(crate) fn vsock_datagrams(port: u32) -> io::Result<OwnedFd> {
    let socket = vsock_socket(libc::SOCK_DGRAM)?;
    vsock_bind(&socket, port)?;
    Ok(socket)
}

/// The port that a socket has.
pub(crate) fn vsock_port(socket: &OwnedFd) -> io::Result<u32> {
    let mut address = vsock_address(0, 0);
    let mut len = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the address lives through the call, which writes no more than its length.
    check(unsafe { libc::getsockname(socket.as_raw_fd(), (&raw mut address).cast(), &raw mut len) })?;
    Ok(address.svm_port)
}

/// Sends a datagram to the host's `port`.
pub(crate) fn vsock_send_to(socket: &OwnedFd, port: u32, datagram: &[u8]) -> io::Result<()> {
    let address = vsock_address(libc::VMADDR_CID_HOST, port);
    // SAFETY: datagram and address live through the call, and their lengths are their own.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            datagram.as_ptr().cast(),
            datagram.len(),
            0,
            (&raw const address).cast(),
            size_of_val(&address) as u32,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Gives up root's rights, for the calling thread alone: what libc's functions of these names do to all threads.
pub(crate) fn become_user_on_this_thread(uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = (libc::c_long::from(uid), libc::c_long::from(gid));
    let none: *const libc::gid_t = std::ptr::null();
    // SAFETY: no memory is involved but a list of no groups.
    let results = unsafe {
        [
            libc::syscall(libc::SYS_setgroups, 0, none),
            libc::syscall(libc::SYS_setresgid, gid, gid, gid),
            libc::syscall(libc::SYS_setresuid, uid, uid, uid),
        ]
    };
    if results == [0; 3] { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn vsock_socket(kind: c_int) -> io::Result<OwnedFd> {
    // SAFETY: no memory is involved; a descriptor that the call returns is ours alone.
    unsafe {
        let fd = check(libc::socket(libc::AF_VSOCK, kind | libc::SOCK_CLOEXEC, 0))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

fn vsock_bind(socket: &OwnedFd, port: u32) -> io::Result<()> {
    let address = vsock_address(libc::VMADDR_CID_ANY, port);
    // SAFETY: the address lives through the call, and its length is its own.
    check(unsafe {
        libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size_of_val(&address) as u32)
    })
    .map(drop)
}

fn vsock_address(cid: u32, port: u32) -> libc::sockaddr_vm {
    // SAFETY: plain data for which zeroes are valid.
    let mut address: libc::sockaddr_vm = unsafe { std::mem::zeroed() };
    address.svm_family = libc::AF_VSOCK as libc::sa_family_t;
    address.svm_cid = cid;
    address.svm_port = port;
    address
}

/// Brings a network interface up; with an address, gives it that first.
pub(crate) fn interface_up(name: &CStr, address: Option<(Ipv4Addr, Ipv4Addr)>) -> io::Result<()> {
    // SAFETY: no memory is involved; a descriptor that the call returns is ours alone.
    let socket = unsafe {
        OwnedFd::from_raw_fd(check(libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0))?)
    };
    // SAFETY: plain data for which zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(name.to_bytes()) {
        *to = *from as c_char;
    }
    let ioctl = |code: libc::c_ulong, request: &mut libc::ifreq| {
        // SAFETY: these codes read or write one `ifreq`, which lives through the call.
        check(unsafe { libc::ioctl(socket.as_raw_fd(), code as _, std::ptr::from_mut(request)) })
    };
    request.ifr_ifru.ifru_flags = libc::IFF_UP as i16;
    ioctl(libc::SIOCSIFFLAGS, &mut request)?;
    if let Some((address, mask)) = address {
        request.ifr_ifru.ifru_addr = inet(address);
        ioctl(libc::SIOCSIFADDR, &mut request)?;
        request.ifr_ifru.ifru_netmask = inet(mask);
        ioctl(libc::SIOCSIFNETMASK, &mut request)?;
    }
    Ok(())
}

fn inet(address: Ipv4Addr) -> libc::sockaddr {
    // SAFETY: both are plain data of the same size, and zeroes are valid.
    unsafe {
        let mut inet: libc::sockaddr_in = std::mem::zeroed();
        inet.sin_family = libc::AF_INET as libc::sa_family_t;
        inet.sin_addr.s_addr = u32::from_ne_bytes(address.octets());
        std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(inet)
    }
}

/// Sets the clock, in nanoseconds since 1970. Only for process 1: others' clock is not the guest's.
pub(crate) fn set_clock(unix_ns: u64) -> io::Result<()> {
    if std::process::id() != 1 {
        return Ok(());
    }
    // SAFETY: plain data for which zeroes are valid (there may be padding).
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    time.tv_sec = (unix_ns / 1_000_000_000) as libc::time_t;
    time.tv_nsec = (unix_ns % 1_000_000_000) as _;
    // SAFETY: the call reads one timespec.
    check(unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &raw const time) }).map(drop)
}

/// Restarts the machine, which ends libkrun on every architecture.
pub(crate) fn restart() {
    if std::process::id() == 1 {
        // SAFETY: no memory is involved.
        unsafe { libc::reboot(libc::RB_AUTOBOOT) };
    }
}

/// Grows a mounted ext4 file system, on which `file` lies, to that many blocks.
pub(crate) fn resize_ext4(file: impl AsFd, blocks: u64) -> io::Result<()> {
    /// `_IOW('f', 16, __u64)` of the kernel's `ext4.h`.
    const EXT4_IOC_RESIZE_FS: u32 = 0x4008_6610;
    // SAFETY: the call reads one u64, which lives through it.
    check(unsafe { libc::ioctl(file.as_fd().as_raw_fd(), EXT4_IOC_RESIZE_FS as _, &raw const blocks) })
        .map(drop)
}

/// Lets a process have `count` open files, as docker does.
pub(crate) fn allow_open_files(count: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: count, rlim_max: count };
    // SAFETY: the call reads one rlimit.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }).map(drop)
}

/// Makes reads and writes of a descriptor answer at once.
pub(crate) fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    let fd: BorrowedFd<'_> = fd.as_fd();
    let flags = rustix::fs::fcntl_getfl(fd)?;
    Ok(rustix::fs::fcntl_setfl(fd, flags | rustix::fs::OFlags::NONBLOCK)?)
}
