//! The guest's clock: right at the start, and right again after the host slept.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::server::since_boot;
use crate::sys;

/// libkrun sends the time to this vsock port, as a datagram, when its host woke up and once a minute. It does so on
/// macOS; on Linux, the VMM asks the agent ([`follow`]).
const TIME_PORT: u32 = 123;

/// Smaller differences are left alone: a clock that jumps does more harm.
const TOLERANCE_NS: u64 = 100_000_000;

/// The host's time is from before the boot, so that a guest's own that is somewhat later is the better one.
const PLAUSIBLE_BOOT_NS: u64 = 3600 * 1_000_000_000;

/// Sets the clock if it cannot be right, by the time at which the host began to make this machine. The kernel has counted
/// since; how long it took until it did is not known here.
pub(super) fn set_from_host(host_ns: u64) {
    let counted: u64 = since_boot().as_nanos().try_into().unwrap_or(0);
    let host_ns = if host_ns == 0 { 0 } else { host_ns.saturating_add(counted) };
    let own = now_ns();
    if host_ns != 0 && (own < host_ns || own > host_ns.saturating_add(PLAUSIBLE_BOOT_NS)) {
        super::warn(sys::set_clock(host_ns), "clock");
    }
}

/// The host says what time it is there.
pub(crate) fn follow(host_ns: u64) {
    if host_ns.abs_diff(now_ns()) > TOLERANCE_NS {
        super::warn(sys::set_clock(host_ns), "clock");
    }
}

/// Takes the time that the host answers with on this connection, without anybody waiting for it.
pub(super) fn take_from(host: OwnedFd) {
    let thread = std::thread::Builder::new().name("first-time".into()).stack_size(64 * 1024);
    let spawned = thread.spawn(move || {
        let mut bytes = [0; 8];
        // A host that does not answer has another way to be followed.
        if std::fs::File::from(host).read_exact(&mut bytes).is_ok() {
            follow(u64::from_le_bytes(bytes));
        }
    });
    super::warn(spawned.map(drop), "clock");
}

/// Starts the thread that takes the host's time.
pub(super) fn follow_host() {
    let Ok(socket) = sys::vsock_datagrams(TIME_PORT) else { return };
    let thread = std::thread::Builder::new().name("clock".into()).stack_size(64 * 1024);
    let spawned = thread.spawn(move || {
        let mut bytes = [0; 8];
        loop {
            match rustix::io::read(&socket, &mut bytes) {
                Ok(8) => follow(u64::from_le_bytes(bytes)),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    crate::log(&format!("the host's time is not taken any more: {error}"));
                    return;
                }
            }
        }
    });
    super::warn(spawned.map(drop), "clock");
}

fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_nanos().try_into().unwrap_or(u64::MAX)
}
