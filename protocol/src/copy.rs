//! What a copy of files consists of, in either direction: an entry, the content of that file, the next entry, the end.
//!
//! ```text
//! Entry "" directory ─ Entry "a" file, 70000 bytes ─ Content 65536 ─ Content 4464 ─ Entry "b" symlink ─ ... ─ End
//! ```
//!
//! The first entry is the root of the copy, and its path is empty: what it is called, and where, the receiver has from
//! the request. All other paths are relative to it, and a directory comes before what is in it.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// What the credit windows count for an entry beside its names: about what it takes in memory.
const ENTRY_COST_BYTES: usize = 128;

/// A copy's next piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyPart {
    /// The next entry. A file's content follows, exactly as much of it as the entry says.
    Entry(Entry),
    /// Of the file that came last.
    Content(Vec<u8>),
    /// That was all.
    End,
}

impl CopyPart {
    /// What it takes of the credit that its sender has.
    pub fn cost(&self) -> u32 {
        let bytes = match self {
            Self::Entry(entry) => ENTRY_COST_BYTES + entry.path.len() + entry.kind.name_bytes(),
            Self::Content(data) => data.len(),
            Self::End => 0,
        };
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

/// A file, directory, link or device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Below the root, without `.`, `..` or an empty name in it; empty for the root itself.
    pub path: ByteBuf,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits, with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last modification: seconds since 1970.
    pub mtime: i64,
    /// And nanoseconds, less than a second.
    pub mtime_ns: u32,
}

/// See [`Entry`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryKind {
    /// A regular file of this size.
    File {
        /// In bytes.
        size: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link, never followed.
    Symlink {
        /// Where it points to; any bytes.
        target: ByteBuf,
    },
    /// Another name of a file that came before.
    HardLink {
        /// That file's path, below the root.
        target: ByteBuf,
    },
    /// A named pipe.
    Fifo,
    /// A socket, which can't be copied: the receiver counts it as left out.
    Socket,
    /// A character device.
    Character {
        /// Its driver.
        major: u32,
        /// Its number there.
        minor: u32,
    },
    /// A block device.
    Block {
        /// Its driver.
        major: u32,
        /// Its number there.
        minor: u32,
    },
}

impl EntryKind {
    fn name_bytes(&self) -> usize {
        match self {
            Self::Symlink { target } | Self::HardLink { target } => target.len(),
            _ => 0,
        }
    }
}

/// Files for the guest; [`CopyPart`]s follow, and the guest answers when it has them all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutRequest {
    /// Where a path begins that is not absolute.
    pub base: Base,
    /// Where to.
    pub path: ByteBuf,
    /// In a directory that exists already, the root gets this name. Without one, the root's content goes there.
    pub name: Option<ByteBuf>,
    /// The directory must exist.
    pub must_exist: bool,
    /// Whose they will be.
    pub owner: Owner,
    /// Files and links that are there already stay as they are.
    pub keep: bool,
}

/// Where a path in the guest begins. Only the guest knows its users' homes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Base {
    /// The bottle's working directory.
    WorkingDir,
    /// The home of the bottle's user.
    Home,
}

/// Whom a file belongs to that the guest gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Owner {
    /// The bottle's user.
    Default,
    /// `name|uid[:group|gid]`, looked up in the guest.
    User(ByteBuf),
    /// Those whose numbers the entries have.
    AsSent,
}

/// Files of the guest, which answers with [`CopyPart`]s.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetRequest {
    /// Where from, seen from the bottle's working directory.
    pub path: ByteBuf,
    /// If that is a symbolic link, what it leads to is meant.
    pub follow: bool,
}

/// What was copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Copied {
    /// Files, directories, links and devices.
    pub entries: u64,
    /// The files' content.
    pub bytes: u64,
    /// Sockets, which are left out.
    pub sockets: u64,
}
