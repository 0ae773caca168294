//! What differs by operating system: the same functions for each.
//!
//! A process is never ended by a number that was written down: a number may have become that of another. The system says who
//! listens on a socket ([`Peer`]), and a connection that is still open afterwards says that they still do.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;
mod unix;

#[cfg(target_os = "linux")]
pub(super) use linux::{Peer, end_of};
#[cfg(target_os = "macos")]
pub(super) use macos::{Peer, end_of};
pub(super) use unix::from_background;
