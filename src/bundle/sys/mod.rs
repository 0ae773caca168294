//! What differs between Linux and macOS: where docker's socket may be, which subnets the host already routes, and
//! how an alias gets onto the loopback interface.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub(super) use linux::*;

#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "macos")]
pub(super) use macos::*;
