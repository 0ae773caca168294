//! What differs by operating system: the same functions for each.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

#[cfg(target_os = "linux")]
pub(super) use linux::listeners;
#[cfg(target_os = "macos")]
pub(super) use macos::listeners;
