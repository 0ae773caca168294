//! What is mounted below a directory, and its end.

use std::{
    fs,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use rustix::mount::{UnmountFlags, unmount};

use crate::error::{Context, Result};

const MOUNTS: &str = "/proc/self/mountinfo";

/// Unmounts all that is mounted below `dir`, the newest first. Nothing may use it any more: who does keeps what he has open.
pub(super) fn unmount_below(dir: &Path) -> Result<()> {
    let dir = fs::canonicalize(dir).file("find", dir)?;
    let table = fs::read(MOUNTS).file("read", MOUNTS)?;
    for point in points(&table).iter().rev().filter(|point| point.starts_with(&dir)) {
        unmount(point, UnmountFlags::DETACH).file("unmount", point)?;
    }
    Ok(())
}

/// The mount points of a mountinfo table (proc(5)), in the order in which they were mounted.
fn points(table: &[u8]) -> Vec<PathBuf> {
    let lines = table.split(|byte| *byte == b'\n');
    let fields = lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    fields.map(|field| std::ffi::OsString::from_vec(unescape(field)).into()).collect()
}

/// Blanks, tabs, line feeds and backslashes are `\040` and so on.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, behind)) = rest.split_first() {
        let digits = if first == b'\\' { behind.get(..3).and_then(octal) } else { None };
        plain.push(digits.unwrap_or(first));
        rest = if digits.is_some() { behind.get(3..).unwrap_or_default() } else { behind };
    }
    plain
}

fn octal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_as_the_kernel_writes_them() {
        let table = b"22 1 0:20 / /proc rw - proc proc rw\n23 1 0:3 net:[1] /a\\040b\\134\\012/x\\ rw - nsfs nsfs rw\n\n";
        assert_eq!(points(table), [PathBuf::from("/proc"), PathBuf::from("/a b\\\n/x\\")]);
    }
}
