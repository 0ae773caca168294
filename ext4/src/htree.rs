//! A directory's blocks.
//!
//! One block holds all entries if they fit. Otherwise the directory is indexed: sorted by a hash of the names, with a tree
//! above the blocks of entries that says which hashes each begins with. To who does not know of indexes, its blocks look
//! as if they were empty.
//!
//! ```text
//! block 0, the root          nodes, if the root can't span all     leaves
//! ┌───────────────────┐      ┌───────────────────┐                 ┌─────────────────────┐
//! │ . and ..          │      │ empty entry 8     │                 │ entries             │
//! │ info: hash, depth │      ├───────────────────┤                 │                     │
//! ├───────────────────┤      │ limit, count      │                 │                     │
//! │ limit, count      │      │         block     │────────────────►│                     │
//! │         block     │─────►│ hash    block     │ ──►             │                     │
//! │ hash    block  …  │ ──►  │ …  at most 510    │                 │                     │
//! │ at most 507       │      ├───────────────────┤                 ├─────────────────────┤
//! ├───────────────────┤      │ 0 4 │ checksum 4  │                 │ checksum, looking   │
//! │ 0 4 │ checksum 4  │      └───────────────────┘                 │ like an empty entry │
//! └───────────────────┘                                            └─────────────────────┘
//! ```
//!
//! A leaf that begins with the hash that the one before it ends with has the lowest bit set in its hash in the tree.

use crate::checksum::crc32c;
use crate::directory::{Directory, Entry};
use crate::error::Reason;
use crate::field::{put16, put32};
use crate::geometry::BLOCK;
use crate::hash::half_md4;
use crate::inode::Kind;

/// The checksum at the end of blocks with entries.
const TAIL: usize = 12;
/// Bytes for entries in such a block.
const ROOM: usize = BLOCK - TAIL;
/// `.` or `..`
const DOT: usize = 12;
/// Where the pairs of hash and block begin, in the root and in nodes.
const ROOT_PAIRS: usize = 32;
const NODE_PAIRS: usize = 8;
/// How many pairs there may be: the last one's place is the checksum's.
const ROOT_LIMIT: usize = (BLOCK - ROOT_PAIRS) / 8 - 1;
const NODE_LIMIT: usize = (BLOCK - NODE_PAIRS) / 8 - 1;

/// Where the entries of a directory go.
#[derive(Debug)]
pub(crate) struct Layout {
    /// Records in order, sorted by hash if indexed.
    order: Vec<(u32, u32)>,
    /// Where leaves begin: place in `order`, and what the tree has for it. Empty if not indexed.
    leaves: Vec<(usize, u32)>,
    nodes: usize,
}

/// A directory to be written.
pub(crate) struct Blocks<'a> {
    pub(crate) directory: &'a Directory,
    pub(crate) inode: u32,
    /// The inode's checksum seed.
    pub(crate) seed: u32,
}

fn entry_len(name: &[u8]) -> usize {
    (8 + name.len()).next_multiple_of(4)
}

impl Layout {
    pub(crate) fn of(directory: &Directory, hash_seed: [u32; 4]) -> Result<Self, Reason> {
        Self::with(directory, |name| half_md4(name, hash_seed))
    }

    fn with(directory: &Directory, hash: impl Fn(&[u8]) -> u32) -> Result<Self, Reason> {
        let mut total = 2 * DOT;
        let mut order = Vec::new();
        for (record, entry) in directory.entries() {
            total = total.saturating_add(entry_len(entry.name));
            order.push((0, record));
        }
        if total <= ROOM {
            return Ok(Self { order, leaves: Vec::new(), nodes: 0 });
        }
        let len = |record| directory.entry(record).map_or(0, |entry| entry_len(entry.name));
        for (hashed, record) in &mut order {
            *hashed = directory.entry(*record).map_or(0, |entry| hash(entry.name));
        }
        order.sort_unstable();
        let mut leaves = Vec::new();
        let mut used = BLOCK;
        let mut last = None;
        for (place, &(hash, record)) in order.iter().enumerate() {
            used += len(record);
            if used > ROOM {
                used = len(record);
                leaves.push((place, hash | u32::from(last == Some(hash))));
            }
            last = Some(hash);
        }
        let nodes = if leaves.len() <= ROOT_LIMIT { 0 } else { leaves.len().div_ceil(NODE_LIMIT) };
        if nodes > ROOT_LIMIT {
            return Err(Reason::DirectoryTooLarge);
        }
        Ok(Self { order, leaves, nodes })
    }

