//! What differs by operating system: the same functions for each.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

#[cfg(target_os = "linux")]
pub(crate) use linux::{
    PASSING, begin_writing, create_unnamed, is_of_the_kernel, link_unnamed, make_special,
};
#[cfg(target_os = "macos")]
pub(crate) use macos::{
    PASSING, begin_writing, create_unnamed, is_of_the_kernel, link_unnamed, make_special,
};

/// A file that is neither file, directory nor link.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(target_os = "macos", allow(dead_code, reason = "macOS refuses devices, whatever their numbers"))]
pub(crate) enum Special {
    Fifo,
    Character(u32, u32),
    Block(u32, u32),
}
