//! What `arcbox-ext4` has no words for is set in the inodes after it has written them: device numbers, modes of what is
//! neither file, directory nor symlink, extended attributes, and the times of the root directory and of `/lost+found`.
//!
//! The writer numbers inodes in the order in which they are created, lays their tables out one after the other, and uses
//! no metadata checksums, so an inode is found by its number and may be changed in place. Offsets are those of
//! `struct ext4_inode` in the kernel's Documentation/filesystems/ext4/.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::tree::{Body, Meta, Node, Reason};

const INODE_SIZE: u64 = 256;
/// Where the attributes in the inode begin: 128 bytes and `i_extra_isize` = 32.
const XATTR_START: usize = 160;
const XATTR_SPACE: usize = INODE_SIZE as usize - XATTR_START;
const XATTR_MAGIC: u32 = 0xea02_0000;
/// Header of one attribute, before its name.
const XATTR_ENTRY: usize = 16;

/// Major numbers have 12 bits and minor numbers 20 in the kernel's `dev_t`.
const MAX_MAJOR: u32 = (1 << 12) - 1;
const MAX_MINOR: u32 = (1 << 20) - 1;

/// `i_block` of a device: the old 16-bit form where the numbers fit, the new one else.
pub(crate) fn device_blocks(major: u32, minor: u32) -> Result<[u8; 8], Reason> {
    if major > MAX_MAJOR || minor > MAX_MINOR {
        return Err(format!("device {major}:{minor}, where {MAX_MAJOR}:{MAX_MINOR} is the most"));
    }
    let mut blocks = [0; 8];
    if major < 256 && minor < 256 {
        blocks[..4].copy_from_slice(&(major << 8 | minor).to_le_bytes());
    } else {
        let number = (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12);
        blocks[4..].copy_from_slice(&number.to_le_bytes());
    }
    Ok(blocks)
}

/// The 96 bytes of attributes in an inode, `None` when there are none. Those that do not fit, and ACLs, which ext4 keeps
/// in a form of its own, are refused.
pub(crate) fn xattr_space(xattrs: &[(Vec<u8>, Vec<u8>)]) -> Result<Option<[u8; XATTR_SPACE]>, Reason> {
    if xattrs.is_empty() {
        return Ok(None);
    }
    let mut space = [0; XATTR_SPACE];
    space[..4].copy_from_slice(&XATTR_MAGIC.to_le_bytes());
    // Entries grow from the front, values from the back; offsets count from the first entry. Four zero bytes end the
    // entries.
    let mut front = 4;
    let mut back = XATTR_SPACE;
    for (name, value) in xattrs {
        let shown = String::from_utf8_lossy(name);
        let (index, suffix) = prefix_index(name)
            .ok_or_else(|| format!("the extended attribute {shown:?} can't be written yet"))?;
        let entry_len = (XATTR_ENTRY + suffix.len()).next_multiple_of(4);
        let value_len = value.len().next_multiple_of(4);
        let fits = front + entry_len + 4 + value_len <= back;
        let (true, Ok(name_len)) = (fits, u8::try_from(suffix.len())) else {
            return Err(format!(
                "the extended attribute {shown:?} of {} bytes does not fit into the inode, and can't be written \
                 elsewhere yet",
                value.len()
            ));
        };
        back -= value_len;
        space[back..back + value.len()].copy_from_slice(value);
        space[front] = name_len;
        space[front + 1] = index;
        // An empty value has no place.
        let value_offset = if value.is_empty() { 0 } else { (back - 4) as u16 };
        space[front + 2..front + 4].copy_from_slice(&value_offset.to_le_bytes());
        space[front + 8..front + 12].copy_from_slice(&(value.len() as u32).to_le_bytes());
        space[front + XATTR_ENTRY..front + XATTR_ENTRY + suffix.len()].copy_from_slice(suffix);
        front += entry_len;
    }
    Ok(Some(space))
}

fn prefix_index(name: &[u8]) -> Option<(u8, &[u8])> {
    [(1, &b"user."[..]), (4, b"trusted."), (6, b"security.")]
        .into_iter()
        .find_map(|(index, prefix)| Some((index, name.strip_prefix(prefix)?)))
        .filter(|(_, suffix)| !suffix.is_empty())
}

/// Seconds and nanoseconds as ext4 keeps them: 32 bits, and two more beside the nanoseconds. What lies outside (before
/// 1901, after 2446) becomes the nearest, as the kernel does it.
pub(crate) fn time(mtime: (i64, u32)) -> (u32, u32) {
    const FIRST: i64 = i32::MIN as i64;
    const LAST: i64 = FIRST + (1 << 34) - 1;
    let (seconds, nanos) = match mtime.0 {
        seconds if seconds < FIRST => (FIRST, 0),
        seconds if seconds > LAST => (LAST, 0),
        seconds => (seconds, mtime.1),
    };
    let low = seconds as i32;
    let epoch = ((seconds - i64::from(low)) >> 32) as u32 & 3;
    (low as u32, epoch | nanos << 2)
}

