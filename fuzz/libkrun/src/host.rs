//! The host, as the device sees it: the system calls by which something could get out are ours here, and only let through what the
//! allowlist is to let through. libFuzzer has none of them in its own loop.

use std::ffi::{c_int, c_void};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use libc::{sa_family_t, size_t, sockaddr, sockaddr_in, sockaddr_in6, socklen_t, ssize_t};

/// The one port of 127.0.0.1 that is allowed.
static PORT: AtomicU16 = AtomicU16::new(0);
/// From here on, what is called is called by the device.
static ARMED: AtomicBool = AtomicBool::new(false);
/// As many connections to the one port were let through.
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);
/// The first thing that should not have been. A panic in a thread of the device's would end that thread only.
static CRIME: Mutex<Option<String>> = Mutex::new(None);

/// Listens on a port of 127.0.0.1, and says which: whoever connects there gets what they send, and then the end.
pub(crate) fn listen() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port of 127.0.0.1");
    let port = listener.local_addr().expect("the port's number").port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let (mut from, mut to) = (&stream, &stream);
                drop(std::io::copy(&mut from, &mut to));
            });
        }
    });
    PORT.store(port, Ordering::SeqCst);
    ARMED.store(true, Ordering::SeqCst);
    port
}

/// What the device did and may not do, if it did.
pub(crate) fn crime() -> Option<String> {
    CRIME.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// How many connections to the allowed port the device has made so far.
pub(crate) fn connections() -> u64 {
    CONNECTIONS.load(Ordering::SeqCst)
}

/// Notes it, and fails the call.
fn refuse(what: String) -> c_int {
    CRIME.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(what);
    // SAFETY: The thread's own variable.
    unsafe { *libc::__errno_location() = libc::EPERM };
    -1
}

fn armed() -> bool {
    ARMED.load(Ordering::SeqCst)
}

/// Does this lead to 127.0.0.1 and the port, as IPv4 or as IPv6 has it? For Linux, 0.0.0.0 is 127.0.0.1 here. Not the device's own
/// code, on purpose.
unsafe fn is_allowed(addr: *const sockaddr, len: socklen_t) -> bool {
    let port = PORT.load(Ordering::SeqCst);
    let len = len as usize;
    if addr.is_null() || len < size_of::<sa_family_t>() {
        return false;
    }
    // SAFETY: Each has the length that its type takes, as the caller says.
    let (ip, to_port) = unsafe {
        match c_int::from((*addr).sa_family) {
            libc::AF_INET if len >= size_of::<sockaddr_in>() => {
                let addr = addr.cast::<sockaddr_in>().read_unaligned();
                (addr.sin_addr.s_addr.to_ne_bytes(), addr.sin_port)
            }
            libc::AF_INET6 if len >= size_of::<sockaddr_in6>() => {
                let addr = addr.cast::<sockaddr_in6>().read_unaligned();
                let [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ip @ ..] = addr.sin6_addr.s6_addr else {
                    return false;
                };
                (ip, addr.sin6_port)
            }
            _ => return false,
        }
    };
    matches!(ip, [127, 0, 0, 1] | [0, 0, 0, 0]) && u16::from_be(to_port) == port
}

/// connect(2).
///
/// # Safety
/// As connect(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn connect(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int {
    // SAFETY: As our caller says.
    unsafe {
        if armed() && !is_allowed(addr, len) {
            let bytes = std::slice::from_raw_parts(addr.cast::<u8>(), len as usize);
            return refuse(format!("connect() to {bytes:02x?}"));
        }
        CONNECTIONS.fetch_add(armed().into(), Ordering::SeqCst);
        libc::syscall(libc::SYS_connect, fd, addr, len) as c_int
    }
}

/// bind(2).
///
/// # Safety
/// As bind(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bind(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int {
    if armed() {
        return refuse("bind()".to_owned());
    }
    // SAFETY: As our caller says.
    unsafe { libc::syscall(libc::SYS_bind, fd, addr, len) as c_int }
}

/// sendto(2).
///
/// # Safety
/// As sendto(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendto(
    fd: c_int,
    data: *const c_void,
    count: size_t,
    flags: c_int,
    addr: *const sockaddr,
    len: socklen_t,
) -> ssize_t {
    if armed() && !addr.is_null() {
        return refuse("sendto() with an address".to_owned()) as ssize_t;
    }
    // SAFETY: As our caller says.
    unsafe { libc::syscall(libc::SYS_sendto, fd, data, count, flags, addr, len) as ssize_t }
}

/// socket(2): a guest behind an allowlist has TCP, over IPv4 and IPv6.
///
/// # Safety
/// As socket(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn socket(family: c_int, kind: c_int, protocol: c_int) -> c_int {
    let plain_kind = kind & !(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK);
    if armed() && (!matches!(family, libc::AF_INET | libc::AF_INET6) || plain_kind != libc::SOCK_STREAM) {
        return refuse(format!("socket() of family {family} and type {plain_kind}"));
    }
    // SAFETY: As our caller says.
    unsafe { libc::syscall(libc::SYS_socket, family, kind, protocol) as c_int }
}
