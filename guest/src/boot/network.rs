//! Network interfaces. There is no network: TSI forwards connects past all interfaces.

use std::io;
use std::net::Ipv4Addr;

use crate::sys;

/// An address that is never anyone's (TEST-NET-3), as libkrun's own init gives it.
const DUMMY: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(255, 255, 255, 0));

/// The guest's own servers are reached on it.
pub(super) fn loopback() -> io::Result<()> {
    sys::interface_up(c"lo", None)
}

/// An interface with an address, since many programs look for one before they try to connect. A kernel may be built
/// without it.
pub(super) fn dummy() -> io::Result<()> {
    match sys::interface_up(c"dummy0", Some(DUMMY)) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
        result => result,
    }
}
