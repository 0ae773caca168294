//! Extended attributes: in the inode as far as they fit, else in one block.
//!
//! ```text
//! inode: magic 4 │ entries ──►  0 0 0 0   ◄── values │          offsets count from the first entry
//! block: header 32 │ entries ──►  0 0 0 0   ◄── values │        offsets count from the header
//! entry: name_len u8 │ index u8 │ value's offset u16 │ 0 u32 │ value's size u32 │ hash u32 │ name, to 4 bytes
//! ```

use std::borrow::Cow;

use crate::acl;
use crate::checksum::{Seed, crc32c};
use crate::error::Reason;
use crate::field::{get32, put16, put32};
use crate::geometry::BLOCK;
use crate::inode::XATTR_SPACE;

const MAGIC: u32 = 0xea02_0000;
const HEADER: usize = 32;
const ENTRY: usize = 16;
/// Where the block's hash and checksum are.
const BLOCK_HASH: usize = 12;
const BLOCK_CHECKSUM: usize = 16;

/// Prefixes and whole names that have a number on disk.
const PREFIXES: [(u8, &[u8]); 3] = [(1, b"user."), (4, b"trusted."), (6, b"security.")];
const ACLS: [(u8, &[u8]); 2] = [(2, b"system.posix_acl_access"), (3, b"system.posix_acl_default")];

/// A file's attributes as they will be on disk.
#[derive(Debug)]
pub(crate) struct Xattrs {
    pub(crate) inline: [u8; XATTR_SPACE],
    block: Option<Box<[u8; BLOCK]>>,
}

impl Xattrs {
    pub(crate) fn encode(xattrs: &[(Vec<u8>, Vec<u8>)]) -> Result<Self, Reason> {
        let mut encoded = Self { inline: [0; XATTR_SPACE], block: None };
        if xattrs.is_empty() {
            return Ok(encoded);
        }
        let mut attributes = xattrs
            .iter()
            .map(|(name, value)| Attribute::new(name, value).map_err(|reason| refused(name, reason)))
            .collect::<Result<Vec<_>, _>>()?;
        // The order that the kernel searches blocks in.
        attributes.sort_by_key(|attribute| attribute.key());
        for pair in attributes.windows(2) {
            if pair[0].key() == pair[1].key() {
                return Err(refused(pair[0].full_name, "given twice"));
            }
        }
        let mut inline = Space { bytes: &mut encoded.inline[4..], front: 0, back: XATTR_SPACE - 4 };
        let rest: Vec<_> = attributes.iter().filter(|attribute| !inline.put(attribute, 0)).collect();
        if inline.front > 0 {
            put32(&mut encoded.inline, 0, MAGIC);
        }
        if !rest.is_empty() {
            let mut block = Box::new([0; BLOCK]);
            let mut hash = 0u32;
            let mut space = Space { bytes: &mut block[..], front: HEADER, back: BLOCK };
            for attribute in rest {
                let own = attribute.hash();
                if !space.put(attribute, own) {
                    return Err(Reason::XattrSpace);
                }
                hash = hash.rotate_left(16) ^ own;
            }
            put32(&mut block[..], 0, MAGIC);
            // One inode refers to it, and it is one block.
            put32(&mut block[..], 4, 1);
            put32(&mut block[..], 8, 1);
            put32(&mut block[..], BLOCK_HASH, hash);
            encoded.block = Some(block);
        }
        Ok(encoded)
    }

    pub(crate) fn needs_block(&self) -> bool {
        self.block.is_some()
    }

    /// The block's content, when its place is known.
    pub(crate) fn into_block(self, place: u64, seed: Seed) -> Option<Box<[u8; BLOCK]>> {
        let mut block = self.block?;
        let checksum = crc32c(crc32c(seed.global(), &place.to_le_bytes()), &block[..]);
        put32(&mut block[..], BLOCK_CHECKSUM, checksum);
        Some(block)
    }
}

fn refused(name: &[u8], reason: &'static str) -> Reason {
    Reason::Xattr { name: String::from_utf8_lossy(name).into_owned(), reason }
}

struct Attribute<'a> {
    full_name: &'a [u8],
    index: u8,
    /// What the index does not stand for.
    name: &'a [u8],
    value: Cow<'a, [u8]>,
}

impl<'a> Attribute<'a> {
    fn new(full_name: &'a [u8], value: &'a [u8]) -> Result<Self, &'static str> {
        if let Some((index, _)) = ACLS.iter().find(|(_, name)| *name == full_name) {
            return Ok(Self { full_name, index: *index, name: b"", value: acl::on_disk(value)?.into() });
        }
        let (index, name) = PREFIXES
            .iter()
            .find_map(|(index, prefix)| Some((*index, full_name.strip_prefix(*prefix)?)))
            .ok_or("ext4 has no place for names like this")?;
        match (name.len(), full_name.len()) {
            (0, _) => Err("the name ends with its prefix"),
            (_, ..=255) if name.contains(&0) => Err("a NUL in the name"),
            // The kernel takes the prefix as a part of it.
            (_, ..=255) => Ok(Self { full_name, index, name, value: value.into() }),
            _ => Err("a name of more than 255 bytes"),
        }
    }

    fn key(&self) -> (u8, usize, &'a [u8]) {
        (self.index, self.name.len(), self.name)
    }

    /// The hash over name and value that entries in blocks have.
    fn hash(&self) -> u32 {
        let name = self.name.iter().fold(0u32, |hash, &byte| hash.rotate_left(5) ^ u32::from(byte));
        self.value.chunks(4).fold(name, |hash, bytes| {
            let mut word = [0; 4];
            word[..bytes.len()].copy_from_slice(bytes);
            hash.rotate_left(16) ^ get32(&word, 0)
        })
    }
}

/// Where entries and values go. Entries grow from the front, values from the back.
struct Space<'a> {
    bytes: &'a mut [u8],
    front: usize,
    back: usize,
}

impl Space<'_> {
    /// Puts an attribute in; false when there is no room for it.
    fn put(&mut self, attribute: &Attribute<'_>, hash: u32) -> bool {
        let entry_len = (ENTRY + attribute.name.len()).next_multiple_of(4);
        let value_len = attribute.value.len().next_multiple_of(4);
        // Four zero bytes end the entries.
        if self.front + entry_len + 4 + value_len > self.back {
            return false;
        }
        self.back -= value_len;
        let value = &attribute.value;
        self.bytes[self.back..self.back + value.len()].copy_from_slice(value);
        let entry = &mut self.bytes[self.front..self.front + entry_len];
        entry[0] = attribute.name.len() as u8;
        entry[1] = attribute.index;
        // An empty value has no place.
        put16(entry, 2, if value.is_empty() { 0 } else { self.back as u16 });
        put32(entry, 8, value.len() as u32);
        put32(entry, 12, hash);
        entry[ENTRY..ENTRY + attribute.name.len()].copy_from_slice(attribute.name);
        self.front += entry_len;
        true
    }
}
