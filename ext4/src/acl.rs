//! POSIX ACLs: `getxattr` and tar archives have them in one form, ext4 keeps them in another.
//!
//! ```text
//! getxattr   version 2: u32 │ tag: u16 │ perm: u16 │ id: u32 │ …            8 bytes an entry
//! on disk    version 1: u32 │ tag: u16 │ perm: u16 │ id: u32, USER and GROUP only │ …
//! ```

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// The form on disk of what `getxattr` gave; an error where the kernel would not take it.
pub(crate) fn on_disk(value: &[u8]) -> Result<Vec<u8>, &'static str> {
    let Some((&[2, 0, 0, 0], entries)) = value.split_first_chunk() else {
        return Err("not a POSIX ACL of version 2");
    };
    if entries.len() % 8 != 0 {
        return Err("a POSIX ACL that ends within an entry");
    }
    let mut disk = vec![1, 0, 0, 0];
    let mut last = 0;
    let mut named = false;
    let mut seen = 0;
    for entry in entries.chunks_exact(8) {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        let permissions = u16::from_le_bytes([entry[2], entry[3]]);
        // Tags come in ascending order, and only those with an ID more than once.
        let repeats = matches!(tag, USER | GROUP);
        if !matches!(tag, USER_OBJ | USER | GROUP_OBJ | GROUP | MASK | OTHER)
            || permissions > 7
            || tag < last
            || (tag == last && !repeats)
        {
            return Err("a POSIX ACL with an entry that is not valid there");
        }
        disk.extend_from_slice(&entry[..4]);
        if repeats {
            named = true;
            disk.extend_from_slice(&entry[4..]);
        }
        last = tag;
        seen |= tag;
    }
    let needed = USER_OBJ | GROUP_OBJ | OTHER | if named { MASK } else { 0 };
    if seen & needed != needed {
        return Err("a POSIX ACL that lacks an entry");
    }
    Ok(disk)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut acl = vec![2, 0, 0, 0];
        for (tag, permissions, id) in entries {
            acl.extend(tag.to_le_bytes());
            acl.extend(permissions.to_le_bytes());
            acl.extend(id.to_le_bytes());
        }
        acl
    }

    const NONE: u32 = u32::MAX;

    #[test]
    fn ids_only_where_they_mean_something() {
        let given = acl(&[(1, 7, NONE), (2, 5, 1000), (4, 5, NONE), (16, 5, NONE), (32, 0, NONE)]);
        let disk = on_disk(&given).unwrap();
        assert_eq!(
            disk,
            [1, 0, 0, 0, 1, 0, 7, 0, 2, 0, 5, 0, 0xe8, 3, 0, 0, 4, 0, 5, 0, 16, 0, 5, 0, 32, 0, 0, 0]
        );
    }

    #[test]
    fn what_the_kernel_refuses() {
        let minimal = [(1, 7, NONE), (4, 5, NONE), (32, 0, NONE)];
        assert!(on_disk(&acl(&minimal)).is_ok());
        assert!(on_disk(&acl(&minimal)[..20]).is_err());
        assert!(on_disk(b"").is_err());
        assert!(on_disk(&[1, 0, 0, 0]).is_err());
        for bad in [
            &minimal[..2],
            &[(4, 7, NONE), (1, 5, NONE), (32, 0, NONE)],
            &[(1, 7, NONE), (1, 7, NONE), (4, 5, NONE), (32, 0, NONE)],
            &[(1, 8, NONE), (4, 5, NONE), (32, 0, NONE)],
            &[(1, 7, NONE), (2, 7, 5), (4, 5, NONE), (32, 0, NONE)],
            &[(1, 7, NONE), (4, 5, NONE), (32, 0, NONE), (64, 0, NONE)],
        ] {
            assert!(on_disk(&acl(bad)).is_err(), "{bad:?}");
        }
    }
}
