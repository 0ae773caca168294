//! What all kinds of files have.

use crate::error::Reason;
use crate::inode::encode_device;
use crate::xattr::Xattrs;

/// A time, as in `struct timespec`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds since 1970, negative before.
    pub seconds: i64,
    /// Nanoseconds after that second, less than 1,000,000,000; larger ones are taken for 999,999,999.
    pub nanoseconds: u32,
}

/// Owner, permissions, time and attributes of a file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meta<'a> {
    /// Permission bits with setuid (0o4000), setgid (0o2000) and sticky (0o1000).
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The owner's group.
    pub gid: u32,
    /// Taken for all four times of the file. Times before 1901-12-13 or after 2446-05-10 become the nearest that ext4 can
    /// hold.
    pub mtime: Time,
    /// Extended attributes: full name (`user.mime_type`) and value. Names begin with `user.`, `trusted.` or `security.`, or
    /// are `system.posix_acl_access` or `system.posix_acl_default`, whose values are as `getxattr` gives them.
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

impl Meta<'_> {
    /// Whether a file can have it, to be told before any is made.
    ///
    /// # Errors
    ///
    /// [`Reason::Mode`], [`Reason::Xattr`] or [`Reason::XattrSpace`].
    pub fn check(&self) -> Result<(), Reason> {
        self.encode().map(drop)
    }

    /// The attributes as they are written, once mode and attributes are known to be right.
    pub(crate) fn encode(&self) -> Result<Xattrs, Reason> {
        if self.mode > 0o7777 {
            return Err(Reason::Mode(self.mode));
        }
        Xattrs::encode(self.xattrs)
    }
}

/// The numbers of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// A character device.
    Char {
        /// At most 4095.
        major: u32,
        /// At most 1048575.
        minor: u32,
    },
    /// A block device.
    Block {
        /// At most 4095.
        major: u32,
        /// At most 1048575.
        minor: u32,
    },
}

impl Device {
    /// Whether ext4 can hold its numbers.
    ///
    /// # Errors
    ///
    /// [`Reason::Device`].
    pub fn check(self) -> Result<(), Reason> {
        encode_device(self).map(drop)
    }
}
