//! What differs by operating system: the same functions for each.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;
mod unix;

#[cfg(target_os = "linux")]
pub(super) use linux::end_of;
#[cfg(target_os = "macos")]
pub(super) use macos::end_of;
pub(super) use unix::from_background;
