//! Where everything but the files lies: computed from the options, before anything is written.
//!
//! Blocks come in groups of 32,768 (128 MiB). Groups 0, 1 and the powers of 3, 5 and 7 begin with the superblock or a copy
//! of it, the group descriptors, and blocks kept for more of these, so that the file system can grow (`resize_inode`). The
//! bitmaps and inode tables of 16 groups lie together in the first of them (`flex_bg`), so that data has long runs.

use crate::error::Reason;
use crate::options::Options;

pub(crate) const BLOCK: usize = 4096;
pub(crate) const BLOCK_BYTES: u64 = BLOCK as u64;
pub(crate) const BLOCKS_PER_GROUP: u64 = 8 * BLOCK_BYTES;
pub(crate) const INODE_SIZE: usize = 256;
pub(crate) const INODES_PER_BLOCK: u32 = 16;
/// Bytes of a group's descriptor.
pub(crate) const DESCRIPTOR: usize = 64;
const DESCRIPTORS_PER_BLOCK: u32 = 64;
/// Groups whose tables lie together, and its logarithm.
const FLEX: u32 = 1 << LOG_FLEX;
pub(crate) const LOG_FLEX: u8 = 4;
/// By which factor a file system can grow within what is reserved, up to 16 TiB. (The kernel can let it grow beyond that.)
pub const GROWTH: u64 = 64;
/// A last group with fewer blocks for data than that is not worth having.
const MIN_LAST: u64 = 50;
/// As many inodes as one block of bitmap has bits for.
const MAX_INODES_PER_GROUP: u64 = 8 * BLOCK_BYTES;
/// Less than 32 bits of block numbers: the resize inode has no more.
const MAX_BLOCKS: u64 = u32::MAX as u64;

/// Consecutive blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) start: u64,
    pub(crate) len: u64,
}

impl Run {
    pub(crate) fn end(self) -> u64 {
        self.start + self.len
    }
}

/// Where the tables of one group lie.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tables {
    pub(crate) block_bitmap: u64,
    pub(crate) inode_bitmap: u64,
    pub(crate) inode_table: u64,
}

#[derive(Debug)]
pub(crate) struct Geometry {
    pub(crate) blocks: u64,
    pub(crate) inodes_per_group: u32,
    pub(crate) descriptor_blocks: u64,
    pub(crate) reserved_descriptor_blocks: u64,
    /// By group.
    pub(crate) tables: Vec<Tables>,
    /// What is no file's, in order, without overlaps.
    pub(crate) metadata: Vec<Run>,
}

impl Geometry {
    pub(crate) fn new(options: &Options) -> Result<Self, Reason> {
        let too_small = || Reason::Options(format!("{} bytes are too few", options.size_bytes));
        let mut blocks = options.size_bytes / BLOCK_BYTES;
        if blocks > MAX_BLOCKS {
            return Err(Reason::Options(format!("{} bytes, where 16 TiB are the most", options.size_bytes)));
        }
        loop {
            if blocks == 0 {
                return Err(too_small());
            }
            let groups = blocks.div_ceil(BLOCKS_PER_GROUP);
            let inodes = options.inodes.map_or(options.size_bytes >> 14, u64::from);
            let inodes_per_group = inodes.div_ceil(groups).max(1).next_multiple_of(INODES_PER_BLOCK.into());
            if inodes_per_group > MAX_INODES_PER_GROUP || inodes_per_group * groups > u64::from(u32::MAX) {
                return Err(Reason::Options(format!(
                    "{inodes} inodes are too many for {} bytes",
                    options.size_bytes
                )));
            }
            let descriptor_blocks = groups.div_ceil(DESCRIPTORS_PER_BLOCK.into());
            let most = (blocks * GROWTH).min(MAX_BLOCKS).div_ceil(BLOCKS_PER_GROUP);
            // One block of the resize inode names them all.
            let reserved = most
                .div_ceil(DESCRIPTORS_PER_BLOCK.into())
                .saturating_sub(descriptor_blocks)
                .clamp(1, BLOCK_BYTES / 4);
            let mut geometry = Self {
                blocks,
                inodes_per_group: inodes_per_group as u32,
                descriptor_blocks,
                reserved_descriptor_blocks: reserved,
                tables: Vec::new(),
                metadata: Vec::new(),
            };
            let last = groups as u32 - 1;
            let len = blocks - first_block(last);
            if len >= geometry.head(last) + 2 + geometry.inode_table_blocks() + MIN_LAST {
                geometry.place(groups as u32).ok_or_else(too_small)?;
                return Ok(geometry);
            }
            blocks -= len;
        }
    }

    pub(crate) fn groups(&self) -> u32 {
        // Few enough, since block numbers have 32 bits.
        self.blocks.div_ceil(BLOCKS_PER_GROUP) as u32
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.blocks * BLOCK_BYTES
    }

    pub(crate) fn inodes(&self) -> u32 {
        self.inodes_per_group * self.groups()
    }

