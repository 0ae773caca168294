//! macOS: no files without a name, and devices are not made.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::OFlags;

use super::Special;

/// How a directory is opened on the way to what is in it.
pub(crate) const PASSING: OFlags = OFlags::RDONLY;

/// A file without a name can't be had.
pub(crate) fn create_unnamed(_directory: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    Ok(None)
}

/// There is none to be named.
pub(crate) fn link_unnamed(_file: impl AsFd, _directory: &OwnedFd, _name: &[u8]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A host that loses its power is not what a copy is safe from.
pub(crate) fn begin_writing(_file: impl AsFd) {}

/// Linux's devices have other numbers here.
pub(crate) fn make_special(_directory: &OwnedFd, _name: &str, _special: Special) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// What the kernel makes up is below `/dev` only, and holds devices.
pub(crate) fn is_of_the_kernel(_directory: impl AsFd) -> bool {
    false
}
