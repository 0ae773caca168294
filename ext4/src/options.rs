//! What a file system is made with.

/// What to make. [`Options::new`] has the choices of a plain file system; the fields may be changed.
#[derive(Clone, Debug)]
pub struct Options {
    /// The size of the file system. Rounded down to whole blocks of 4096 bytes, and a last group of blocks (of 128 MiB) that
    /// would be too small for its own tables is left off. At most 16 TiB less one block.
    pub size_bytes: u64,
    /// Identifies the file system, and is the seed of its checksums. All zero stands for none and is refused.
    pub uuid: [u8; 16],
    /// The volume's name: at most 16 bytes, none of them NUL.
    pub label: Vec<u8>,
    /// When the file system was made, in seconds since 1970; before counts as 1970. Should not lie in the future, which
    /// `e2fsck` would remark on.
    pub time: i64,
    /// How many inodes there are to be at least. By default one for each 16 KiB.
    pub inodes: Option<u32>,
    /// Blocks of 4096 bytes in the journal, at least 1024. By default a 256th of the file system, from 4 MiB to 128 MiB.
    pub journal_blocks: Option<u32>,
    /// Seed of the hash by which names are sorted in large directories. By default the UUID: should whoever chooses the
    /// names not know where they lie, it must be random.
    pub hash_seed: [u8; 16],
    /// The part of the blocks that only root may use.
    pub reserved_percent: u8,
}

impl Options {
    /// Defaults for a file system of that size.
    #[must_use]
    pub fn new(size_bytes: u64, uuid: [u8; 16]) -> Self {
        Self {
            size_bytes,
            uuid,
            label: Vec::new(),
            time: 0,
            inodes: None,
            journal_blocks: None,
            hash_seed: uuid,
            reserved_percent: 5,
        }
    }
}
