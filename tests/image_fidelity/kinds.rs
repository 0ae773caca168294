//! What one layer can say: kinds, owners, modes, times, attributes, names.

use crate::layers::{Entry, pax_records, tarball};

/// Of `struct vfs_cap_data`, version 2: `cap_net_raw` permitted and effective.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Owner rwx, user 4,000,000,000 r, group, mask and others r-x, as xattrs have it.
fn acl() -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in [
        (1_u16, 7_u16, u32::MAX),
        (2, 4, 4_000_000_000),
        (4, 5, u32::MAX),
        (16, 5, u32::MAX),
        (32, 5, u32::MAX),
    ] {
        bytes.extend([tag.to_le_bytes(), permissions.to_le_bytes()].concat());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

fn xattr(entry: Entry, name: &str, value: impl AsRef<[u8]>) -> Entry {
    entry.pax(format!("SCHILY.xattr.{name}"), value)
}

/// A layer with all of it.
pub(crate) fn layer() -> Vec<u8> {
    let all = [kinds(), owners_and_modes(), times(), attributes(), names(), long_names()];
    tarball(all.into_iter().flatten())
}

fn kinds() -> Vec<Entry> {
    vec![
        Entry::dir("kinds"),
        Entry::file("kinds/file", "content"),
        Entry::new(0, "kinds/old-file", "").content(b"of the seventh edition"),
        Entry::new(0, "kinds/old-dir/", ""),
        Entry::file("kinds/empty", ""),
        Entry::file("kinds/block", [b'b'; 512]),
        Entry::file("kinds/large", (0..300_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>()),
        Entry::dir("kinds/dir"),
        Entry::symlink("kinds/symlink", "file"),
        Entry::symlink("kinds/absolute", "/no/where"),
        // One that fits into an inode, and one that does not.
        Entry::symlink("kinds/59", "x".repeat(59)),
        Entry::symlink("kinds/60", "x".repeat(60)),
        Entry::fifo("kinds/fifo").mode(0o640),
        Entry::char("kinds/null", 1, 3).mode(0o666),
        Entry::char("kinds/large-minor", 300, 1_048_575).owner(5, 6),
        Entry::block("kinds/disk", 8, 1),
        Entry::block("kinds/large-disk", 259, 70_000),
        Entry::hard_link("kinds/hard", "kinds/file"),
        Entry::hard_link("kinds/hard-symlink", "kinds/symlink"),
        // Docker gives the file the mode that the link's header has; in archives that tar writes they are the same.
        Entry::hard_link("kinds/hard-null", "./kinds/null").mode(0o666),
        Entry::hard_link("kinds/dir/hard", "/kinds/hard"),
    ]
}

fn owners_and_modes() -> Vec<Entry> {
    let modes = [0, 0o1, 0o421, 0o644, 0o1777, 0o2755, 0o4755, 0o6711, 0o7777];
    let files = modes.map(|mode| Entry::file(format!("modes/{mode:o}"), "x").mode(mode));
    let dirs = modes.map(|mode| Entry::dir(format!("modes/d{mode:o}")).mode(mode));
    // What some writers put before the permissions means nothing.
    let typed = Entry::file("modes/typed", "x").mode(0o100_644);
    let owners = [(1, 2), (65_535, 65_534), (65_536, 70_000), (2_097_151, 0), (4_000_000_000, 4_294_967_294)];
    let files_of = owners.map(|(uid, gid)| Entry::file(format!("owners/{uid}-{gid}"), "x").owner(uid, gid));
    let by_pax = Entry::file("owners/pax", "x").pax("uid", "3000000000").pax("gid", "123456");
    let others = [
        Entry::dir("owners/dir").owner(70_000, 80_000),
        Entry::symlink("owners/symlink", "x").owner(90_000, 100_000),
        Entry::fifo("owners/fifo").owner(70_000, 7),
        // Names of a user say nothing: each system has its own.
        Entry::file("owners/named", "x").field(265..297, b"daemon").pax("uname", "daemon").owner(42, 43),
    ];
    let all = [Entry::dir("modes"), typed, Entry::dir("owners"), by_pax];
    all.into_iter().chain(files).chain(dirs).chain(files_of).chain(others).collect()
}

fn times() -> Vec<Entry> {
    let times = [
        "0",
        "1.000000001",
        "946684799.123456789",
        "1709164800.5",
        "2147483647",
        "2147483648.25",
        "4294967296",
        "4102444800.000000001",
        // The last that ext4 has.
        "15032385535",
    ];
    let files = times.map(|time| Entry::file(format!("times/{time}"), "x").pax("mtime", time));
    let before_1970 = ["-1", "-1.5", "-0.25", "-86400.000000001", "-2147483648"];
    let old =
        before_1970.map(|time| Entry::file(format!("times/before-1970/{time}"), "x").pax("mtime", time));
    let others = [
        Entry::symlink("times/symlink", "x").pax("mtime", "1000000000.999999999"),
        Entry::fifo("times/fifo").pax("mtime", "1000000001.5"),
        Entry::char("times/device", 1, 3).pax("mtime", "1000000002.5"),
        Entry::file("times/by-header", "x").mtime(3_000_000_000),
        // In base 256.
        Entry::file("times/by-large-header", "x").mtime(10_000_000_000),
        Entry::file("times/before-1970/by-header", "x").field(136..148, &[0xff; 12]),
        // Directories keep their own, also where what is in them came first.
        Entry::dir("times/before-1970").pax("mtime", "-5.5"),
        Entry::dir("times").pax("mtime", "1234567890.123456789"),
    ];
    files.into_iter().chain(old).chain(others).collect()
}

fn attributes() -> Vec<Entry> {
    let many = (0..20).fold(Entry::file("xattrs/many", "x"), |entry, i| {
        xattr(entry, &format!("user.{i}"), format!("value {i}").repeat(i))
    });
    vec![
        Entry::dir("xattrs"),
        xattr(Entry::file("xattrs/capable", "x").mode(0o755), "security.capability", CAPABILITY),
        xattr(Entry::file("xattrs/user", "x"), "user.comment", "value"),
        xattr(Entry::file("xattrs/empty", "x"), "user.binary", [0, 1, 0xff, b'=', b'\n', 0]),
        xattr(Entry::file("xattrs/trusted", "x"), "trusted.secret", "for root"),
        xattr(Entry::file("xattrs/large", "x"), "user.large", [b'v'; 3000]),
        xattr(Entry::file("xattrs/acl", "x").mode(0o755), "system.posix_acl_access", acl()),
        xattr(
            xattr(Entry::dir("xattrs/acl-dir"), "system.posix_acl_access", acl()),
            "system.posix_acl_default",
            acl(),
        ),
        // What comes into a directory with a default list does not take it over.
        Entry::file("xattrs/acl-dir/file", "x"),
        Entry::dir("xattrs/acl-dir/dir"),
        xattr(Entry::dir("xattrs/dir"), "user.on-a-directory", "value"),
        xattr(Entry::symlink("xattrs/symlink", "x"), "trusted.on-a-symlink", "value"),
        xattr(Entry::char("xattrs/device", 1, 3), "trusted.on-a-device", "value"),
        many,
        Entry::hard_link("xattrs/hard", "xattrs/large"),
    ]
}

fn names() -> Vec<Entry> {
    vec![
        Entry::dir("names"),
        Entry::file("names/sp ace", "x"),
        Entry::file("names/new\nline", "x"),
        Entry::file("names/\u{fc}n\u{ef}c\u{f6}de", "x"),
        Entry::file(b"names/caf\xe9", "x"),
        Entry::file("pax", "x").pax("path", b"names/pax-\xff\xfe"),
        Entry::symlink("names/to-bytes", b"caf\xe9"),
        Entry::hard_link("names/hard-to-bytes", b"names/caf\xe9"),
        Entry::file("names/back\\slash", "x"),
        Entry::file("names/-option", "x"),
        Entry::file("names/*", "x"),
        Entry::file("names/\x01\x7f", "x"),
        Entry::file("./names//.//odd", "x"),
        Entry::file("/names/absolute", "x"),
        Entry::file("names/.wh", "x"),
        Entry::file("names/x.wh.y", "x"),
        Entry::file(format!("names/{}", "n".repeat(94)), "x"),
    ]
}

fn long_names() -> Vec<Entry> {
    let long = format!("names/{}", "l".repeat(255));
    let gnu = format!("names/gnu/{}/{}", "d".repeat(200), "f".repeat(200));
    let pax = format!("names/pax/{}/{}", "d".repeat(255), "f".repeat(255));
    let target = "t/".repeat(500);
    let mut ustar = Entry::file("f".repeat(100), "x");
    ustar = ustar.field(345..500, format!("names/{}", "p".repeat(140)).as_bytes());
    vec![
        Entry::dir("names/gnu"),
        Entry::dir("short").pax("path", &gnu[..210]),
        Entry::dir("names/pax"),
        Entry::dir("short").pax("path", &pax[..265]),
        Entry::dir("short").pax("path", format!("names/{}", "p".repeat(140))),
        Entry::file("short", "1").pax("path", &long),
        Entry::file("short", "2").gnu().after(&Entry::long(b'L', &gnu).gnu()),
        Entry::file("short", "3").pax("path", &pax),
        ustar,
        Entry::symlink("names/long-symlink", "short").pax("linkpath", &target),
        Entry::symlink("names/gnu-symlink", "short").gnu().after(&Entry::long(b'K', &target).gnu()),
        Entry::hard_link("names/long-hard", "short").pax("linkpath", &pax),
        Entry::hard_link("names/gnu-hard", "short").gnu().after(&Entry::long(b'K', &gnu).gnu()),
    ]
}

/// What docker reads as we do, and umoci 0.4 refuses: a PAX header for all that follow.
pub(crate) fn by_docker() -> Vec<u8> {
    tarball([
        Entry::extended(b'g', &pax_records(&[("comment", "a commit")])),
        Entry::file("after-global", "x"),
    ])
}
