//! The superblock and the group descriptors. Offsets and flags are those of `struct ext4_super_block` and
//! `struct ext4_group_desc` in the kernel's Documentation/filesystems/ext4/.

use crate::checksum::{START, Seed, crc32c};
use crate::field::{put_halves, put_split, put16, put32, put64};
use crate::geometry::{BLOCKS_PER_GROUP, DESCRIPTOR, Geometry, INODE_SIZE, LOG_FLEX, Tables};
use crate::inode::Inode;
use crate::options::Options;
use crate::reserved::JOURNAL;

pub(crate) const SUPERBLOCK: usize = 1024;

/// has_journal, ext_attr, resize_inode, dir_index
const COMPAT: u32 = 0x04 | 0x08 | 0x10 | 0x20;
/// filetype, extent, 64bit, flex_bg
const INCOMPAT: u32 = 0x02 | 0x40 | 0x80 | 0x200;
/// sparse_super, large_file, huge_file, dir_nlink, extra_isize, metadata_csum
const RO_COMPAT: u32 = 0x01 | 0x02 | 0x08 | 0x20 | 0x40 | 0x400;

/// What is known in the end only.
#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) free_blocks: u64,
    pub(crate) free_inodes: u32,
    /// Blocks that will never be a file's.
    pub(crate) overhead: u64,
    pub(crate) bytes_written: u64,
}

/// The superblock of group number `group`.
pub(crate) fn superblock(
    options: &Options,
    geometry: &Geometry,
    journal: &Inode,
    counts: &Counts,
    group: u32,
) -> [u8; SUPERBLOCK] {
    let mut block = [0; SUPERBLOCK];
    let raw = &mut block[..];
    put32(raw, 0x00, geometry.inodes());
    put_split(raw, 0x04, 0x150, geometry.blocks);
    put_split(raw, 0x08, 0x154, geometry.blocks * u64::from(options.reserved_percent) / 100);
    put_split(raw, 0x0c, 0x158, counts.free_blocks);
    put32(raw, 0x10, counts.free_inodes);
    // Blocks of 1024 bytes shifted by 2, also as clusters.
    put32(raw, 0x18, 2);
    put32(raw, 0x1c, 2);
    put32(raw, 0x20, BLOCKS_PER_GROUP as u32);
    put32(raw, 0x24, BLOCKS_PER_GROUP as u32);
    put32(raw, 0x28, geometry.inodes_per_group);
    // Never checked for the number of mounts.
    put16(raw, 0x36, 0xffff);
    put16(raw, 0x38, 0xef53);
    // Unmounted cleanly; goes on after an error.
    put16(raw, 0x3a, 1);
    put16(raw, 0x3c, 1);
    // Written, checked and made at the same time; 40 bits of seconds.
    let time = options.time.clamp(0, (1 << 40) - 1);
    for (low, high) in [(0x30, 0x274), (0x40, 0x277), (0x108, 0x276)] {
        put32(raw, low, time as u32);
        raw[high] = (time >> 32) as u8;
    }
    // Revision 1, which has all that follows.
    put32(raw, 0x4c, 1);
    put32(raw, 0x54, 11);
    put16(raw, 0x58, INODE_SIZE as u16);
    put16(raw, 0x5a, group as u16);
    put32(raw, 0x5c, COMPAT);
    put32(raw, 0x60, INCOMPAT);
    put32(raw, 0x64, RO_COMPAT);
    raw[0x68..0x78].copy_from_slice(&options.uuid);
    raw[0x78..0x78 + options.label.len()].copy_from_slice(&options.label);
    put16(raw, 0xce, geometry.reserved_descriptor_blocks as u16);
    put32(raw, 0xe0, JOURNAL);
    raw[0xec..0xfc].copy_from_slice(&options.hash_seed);
    // Half MD4; the journal's i_block is kept at 0x10c.
    raw[0xfc] = 1;
    raw[0xfd] = 1;
    put16(raw, 0xfe, DESCRIPTOR as u16);
    // Mounted with user_xattr and acl.
    put32(raw, 0x100, 0x04 | 0x08);
    raw[0x10c..0x148].copy_from_slice(&journal.content);
    put_split(raw, 0x14c, 0x148, journal.size);
    put16(raw, 0x15c, 32);
    put16(raw, 0x15e, 32);
    // Bytes of names count as signed in their hash.
    put32(raw, 0x160, 1);
    raw[0x174] = LOG_FLEX;
    // CRC-32C.
    raw[0x175] = 1;
    put64(raw, 0x178, counts.bytes_written / 1024);
    put32(raw, 0x248, u32::try_from(counts.overhead).unwrap_or(0));
    let checksum = crc32c(START, &raw[..0x3fc]);
    put32(raw, 0x3fc, checksum);
    block
}

/// What a group has in the end.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) tables: Tables,
    pub(crate) free_blocks: u32,
    pub(crate) free_inodes: u32,
    /// Inodes at the end of the table that were never used.
    pub(crate) unused_inodes: u32,
    pub(crate) directories: u32,
    /// Checksums of the bitmaps; `None` for one that is not written, since it follows from the rest.
    pub(crate) block_bitmap: Option<u32>,
    pub(crate) inode_bitmap: Option<u32>,
}

/// The descriptor of group number `group`.
pub(crate) fn descriptor(of: &Group, group: u32, seed: Seed) -> [u8; DESCRIPTOR] {
    const INODE_UNINIT: u16 = 1;
    const BLOCK_UNINIT: u16 = 2;
    // All of the table that is not written reads as zeros.
    const INODE_ZEROED: u16 = 4;
    let mut raw = [0; DESCRIPTOR];
    put_split(&mut raw, 0x00, 0x20, of.tables.block_bitmap);
    put_split(&mut raw, 0x04, 0x24, of.tables.inode_bitmap);
    put_split(&mut raw, 0x08, 0x28, of.tables.inode_table);
    put_halves(&mut raw, 0x0c, 0x2c, of.free_blocks);
    put_halves(&mut raw, 0x0e, 0x2e, of.free_inodes);
    put_halves(&mut raw, 0x10, 0x30, of.directories);
    put_halves(&mut raw, 0x1c, 0x32, of.unused_inodes);
    put_halves(&mut raw, 0x18, 0x38, of.block_bitmap.unwrap_or(0));
    put_halves(&mut raw, 0x1a, 0x3a, of.inode_bitmap.unwrap_or(0));
    let mut flags = INODE_ZEROED;
    if of.inode_bitmap.is_none() {
        flags |= INODE_UNINIT;
    }
    if of.block_bitmap.is_none() {
        flags |= BLOCK_UNINIT;
    }
    put16(&mut raw, 0x12, flags);
    let checksum = crc32c(crc32c(seed.global(), &group.to_le_bytes()), &raw);
    put16(&mut raw, 0x1e, checksum as u16);
    raw
}
