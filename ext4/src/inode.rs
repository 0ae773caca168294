//! An inode, in memory and in the 256 bytes that it has on disk: 128 of old, 32 (`i_extra_isize`) with the finer times and
//! half of the checksum, and 96 for extended attributes. Offsets are those of `struct ext4_inode` in the kernel's
//! Documentation/filesystems/ext4/.

use crate::checksum::{Seed, crc32c};
use crate::error::Reason;
use crate::field::{get16, get32, put_halves, put_split, put16, put32};
use crate::geometry::INODE_SIZE;
use crate::meta::{Device, Time};

/// Where the attributes begin, and how many bytes there are.
const XATTRS: usize = 160;
pub(crate) const XATTR_SPACE: usize = INODE_SIZE - XATTRS;
const EXTRA_SIZE: u16 = (XATTRS - 128) as u16;

/// `i_block` is the root of an extent tree.
pub(crate) const EXTENTS: u32 = 0x8_0000;
/// The directory is indexed.
pub(crate) const INDEX: u32 = 0x1000;

/// What a file is: the upper bits of its mode, and the type in directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    File = 1,
    Dir = 2,
    Char = 3,
    Block = 4,
    Fifo = 5,
    Symlink = 7,
}

impl Kind {
    pub(crate) fn mode(self) -> u16 {
        match self {
            Self::Fifo => 0o010_000,
            Self::Char => 0o020_000,
            Self::Dir => 0o040_000,
            Self::Block => 0o060_000,
            Self::File => 0o100_000,
            Self::Symlink => 0o120_000,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Inode {
    /// With the bits of the kind.
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) links: u16,
    /// Blocks in use, those of extents and attributes included.
    pub(crate) blocks: u64,
    pub(crate) flags: u32,
    /// Extents, a device's number or a short symlink's target.
    pub(crate) content: [u8; 60],
    /// As [`encode_time`] has it.
    pub(crate) time: (u32, u32),
    /// The block of attributes that did not fit into the inode, 0 for none.
    pub(crate) xattr_block: u64,
    pub(crate) xattrs: [u8; XATTR_SPACE],
}

impl Inode {
    pub(crate) fn new(mode: u16) -> Self {
        Self {
            mode,
            uid: 0,
            gid: 0,
            size: 0,
            links: 1,
            blocks: 0,
            flags: 0,
            content: [0; 60],
            time: (0, 0),
            xattr_block: 0,
            xattrs: [0; XATTR_SPACE],
        }
    }

    pub(crate) fn encode(&self, number: u32, seed: Seed) -> [u8; INODE_SIZE] {
        let mut raw = [0; INODE_SIZE];
        put16(&mut raw, 0x00, self.mode);
        put_halves(&mut raw, 0x02, 0x78, self.uid);
        put_halves(&mut raw, 0x18, 0x7a, self.gid);
        put_split(&mut raw, 0x04, 0x6c, self.size);
        put16(&mut raw, 0x1a, self.links);
        // Counted in sectors of 512 bytes, 48 bits of them.
        let sectors = self.blocks * 8;
        put32(&mut raw, 0x1c, sectors as u32);
        put16(&mut raw, 0x74, (sectors >> 32) as u16);
        put32(&mut raw, 0x20, self.flags);
        raw[0x28..0x64].copy_from_slice(&self.content);
        put32(&mut raw, 0x68, self.xattr_block as u32);
        put16(&mut raw, 0x76, (self.xattr_block >> 32) as u16);
        put16(&mut raw, 0x80, EXTRA_SIZE);
        // atime, ctime, mtime and crtime, each with its further bits.
        for (low, extra) in [(0x08, 0x8c), (0x0c, 0x84), (0x10, 0x88), (0x90, 0x94)] {
            put32(&mut raw, low, self.time.0);
            put32(&mut raw, extra, self.time.1);
        }
        raw[XATTRS..].copy_from_slice(&self.xattrs);
        let checksum = crc32c(seed.inode(number), &raw);
        put_halves(&mut raw, 0x7c, 0x82, checksum);
        raw
    }

    pub(crate) fn decode(raw: &[u8; INODE_SIZE]) -> Self {
        let halves = |low, high| u32::from(get16(raw, low)) | u32::from(get16(raw, high)) << 16;
        let sectors = u64::from(get32(raw, 0x1c)) | u64::from(get16(raw, 0x74)) << 32;
        let mut content = [0; 60];
        content.copy_from_slice(&raw[0x28..0x64]);
        let mut xattrs = [0; XATTR_SPACE];
        xattrs.copy_from_slice(&raw[XATTRS..]);
        Self {
            mode: get16(raw, 0x00),
            uid: halves(0x02, 0x78),
            gid: halves(0x18, 0x7a),
            size: u64::from(get32(raw, 0x04)) | u64::from(get32(raw, 0x6c)) << 32,
            links: get16(raw, 0x1a),
            blocks: sectors / 8,
            flags: get32(raw, 0x20),
            content,
            time: (get32(raw, 0x10), get32(raw, 0x88)),
            xattr_block: u64::from(get32(raw, 0x68)) | u64::from(get16(raw, 0x76)) << 32,
            xattrs,
        }
    }
}

/// Seconds and nanoseconds as ext4 keeps them: 32 signed bits of seconds, and beside the nanoseconds two more, which say
/// how many times 2 to the 32nd is to be added. What lies outside (before 1901, after 2446) becomes the nearest, as the
/// kernel does it. (`e2fsck` of before 2106 takes the years 2310 to 2378 for an old kernel's mistake.)
pub(crate) fn encode_time(time: Time) -> (u32, u32) {
    const FIRST: i64 = i32::MIN as i64;
    const LAST: i64 = FIRST + (1 << 34) - 1;
    let (seconds, nanoseconds) = match time.seconds {
        seconds if seconds < FIRST => (FIRST, 0),
        seconds if seconds > LAST => (LAST, 0),
        seconds => (seconds, time.nanoseconds.min(999_999_999)),
    };
    let low = seconds as i32;
    let epoch = ((seconds - i64::from(low)) >> 32) as u32;
    (low as u32, epoch | nanoseconds << 2)
}

/// `i_block` of a device: its number in the old 16-bit form where it fits, in the new one else.
pub(crate) fn encode_device(device: Device) -> Result<[u8; 60], Reason> {
    let (Device::Char { major, minor } | Device::Block { major, minor }) = device;
    if major >= 1 << 12 || minor >= 1 << 20 {
        return Err(Reason::Device { major, minor });
    }
    let mut content = [0; 60];
    if major < 256 && minor < 256 {
        put32(&mut content, 0, major << 8 | minor);
    } else {
        put32(&mut content, 4, (minor & 0xff) | major << 8 | (minor & !0xff) << 12);
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: i64, nanoseconds: u32) -> (u32, u32) {
        encode_time(Time { seconds, nanoseconds })
    }

    #[test]
    fn times() {
        assert_eq!(time(0, 0), (0, 0));
        assert_eq!(time(1, 999_999_999), (1, 999_999_999 << 2));
        assert_eq!(time(-1, 5), (u32::MAX, 5 << 2));
        assert_eq!(time(i32::MIN.into(), 0), (1 << 31, 0));
        assert_eq!(time((1 << 31) - 1, 0), ((1 << 31) - 1, 0));
        assert_eq!(time(1 << 31, 0), (1 << 31, 1));
        assert_eq!(time(1 << 32, 0), (0, 1));
        assert_eq!(time((3 << 32) + (1 << 31) - 1, 0), ((1 << 31) - 1, 3));
        // Beyond what ext4 can hold.
        assert_eq!(time(i64::MAX, 7), ((1 << 31) - 1, 3));
        assert_eq!(time(i64::MIN, 7), (1 << 31, 0));
        assert_eq!(time(0, u32::MAX), (0, 999_999_999 << 2));
    }

    #[test]
    fn devices() {
        let encode = |major, minor| {
            let content = encode_device(Device::Char { major, minor }).unwrap();
            (get32(&content, 0), get32(&content, 4))
        };
        assert_eq!(encode(1, 3), (0x103, 0));
        assert_eq!(encode(255, 255), (0xffff, 0));
        assert_eq!(encode(256, 0), (0, 0x1_0000));
        assert_eq!(encode(8, 256), (0, 0x10_0800));
        assert_eq!(encode(0xfff, 0xf_ffff), (0, 0xffff_ffff));
        assert!(encode_device(Device::Block { major: 4096, minor: 0 }).is_err());
        assert!(encode_device(Device::Block { major: 0, minor: 1 << 20 }).is_err());
    }

    #[test]
    fn what_is_encoded_can_be_decoded() {
        let inode = Inode {
            uid: 0x1234_5678,
            gid: 0x9abc_def0,
            size: 0x1_2345_6789,
            links: 7,
            blocks: 1 << 31,
            flags: EXTENTS,
            content: [3; 60],
            time: (5, 6),
            xattr_block: 0x12_3456_789a,
            xattrs: [9; XATTR_SPACE],
            ..Inode::new(0o100_644)
        };
        let raw = inode.encode(12, Seed::of(&[1; 16]));
        assert_eq!(Inode::decode(&raw).encode(12, Seed::of(&[1; 16])), raw);
        assert_eq!(Inode::decode(&raw).blocks, 1 << 31);
    }
}
