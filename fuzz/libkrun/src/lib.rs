//! The vsock device of the patched libkrun, before a guest that sends whatever it likes.
//!
//! ```text
//! bytes ─► script.rs: packets ─► guest.rs: descriptors in the guest's memory ─► the device ─► host.rs: connect(2) and its kin
//! ```
//!
//! The device has an allowlist of one port. Whatever the packets say, it may connect to that port and do nothing else to the host,
//! it may not panic, and it may not read or write outside of the guest's memory (which the address sanitizer sees).

mod guest;
mod host;
pub mod rings;
mod script;

use std::sync::{Mutex, OnceLock, PoisonError};

use guest::Guest;

/// A device lives as long as its VM, and so does this one: it has threads of its own, which never end.
static GUEST: OnceLock<Mutex<Guest>> = OnceLock::new();

/// Sends what `data` describes.
///
/// # Panics
/// When the device does what it may not.
pub fn packets(data: &[u8]) {
    let guest = GUEST.get_or_init(|| Mutex::new(Guest::boot(host::listen())));
    let mut guest = guest.lock().unwrap_or_else(PoisonError::into_inner);
    for packet in script::packets(data, guest.allowed_port()) {
        guest.send(&packet);
    }
    if let Some(what) = host::crime() {
        panic!("the device did what no guest may have done: {what}");
    }
}

/// How many connections to the allowed port the device has made so far.
pub fn connections() -> u64 {
    host::connections()
}