    fn inode_table_blocks(&self) -> u64 {
        u64::from(self.inodes_per_group / INODES_PER_BLOCK)
    }

    /// The blocks of a group.
    pub(crate) fn group(&self, group: u32) -> Run {
        let start = first_block(group);
        Run { start, len: (self.blocks - start).min(BLOCKS_PER_GROUP) }
    }

    /// Blocks that a group begins with: superblock, descriptors, and those kept for more of them.
    pub(crate) fn head(&self, group: u32) -> u64 {
        match has_superblock(group) {
            true => 1 + self.descriptor_blocks + self.reserved_descriptor_blocks,
            false => 0,
        }
    }

    /// The groups with copies of superblock and descriptors.
    pub(crate) fn copies(&self) -> impl Iterator<Item = u32> {
        (1..self.groups()).filter(|&group| has_superblock(group))
    }

    /// Gives the tables of all groups their places. `None` when there is not enough room.
    fn place(&mut self, groups: u32) -> Option<()> {
        let table = self.inode_table_blocks();
        self.tables = vec![Tables::default(); groups as usize];
        let mut runs: Vec<_> = (0..groups)
            .filter(|&group| self.head(group) > 0)
            .map(|group| Run { start: first_block(group), len: self.head(group) })
            .collect();
        for flex in (0..groups).step_by(FLEX as usize) {
            let members = flex as usize..flex.saturating_add(FLEX).min(groups) as usize;
            let mut next = first_block(flex);
            for group in members.clone() {
                self.tables[group].block_bitmap = self.next_run(&mut next, 1, &mut runs)?;
            }
            for group in members.clone() {
                self.tables[group].inode_bitmap = self.next_run(&mut next, 1, &mut runs)?;
            }
            for group in members {
                self.tables[group].inode_table = self.next_run(&mut next, table, &mut runs)?;
            }
        }
        runs.sort_unstable_by_key(|run| run.start);
        for run in runs {
            match self.metadata.last_mut() {
                Some(last) if last.end() == run.start => last.len += run.len,
                _ => self.metadata.push(run),
            }
        }
        Some(())
    }

    /// The next `len` consecutive blocks from `next` on that are in no group's head.
    fn next_run(&self, next: &mut u64, len: u64, runs: &mut Vec<Run>) -> Option<u64> {
        // A table is shorter than a group, so that it can meet the heads of its first and its last block's group only.
        for block in [*next, *next + len - 1] {
            let group = (block / BLOCKS_PER_GROUP) as u32;
            let head = Run { start: first_block(group), len: self.head(group) };
            if head.len > 0 && *next < head.end() && head.start < *next + len {
                *next = head.end();
            }
        }
        let start = *next;
        *next += len;
        if *next > self.blocks {
            return None;
        }
        runs.push(Run { start, len });
        Some(start)
    }
}

fn first_block(group: u32) -> u64 {
    u64::from(group) * BLOCKS_PER_GROUP
}

/// Whether a group has a superblock of its own (`sparse_super`).
pub(crate) fn has_superblock(group: u32) -> bool {
    let power_of = |base: u32| {
        let mut rest = group;
        while rest > 1 && rest.is_multiple_of(base) {
            rest /= base;
        }
        rest == 1
    };
    group == 0 || [3, 5, 7].into_iter().any(power_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn superblocks_in_powers_of_3_5_and_7() {
        let found: Vec<_> = (0..400).filter(|&group| has_superblock(group)).collect();
        assert_eq!(found, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125, 243, 343]);
    }

    #[test]
    fn nothing_overlaps_whatever_the_size() {
        for size in [2 << 20, 8 << 20, 127 << 20, 128 << 20, 129 << 20, 1 << 30, 5 << 30, 100 << 30, 1 << 40]
        {
            for inodes in [None, Some(1), Some(((size / 4096) - 1).min(1 << 31) as u32)] {
                let geometry = match Geometry::new(&Options { inodes, ..Options::new(size, [1; 16]) }) {
                    Ok(geometry) => geometry,
                    Err(error) => {
                        assert!(
                            size <= 8 << 20 || inodes.is_some_and(|n| n > 1),
                            "{size} {inodes:?} {error}"
                        );
                        continue;
                    }
                };
                assert!(geometry.bytes() <= size && geometry.bytes() + (200 << 20) > size);
                assert!(geometry.inodes() >= inodes.unwrap_or(1));
                let mut end = 0;
                let mut total = 0;
                for run in &geometry.metadata {
                    assert!(run.start > end || end == 0, "{run:?} after {end}");
                    end = run.end();
                    total += run.len;
                }
                assert!(end <= geometry.blocks);
                let heads: u64 = (0..geometry.groups()).map(|group| geometry.head(group)).sum();
                let tables = u64::from(geometry.groups()) * (2 + geometry.inode_table_blocks());
                assert_eq!(total, heads + tables);
            }
        }
    }
}
