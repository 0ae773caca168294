//! What directories hold, in memory until the end: entries may come in any order, and an index needs all of them.

use std::collections::HashMap;
use std::collections::hash_map::{Entry as Slot, RandomState};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

use crate::error::Reason;
use crate::inode::Kind;

/// Names in a directory: a record is inode number (4 bytes), kind, length of the name, and the name.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    /// The inode number of the directory that it is in; its own for the root.
    pub(crate) parent: u32,
    /// Its own record in the parent.
    pub(crate) record: u32,
    pub(crate) subdirectories: u32,
    records: Vec<u8>,
}

const RECORD: usize = 6;

/// A name in a directory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) inode: u32,
    /// As [`Kind`] numbers them.
    pub(crate) kind: u8,
    pub(crate) name: &'a [u8],
}

impl Directory {
    pub(crate) fn new(parent: u32, record: u32) -> Self {
        Self { parent, record, ..Self::default() }
    }

    /// Where the next record will be.
    pub(crate) fn next_record(&self) -> Result<u32, Reason> {
        u32::try_from(self.records.len()).map_err(|_| Reason::DirectoryTooLarge)
    }

    /// Adds an entry, whose name was checked.
    pub(crate) fn push(&mut self, inode: u32, kind: Kind, name: &[u8]) {
        self.records.extend_from_slice(&inode.to_le_bytes());
        self.records.extend_from_slice(&[kind as u8, name.len() as u8]);
        self.records.extend_from_slice(name);
        self.subdirectories += u32::from(kind == Kind::Dir);
    }

    /// The entry of a record, and where the next one is.
    fn read(&self, record: u32) -> Option<(Entry<'_>, u32)> {
        let (head, rest) = self.records.get(record as usize..)?.split_at_checked(RECORD)?;
        let name = rest.get(..usize::from(head[5]))?;
        let inode = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let next = record.checked_add((RECORD + name.len()) as u32)?;
        Some((Entry { inode, kind: head[4], name }, next))
    }

    pub(crate) fn entry(&self, record: u32) -> Option<Entry<'_>> {
        Some(self.read(record)?.0)
    }

    /// All entries, each with its record.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (u32, Entry<'_>)> {
        let mut record = 0;
        std::iter::from_fn(move || {
            let (entry, next) = self.read(record)?;
            Some((std::mem::replace(&mut record, next), entry))
        })
    }
}

/// Finds names in all directories, by a keyed hash of directory and name; those that collide lie at the next number.
#[derive(Debug, Default)]
pub(crate) struct Names {
    keys: RandomState,
    /// Directory and record.
    found: HashMap<u64, (u32, u32), BuildHasherDefault<Hashed>>,
}

/// Where a name is, or would be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found {
    At(u32),
    Free(u64),
}

impl Names {
    /// `read` tells whether the record of the directory has the name.
    pub(crate) fn find(&self, directory: u32, name: &[u8], read: impl Fn(u32) -> bool) -> Found {
        let mut key = self.keys.hash_one((directory, name));
        loop {
            match self.found.get(&key) {
                None => return Found::Free(key),
                Some(&(other, record)) if other == directory && read(record) => return Found::At(record),
                Some(_) => key = key.wrapping_add(1),
            }
        }
    }

    pub(crate) fn insert(&mut self, key: u64, directory: u32, record: u32) {
        if let Slot::Vacant(slot) = self.found.entry(key) {
            slot.insert((directory, record));
        }
    }
}

/// Hashes what is a hash already.
#[derive(Debug, Default)]
pub(crate) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}