/// What is to be changed in one inode.
pub(crate) struct Patch {
    inode: u32,
    /// Offset in the inode, and what belongs there.
    fields: Vec<(usize, Vec<u8>)>,
}

impl Patch {
    /// What inode number `inode` still lacks of `node`, if anything. `times` for those directories whose times the writer
    /// sets by itself.
    pub(crate) fn of(inode: u32, node: &Node, times: bool) -> Result<Option<Self>, Reason> {
        let mut fields = Vec::new();
        let special = match node.body {
            Body::Char { major, minor } => Some((0o020_000, device_blocks(major, minor)?)),
            Body::Block { major, minor } => Some((0o060_000, device_blocks(major, minor)?)),
            Body::Fifo => Some((0o010_000, [0; 8])),
            _ => None,
        };
        if let Some((kind, blocks)) = special {
            let mode: u16 = kind | node.meta.mode;
            fields.push((0x00, mode.to_le_bytes().to_vec()));
            fields.push((0x28, blocks.to_vec()));
        }
        if times {
            fields.extend(time_fields(&node.meta));
        }
        if let Some(space) = xattr_space(&node.meta.xattrs)? {
            fields.push((XATTR_START, space.to_vec()));
        }
        Ok((!fields.is_empty()).then_some(Self { inode, fields }))
    }
}

fn time_fields(meta: &Meta) -> Vec<(usize, Vec<u8>)> {
    let (low, extra) = time(meta.mtime);
    let low = |offset| (offset, low.to_le_bytes().to_vec());
    let extra = |offset| (offset, extra.to_le_bytes().to_vec());
    // atime, ctime, mtime, crtime, and the further bits of each.
    vec![low(0x08), low(0x0c), low(0x10), low(0x90), extra(0x84), extra(0x88), extra(0x8c), extra(0x94)]
}

/// Applies `patches` to the file system in `file`.
pub(crate) fn apply(file: &File, patches: &[Patch]) -> io::Result<()> {
    let word = |offset| {
        let mut bytes = [0; 4];
        file.read_exact_at(&mut bytes, offset)?;
        io::Result::Ok(u32::from_le_bytes(bytes))
    };
    let inodes_per_group = word(1024 + 0x28)?.max(1);
    for patch in patches {
        let (group, index) = ((patch.inode - 1) / inodes_per_group, (patch.inode - 1) % inodes_per_group);
        // Group descriptors, 32 bytes each, begin in block 1; the table's block number is at 8.
        let table = u64::from(word(4096 + u64::from(group) * 32 + 8)?) * 4096;
        let inode = table + u64::from(index) * INODE_SIZE;
        for (offset, bytes) in &patch.fields {
            file.write_all_at(bytes, inode + *offset as u64)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_take_the_form_that_fits() {
        assert_eq!(device_blocks(1, 3).unwrap(), [3, 1, 0, 0, 0, 0, 0, 0]);
        // new_encode_dev(4095, 0x12345): minor's low byte, major, minor's upper bits.
        assert_eq!(device_blocks(4095, 0x12345).unwrap(), [0, 0, 0, 0, 0x45, 0xff, 0x3f, 0x12]);
        assert!(device_blocks(4096, 0).is_err());
        assert!(device_blocks(0, 1 << 20).is_err());
    }

    #[test]
    fn times_are_clamped_to_what_ext4_can_say() {
        assert_eq!(time((0, 5)), (0, 20));
        assert_eq!(time((-1, 0)), (u32::MAX, 0));
        assert_eq!(time((1 << 31, 0)), (1 << 31, 1));
        assert_eq!(time(((1 << 32) - 1, 0)), (u32::MAX, 1));
        assert_eq!(time((i64::MAX, 7)), time(((1 << 34) - (1 << 31) - 1, 0)));
        assert_eq!(time((i64::MIN, 7)), (1 << 31, 0));
    }

    #[test]
    fn attributes_that_do_not_fit_are_refused() {
        let xattr = |name: &str, len: usize| (name.as_bytes().to_vec(), vec![7; len]);
        assert!(xattr_space(&[]).unwrap().is_none());
        assert!(xattr_space(&[xattr("security.capability", 20)]).unwrap().is_some());
        // 96 - 4 - (16 + 1 → 20) - 4 = 68 bytes are left for a value.
        assert!(xattr_space(&[xattr("user.a", 68)]).is_ok());
        assert!(xattr_space(&[xattr("user.a", 69)]).is_err());
        assert!(xattr_space(&[xattr("user.a", 68), xattr("user.b", 0)]).is_err());
        for name in ["system.posix_acl_access", "user.", "other", ""] {
            assert!(xattr_space(&[xattr(name, 1)]).is_err(), "{name}");
        }
        assert!(xattr_space(&[xattr(&format!("user.{}", "n".repeat(300)), 0)]).is_err());
    }
}
