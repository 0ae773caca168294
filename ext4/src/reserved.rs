//! The inodes that are no files: the journal, and the one that keeps room for growth.
//!
//! An empty journal is its superblock, and zeros that need not be written. The resize inode has as its blocks those
//! behind the group descriptors that are kept for more of them. Its map is of ext2's kind: a block of pointers to the kept
//! blocks of group 0, each of which is itself a list of those in its place in the groups with copies.
//!
//! ```text
//! i_block[13] ──► pointers ──► kept block of group 0: its copies in groups 1, 3, 5, …
//! ```

use crate::Time;
use crate::checksum::{START, crc32c};
use crate::error::Reason;
use crate::extents::Extents;
use crate::field::put32;
use crate::geometry::{BLOCK, BLOCK_BYTES, Geometry};
use crate::inode::{EXTENTS, Inode, Kind, encode_time};
use crate::writer::Writer;

const RESIZE: u32 = 7;
pub(crate) const JOURNAL: u32 = 8;

/// What the kernel's journal needs at least, and what we give it: a 256th of the file system within limits.
const MIN_JOURNAL: u32 = 1024;
const MAX_JOURNAL: u32 = 32 * MIN_JOURNAL;
const JOURNAL_PART: u64 = 256;

/// Writes both inodes and what they refer to. Returns the journal's.
pub(crate) fn write(writer: &mut Writer) -> Result<Inode, Reason> {
    let time = encode_time(Time { seconds: writer.options.time, nanoseconds: 0 });
    let resize = Inode { time, ..resize(writer)? };
    writer.write_inode(RESIZE, &resize)?;
    let journal = Inode { time, ..journal(writer)? };
    writer.write_inode(JOURNAL, &journal)?;
    Ok(journal)
}

/// How many blocks of the file system are in the journal.
pub(crate) fn journal_blocks(geometry: &Geometry, wanted: Option<u32>) -> Result<u32, Reason> {
    let default = (geometry.blocks / JOURNAL_PART).clamp(MIN_JOURNAL.into(), MAX_JOURNAL.into());
    match wanted {
        None => Ok(default as u32),
        Some(MIN_JOURNAL..) => Ok(wanted.unwrap_or(MIN_JOURNAL)),
        Some(few) => {
            Err(Reason::Options(format!("a journal of {few} blocks, where {MIN_JOURNAL} are the fewest")))
        }
    }
}

fn journal(writer: &mut Writer) -> Result<Inode, Reason> {
    let blocks = journal_blocks(&writer.geometry, writer.options.journal_blocks)?;
    let mut extents = Extents::new(writer.seed.inode(JOURNAL));
    let mut done = 0;
    while done < u64::from(blocks) {
        let run = writer.data.take(u64::from(blocks) - done)?;
        if done == 0 {
            writer.data.write(run.start, &journal_superblock(blocks, &writer.options.uuid))?;
        }
        extents.push(done, run, &mut writer.data)?;
        done += run.len;
    }
    let (content, taken) = extents.finish(&mut writer.data)?;
    Ok(Inode {
        size: u64::from(blocks) * BLOCK_BYTES,
        blocks: taken,
        flags: EXTENTS,
        content,
        ..Inode::new(Kind::File.mode() | 0o600)
    })
}

/// The superblock of a journal without transactions, as the kernel has it for a file system with checksums and block
/// numbers of more than 32 bits. Big-endian, unlike all else.
fn journal_superblock(blocks: u32, uuid: &[u8; 16]) -> [u8; BLOCK] {
    const MAGIC: u32 = 0xc03b_3998;
    const SUPERBLOCK_V2: u32 = 4;
    const INCOMPAT_64BIT: u32 = 0x02;
    const INCOMPAT_CSUM_V3: u32 = 0x10;
    const CRC32C: u8 = 4;
    let mut block = [0; BLOCK];
    let mut put = |at: usize, value: u32| block[at..at + 4].copy_from_slice(&value.to_be_bytes());
    put(0x00, MAGIC);
    put(0x04, SUPERBLOCK_V2);
    put(0x0c, BLOCK as u32);
    put(0x10, blocks);
    // The log begins behind this block, with transaction number 1; that it starts at 0 says that it is empty.
    put(0x14, 1);
    put(0x18, 1);
    put(0x28, INCOMPAT_64BIT | INCOMPAT_CSUM_V3);
    // File systems that use it.
    put(0x40, 1);
    block[0x30..0x40].copy_from_slice(uuid);
    block[0x50] = CRC32C;
    let checksum = crc32c(START, &block[..1024]);
    block[0xfc..0x100].copy_from_slice(&checksum.to_be_bytes());
    block
}

fn resize(writer: &mut Writer) -> Result<Inode, Reason> {
    /// Pointers in a block, and those in the inode itself.
    const POINTERS: u64 = BLOCK_BYTES / 4;
    const DIRECT: u64 = 12;
    /// The place in `i_block` of the block of blocks of pointers.
    const DOUBLE_INDIRECT: usize = 13;
    let geometry = &writer.geometry;
    let kept = geometry.reserved_descriptor_blocks;
    let first = 1 + geometry.descriptor_blocks;
    let mut pointers = [0; BLOCK];
    let mut copies = 0;
    for block in first..first + kept {
        // The place is that of the descriptors which would be there.
        put32(&mut pointers, 4 * ((block - 1) % POINTERS) as usize, block as u32);
        let mut list = [0; BLOCK];
        copies = 0;
        for group in geometry.copies() {
            put32(&mut list, 4 * copies, (geometry.group(group).start + block) as u32);
            copies += 1;
        }
        writer.data.write(block, &list)?;
    }
    let place = writer.data.take_one()?;
    writer.data.write(place, &pointers)?;
    let mut content = [0; 60];
    put32(&mut content, 4 * DOUBLE_INDIRECT, place as u32);
    Ok(Inode {
        size: (DIRECT + POINTERS + POINTERS * POINTERS) * BLOCK_BYTES,
        blocks: 1 + kept * (1 + copies as u64),
        content,
        ..Inode::new(Kind::File.mode() | 0o600)
    })
}
