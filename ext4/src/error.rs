//! What can go wrong, with the path that it went wrong at.

use std::io;

/// An error, and where in the image it arose.
#[derive(Debug, thiserror::Error)]
#[error("{}{reason}", prefix(.path))]
pub struct Error {
    /// The path in the image, what is not UTF-8 in it replaced; empty where it concerns the image as a whole.
    pub path: String,
    /// What is wrong.
    pub reason: Reason,
}

fn prefix(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!("{path}: ") }
}

/// Why something could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// An option makes no sense, or does not go with the size.
    #[error("{0}")]
    Options(String),
    /// A name that no file can have.
    #[error("{0}")]
    Name(&'static str),
    /// The directory has something of that name already.
    #[error("the name is there already")]
    Exists,
    /// The parent is no directory of this writer.
    #[error("not in a directory")]
    NotADirectory,
    /// There is a `/lost+found`, which is something else than a directory.
    #[error("not a directory, as checkers need it to be")]
    LostFound,
    /// The inode is none of this writer's.
    #[error("no such inode")]
    NoSuchInode,
    /// A second name for a directory.
    #[error("a hard link to a directory")]
    LinkToDirectory,
    /// A file would have more names than ext4 can count.
    #[error("more than {max} hard links to one file", max = crate::MAX_LINKS)]
    TooManyLinks,
    /// Mode bits other than those of permission, setuid, setgid and sticky.
    #[error("mode {0:#o} has more than permission bits")]
    Mode(u16),
    /// A symlink's target that is empty, too long, or has a NUL in it.
    #[error("{0}")]
    Symlink(&'static str),
    /// A device number beyond 12 and 20 bits.
    #[error("device {major}:{minor}, where 4095:1048575 is the most")]
    Device {
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
    /// A file of more blocks than ext4 can count.
    #[error("a file of {0} bytes, where {max} is the most", max = crate::MAX_FILE)]
    FileTooLarge(u64),
    /// A directory that two levels of index can't span.
    #[error("a directory with too many entries")]
    DirectoryTooLarge,
    /// An extended attribute that ext4 can't hold.
    #[error("extended attribute {name:?}: {reason}")]
    Xattr {
        /// Its full name, what is not UTF-8 in it replaced.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// More attributes than an inode and one block can hold.
    #[error("the extended attributes do not fit into the inode and one block of 4096 bytes")]
    XattrSpace,
    /// The file system has no free block left.
    #[error("the file system of {0} bytes is full")]
    Full(u64),
    /// The file system has no free inode left.
    #[error("all {0} inodes of the file system are taken")]
    NoInodes(u32),
    /// The content ended early.
    #[error("the content ends after {got} of {size} bytes")]
    ContentShort {
        /// Bytes read.
        got: u64,
        /// Bytes announced.
        size: u64,
    },
    /// The content goes on after its end.
    #[error("the content is longer than the {0} bytes announced")]
    ContentLong(u64),
    /// The content could not be read.
    #[error("the content can't be read: {0}")]
    Read(io::Error),
    /// The image could not be written, or what was written not be read back.
    #[error("the image can't be written: {0}")]
    Write(io::Error),
}

impl Reason {
    pub(crate) fn at(self, path: impl Into<String>) -> Error {
        Error { path: path.into(), reason: self }
    }
}