    pub(crate) fn is_indexed(&self) -> bool {
        !self.leaves.is_empty()
    }

    /// How many blocks the directory has.
    pub(crate) fn blocks(&self) -> u64 {
        1 + (self.nodes + self.leaves.len()) as u64
    }

    /// Fills in block number `index` of the directory.
    pub(crate) fn fill(&self, index: u64, of: &Blocks<'_>, block: &mut [u8; BLOCK]) {
        block.fill(0);
        let index = index as usize;
        if !self.is_indexed() {
            let used = dots(of, block);
            return self.fill_entries(0..self.order.len(), used, of, block);
        }
        let first_leaf = 1 + self.nodes;
        if index == 0 {
            dots(of, block);
            // The second entry seems to go on to the end of the block.
            put16(block, DOT + 4, (BLOCK - DOT) as u16);
            // Half MD4, bytes signed; 8 bytes of information.
            block[28] = 1;
            block[29] = 8;
            block[30] = u8::from(self.nodes > 0);
            if self.nodes == 0 {
                self.fill_pairs(
                    ROOT_PAIRS,
                    ROOT_LIMIT,
                    (0..self.leaves.len()).step_by(1),
                    first_leaf,
                    of,
                    block,
                );
            } else {
                self.fill_pairs(
                    ROOT_PAIRS,
                    ROOT_LIMIT,
                    (0..self.leaves.len()).step_by(NODE_LIMIT),
                    1,
                    of,
                    block,
                );
            }
        } else if index < first_leaf {
            put16(block, 4, BLOCK as u16);
            let start = (index - 1) * NODE_LIMIT;
            let end = (start + NODE_LIMIT).min(self.leaves.len());
            self.fill_pairs(NODE_PAIRS, NODE_LIMIT, (start..end).step_by(1), first_leaf + start, of, block);
        } else {
            let leaf = index - first_leaf;
            let start = self.leaves[leaf].0;
            let end = self.leaves.get(leaf + 1).map_or(self.order.len(), |next| next.0);
            self.fill_entries(start..end, 0, of, block);
        }
    }

    fn fill_entries(
        &self,
        range: std::ops::Range<usize>,
        used: usize,
        of: &Blocks<'_>,
        block: &mut [u8; BLOCK],
    ) {
        let mut used = used;
        // The last entry reaches to the tail.
        let mut last = if used > 0 { DOT } else { 0 };
        for &(_, record) in &self.order[range] {
            if let Some(entry) = of.directory.entry(record) {
                last = used;
                used += put_entry(&mut block[used..ROOM], entry);
            }
        }
        put16(block, last + 4, (ROOM - last) as u16);
        let checksum = crc32c(of.seed, &block[..ROOM]);
        put16(block, ROOM + 4, TAIL as u16);
        block[ROOM + 7] = 0xde;
        put32(block, ROOM + 8, checksum);
    }

    /// Fills in pairs: the first of each of `leaves`, and consecutive blocks from `target` on.
    fn fill_pairs(
        &self,
        at: usize,
        limit: usize,
        leaves: impl ExactSizeIterator<Item = usize>,
        target: usize,
        of: &Blocks<'_>,
        block: &mut [u8; BLOCK],
    ) {
        let count = leaves.len();
        for (pair, leaf) in leaves.enumerate() {
            put32(block, at + 8 * pair, self.leaves[leaf].1);
            put32(block, at + 8 * pair + 4, (target + pair) as u32);
        }
        // What comes before the second hash is in the first block anyway.
        put16(block, at, limit as u16);
        put16(block, at + 2, count as u16);
        let tail = at + 8 * limit;
        let used = crc32c(of.seed, &block[..at + 8 * count]);
        let checksum = crc32c(used, &block[tail..tail + 8]);
        put32(block, tail + 4, checksum);
    }
}

fn dots(of: &Blocks<'_>, block: &mut [u8; BLOCK]) -> usize {
    let kind = Kind::Dir as u8;
    put_entry(block, Entry { inode: of.inode, kind, name: b"." });
    put_entry(&mut block[DOT..], Entry { inode: of.directory.parent, kind, name: b".." });
    2 * DOT
}

fn put_entry(place: &mut [u8], entry: Entry<'_>) -> usize {
    let len = entry_len(entry.name);
    put32(place, 0, entry.inode);
    put16(place, 4, len as u16);
    place[6] = entry.name.len() as u8;
    place[7] = entry.kind;
    place[8..8 + entry.name.len()].copy_from_slice(entry.name);
    len
}
