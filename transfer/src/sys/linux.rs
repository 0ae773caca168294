//! Linux: files without a name, devices, and file systems that hold no files.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstatfs, linkat, makedev, mknodat, openat};
use rustix::io::Errno;

use super::Special;

/// How a directory is opened on the way to what is in it: the right to list it is not needed.
pub(crate) const PASSING: OFlags = OFlags::PATH;

/// A file in that directory that has no name yet, and is gone if it gets none; `None` where the file system can't.
pub(crate) fn create_unnamed(directory: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    match openat(directory, c".", flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Gives such a file its name.
pub(crate) fn link_unnamed(file: impl AsFd, directory: &OwnedFd, name: &[u8]) -> io::Result<()> {
    match linkat(&file, c"", directory, name, AtFlags::EMPTY_PATH) {
        // Without the right to do it this way.
        Err(Errno::NOENT | Errno::PERM) => {
            let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
            Ok(linkat(CWD, path, directory, name, AtFlags::SYMLINK_FOLLOW)?)
        }
        linked => Ok(linked?),
    }
}

/// Has the file system choose the file's blocks and begin to write them. ext4 would leave that for later, and after a power
/// cut the file would have its name, and nothing in it; as it is, the name is not on the disk before the content.
pub(crate) fn begin_writing(file: impl AsFd) {
    // SAFETY: no memory is involved. Where it can't be done, it is not needed: there is no disk then.
    unsafe { libc::sync_file_range(file.as_fd().as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
}

/// Makes a pipe or a device.
pub(crate) fn make_special(directory: &OwnedFd, name: &str, special: Special) -> io::Result<()> {
    let (kind, device) = match special {
        Special::Fifo => (FileType::Fifo, 0),
        Special::Character(major, minor) => (FileType::CharacterDevice, makedev(major, minor)),
        Special::Block(major, minor) => (FileType::BlockDevice, makedev(major, minor)),
    };
    Ok(mknodat(directory, name, kind, Mode::RUSR | Mode::WUSR, device)?)
}

/// Does the kernel make up what is in this directory? A copy of it would be of no use, and may never end.
pub(crate) fn is_of_the_kernel(directory: impl AsFd) -> bool {
    /// The kernel's `magic.h`: proc, sysfs, cgroup2, devpts, mqueue, debugfs, tracefs, securityfs, bpf.
    const MAGIC: [u32; 9] = [
        0x9fa0,
        0x6265_6572,
        0x6367_7270,
        0x1cd1,
        0x1980_0202,
        0x6462_6720,
        0x7472_6163,
        0x7363_6673,
        0xcafe_4a11,
    ];
    // The field's type depends on the machine; the numbers fit into each.
    fstatfs(directory).is_ok_and(|stat| MAGIC.contains(&(stat.f_type as u32)))
}
