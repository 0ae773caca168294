//! Which blocks a file's content lies in, as a tree of extents that is written as it grows.
//!
//! ```text
//! i_block, 60 bytes          a block, for each entry of the level above
//! ┌──────────────┐           ┌──────────────┐
//! │ header 12    │           │ header 12    │
//! │ 4 entries 12 │──────────►│ 340 entries  │──► … ──► the content
//! └──────────────┘           │ checksum 4   │
//!                            └──────────────┘
//! ```
//!
//! Extents come in the order of the file. A level keeps the entries of its last block only; a full block is written, and
//! its place goes to the level above, so that memory does not grow with the file.

use crate::checksum::crc32c;
use crate::data::Data;
use crate::error::Reason;
use crate::field::{put16, put32};
use crate::geometry::{BLOCK, Run};

const HEADER: usize = 12;
const ENTRY: usize = 12;
const MAGIC: u16 = 0xf30a;
/// Entries in a block, and in an inode.
const BLOCK_ENTRIES: usize = (BLOCK - HEADER) / ENTRY;
const ROOT_ENTRIES: usize = 4;
/// The most blocks of an extent; larger numbers stand for extents that are not written yet.
const MAX_LEN: u64 = 1 << 15;

type Entry = [u8; ENTRY];

#[derive(Debug)]
pub(crate) struct Extents {
    /// The inode's checksum seed.
    seed: u32,
    /// The last extent, which may grow: place in the file, and in the file system.
    last: Option<(u64, Run)>,
    /// Entries not yet in a block, by level from the leaves up.
    levels: Vec<Vec<Entry>>,
    /// Blocks taken, by content and by the tree.
    blocks: u64,
}

impl Extents {
    pub(crate) fn new(seed: u32) -> Self {
        Self { seed, last: None, levels: vec![Vec::new()], blocks: 0 }
    }

    /// Adds content: the blocks of `run` are those of the file from `logical` on.
    pub(crate) fn push(&mut self, logical: u64, run: Run, data: &mut Data) -> Result<(), Reason> {
        self.blocks += run.len;
        let mut logical = logical;
        let mut run = run;
        if let Some((first, last)) = &mut self.last
            && *first + last.len == logical
            && last.end() == run.start
        {
            let more = run.len.min(MAX_LEN - last.len);
            last.len += more;
            logical += more;
            run = Run { start: run.start + more, len: run.len - more };
        }
        while run.len > 0 {
            let part = Run { start: run.start, len: run.len.min(MAX_LEN) };
            if let Some((first, last)) = self.last.replace((logical, part)) {
                self.add(0, extent(first, last), data)?;
            }
            logical += part.len;
            run = Run { start: part.end(), len: run.len - part.len };
        }
        Ok(())
    }

    fn add(&mut self, level: usize, entry: Entry, data: &mut Data) -> Result<(), Reason> {
        if level == self.levels.len() {
            self.levels.push(Vec::new());
        }
        if self.levels[level].len() == BLOCK_ENTRIES {
            self.flush(level, data)?;
        }
        self.levels[level].push(entry);
        Ok(())
    }

    /// Writes a level's entries to a block.
    fn flush(&mut self, level: usize, data: &mut Data) -> Result<(), Reason> {
        let place = data.take_one()?;
        let entries = std::mem::take(&mut self.levels[level]);
        let mut block = [0; BLOCK];
        node(&mut block, &entries, BLOCK_ENTRIES, level);
        let tail = HEADER + BLOCK_ENTRIES * ENTRY;
        let checksum = crc32c(self.seed, &block[..tail]);
        put32(&mut block, tail, checksum);
        data.write(place, &block)?;
        self.blocks += 1;
        let mut index = [0; ENTRY];
        // The first block that lies below, at the same place in both kinds of entries.
        index[..4].copy_from_slice(&entries[0][..4]);
        put32(&mut index, 4, place as u32);
        put16(&mut index, 8, (place >> 32) as u16);
        self.add(level + 1, index, data)
    }

    /// The inode's `i_block`, and how many blocks were taken in all.
    pub(crate) fn finish(mut self, data: &mut Data) -> Result<([u8; 60], u64), Reason> {
        if let Some((first, last)) = self.last.take() {
            self.add(0, extent(first, last), data)?;
        }
        let mut level = 0;
        while level + 1 < self.levels.len() || self.levels[level].len() > ROOT_ENTRIES {
            self.flush(level, data)?;
            level += 1;
        }
        let mut root = [0; 60];
        node(&mut root, &self.levels[level], ROOT_ENTRIES, level);
        Ok((root, self.blocks))
    }
}

/// The `i_block` of a file without content.
pub(crate) fn empty() -> [u8; 60] {
    let mut root = [0; 60];
    node(&mut root, &[], ROOT_ENTRIES, 0);
    root
}

fn extent(logical: u64, run: Run) -> Entry {
    let mut entry = [0; ENTRY];
    put32(&mut entry, 0, logical as u32);
    put16(&mut entry, 4, run.len as u16);
    put16(&mut entry, 6, (run.start >> 32) as u16);
    put32(&mut entry, 8, run.start as u32);
    entry
}

fn node(place: &mut [u8], entries: &[Entry], room: usize, level: usize) {
    put16(place, 0, MAGIC);
    put16(place, 2, entries.len() as u16);
    put16(place, 4, room as u16);
    put16(place, 6, level as u16);
    for (place, entry) in place[HEADER..].chunks_exact_mut(ENTRY).zip(entries) {
        place.copy_from_slice(entry);
    }
}
