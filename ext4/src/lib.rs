//! Writes a populated ext4 file system into a sparse file, in one pass from the front to the back, without root and
//! without mounting anything.
//!
//! ```
//! use bottle_ext4::{Meta, Options, Writer};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let image = tempfile::tempfile()?;
//! let mut writer = Writer::create(image, Options::new(64 << 20, *b"sixteen bytes ID"))?;
//! let root = writer.root();
//! let etc = writer.dir(root, b"etc", &Meta { mode: 0o755, ..Meta::default() })?;
//! let meta = Meta { mode: 0o644, uid: 1000, gid: 1000, ..Meta::default() };
//! let motd = writer.file(etc, b"motd", &meta, 6, &mut &b"hello\n"[..])?;
//! writer.link(root, b"motd", motd)?;
//! let (image, summary) = writer.finish()?;
//! image.sync_all()?;
//! assert_eq!(summary.size_bytes, 64 << 20);
//! # Ok(())
//! # }
//! ```
//!
//! The image, for each 16 groups of 128 MiB:
//!
//! ```text
//! ┌────────────┬─────────────┬────────────┬─────────┬─────────┬─────────┬─────────────────────────────────────┬──────
//! │ superblock │ descriptors │ kept for   │ block   │ inode   │ inode   │ journal, then contents in the order │ free
//! │            │ of groups   │ more       │ bitmaps │ bitmaps │ tables  │ of the calls, then directories      │
//! └────────────┴─────────────┴────────────┴─────────┴─────────┴─────────┴─────────────────────────────────────┴──────
//!      the head: in group 0,   (reserved)   of all 16 groups                ▲ the cursor goes on ──►
//!      1, 3, 5, 7, 9, 25 …
//! ```
//!
//! What is not written is a hole: a file system of 16 GiB with nothing in it takes less than 1 MiB. Contents are written
//! when their file is made, blocks of zeros are left out; inodes go into their table from front to back; directories are
//! held in memory and written at the end, indexed if they have more than one block. In memory there are the names, some
//! 50 bytes beside each, and nothing of the contents.
//!
//! Features are those of today's `mke2fs -t ext4`: has_journal, ext_attr, resize_inode, dir_index, filetype, extent,
//! 64bit, flex_bg, sparse_super, large_file, huge_file, dir_nlink, extra_isize and metadata_csum; blocks of 4096 bytes,
//! inodes of 256. The resize inode keeps room for growing 64 times.
//!
//! Nothing in an image depends on when or where it is made: the same calls give the same bytes.

mod acl;
mod checksum;
mod content;
mod data;
mod directory;
mod error;
mod extents;
mod field;
mod finish;
mod geometry;
mod hash;
mod hole;
mod htree;
mod inode;
mod meta;
mod options;
mod reserved;
mod superblock;
mod table;
mod writer;
mod xattr;

pub use checksum::checksum;
pub use content::{Content, ContentWriter};
pub use error::{Error, Reason};
pub use finish::Summary;
pub use geometry::GROWTH;
pub use meta::{Device, Meta, Time};
pub use options::Options;
pub use writer::{InodeId, Writer};

/// As many names a file can have.
pub const MAX_LINKS: u32 = 65_000;

/// The largest size of a file: 32 bits of block numbers, of which the last is not used.
pub const MAX_FILE: u64 = ((1 << 32) - 1) * 4096;
