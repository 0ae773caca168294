//! Holes in the image's own file.

use std::fs::File;
use std::io;

/// Makes `len` bytes from `start` on a hole. Tells whether it could: elsewhere they stay as they are.
#[cfg(target_os = "linux")]
pub(crate) fn punch(file: &File, start: u64, len: u64) -> io::Result<bool> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    match fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, start, len) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Makes a hole where the system can: here it can't be asked to by safe code.
#[cfg(not(target_os = "linux"))]
pub(crate) fn punch(_: &File, _: u64, _: u64) -> io::Result<bool> {
    Ok(false)
}
