//! Types, modes, owners, times, names and attributes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "also outside of test functions, this is all test")]

mod common;

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use bottle_ext4::{Device, Meta, Reason, Time, Writer};
use common::{TIME, image, meta, options};

const MIB: u64 = 1 << 20;

#[test]
fn nothing_at_all() {
    for size in
        [10 * MIB, 64 * MIB, 128 * MIB, 129 * MIB, 200 * MIB, 1 << 30, (5 << 30) + 4096 * 77, 40 << 30]
    {
        let image = image(options(size), |_| {});
        assert!(image.summary.size_bytes <= size);
        let disk = std::fs::metadata(&image.path).unwrap().blocks() * 512;
        assert!(disk < 3 * MIB, "{size}: {disk} bytes on disk");
        image.mounted(|at| {
            let names: Vec<_> = at.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(names, ["lost+found"]);
            assert_eq!(at.join("lost+found").metadata().unwrap().mode(), 0o040_700);
        });
    }
}

#[test]
fn what_the_tools_see() {
    let label = bottle_ext4::Options { label: b"a label".to_vec(), ..options(1 << 30) };
    let image = image(label, |_| {});
    let path = image.path.to_str().unwrap();
    for (program, arguments) in [("dumpe2fs", &["-h", path]), ("tune2fs", &["-l", path])] {
        let run = common::run(program, arguments);
        let said = String::from_utf8_lossy(&run.stdout);
        for expected in [
            "volume name:   a label",
            "UUID:          01234567-89ab-4cde-8f01-23456789abcd",
            "features:      has_journal ext_attr resize_inode dir_index filetype extent 64bit flex_bg sparse_super \
             large_file huge_file dir_nlink extra_isize metadata_csum\n",
            "state:         clean",
            "Inode count:              65536\n",
            "Block count:              262144\n",
            // All in use but for the root, lost+found and the resize inode's map.
            "Overhead clusters:        5181\nFree blocks:              256960\n",
            "Inode size:\t          256\n",
            "Flex block group size:    16\n",
            "Default directory hash:   half_md4\n",
            "Checksum type:            crc32c\n",
            "created:       Thu Feb 29 00:00:00 2024",
        ] {
            assert!(said.contains(expected), "{program}: no {expected:?} in:\n{said}");
        }
        assert!(run.status.success() && run.stderr.len() < 60, "{}", String::from_utf8_lossy(&run.stderr));
        if program == "dumpe2fs" {
            for expected in [
                "Journal features:         journal_64bit journal_checksum_v3\n",
                "Total journal size:       4096k\n",
                "Journal sequence:         0x00000001\nJournal start:            0\n",
                "Journal checksum type:    crc32c\n",
            ] {
                assert!(said.contains(expected), "no {expected:?} in:\n{said}");
            }
        }
    }
}

fn some_of_each(writer: &mut Writer) {
    let root = writer.root();
    let owned = Meta { uid: 70_000, gid: 4_000_000_000, ..meta(0o6751) };
    let dir = writer.dir(root, b"dir", &Meta { mode: 0o1777, ..owned }).unwrap();
    let file = writer.file(dir, b"file", &owned, 3, &mut &b"abc"[..]).unwrap();
    writer.file(dir, b"empty", &meta(0), 0, &mut &b""[..]).unwrap();
    writer.link(root, b"hard", file).unwrap();
    writer.link(root, b"hard2", file).unwrap();
    writer.symlink(dir, b"short", &meta(0o777), &[b's'; 59]).unwrap();
    writer.symlink(dir, b"long", &meta(0o777), &[b'l'; 60]).unwrap();
    writer.symlink(dir, b"longest", &meta(0o777), &[b'x'; 4095]).unwrap();
    writer.symlink(dir, b"bytes", &meta(0o777), b"\xff\xfe/x").unwrap();
    writer.device(dir, b"null", &meta(0o666), Device::Char { major: 1, minor: 3 }).unwrap();
    writer.device(dir, b"disk", &meta(0o660), Device::Block { major: 259, minor: 70_000 }).unwrap();
    let fifo = writer.fifo(dir, b"fifo", &meta(0o600)).unwrap();
    writer.link(dir, b"fifo2", fifo).unwrap();
    writer.fifo(dir, b"\xff\x01 \xc3(\n", &meta(0o600)).unwrap();
    writer.fifo(dir, &[b'n'; 255], &meta(0o600)).unwrap();
    writer.set_meta(root, &Meta { uid: 7, mode: 0o711, ..meta(0) }).unwrap();
}

#[test]
fn types_modes_owners_and_names() {
    let image = image(options(64 * MIB), some_of_each);
    image.stat("/", &["User:     7", "Mode:  0711", "Links: 4"]);
    image.stat("/dir", &["Type: directory", "Mode:  01777", "User: 70000", "Group: -294967296"]);
    image.stat("/hard", &["Type: regular", "Mode:  06751", "Size: 3", "Links: 3", "Blockcount: 8"]);
    image.stat("/dir/short", &["Type: symlink", "Size: 59", "Blockcount: 0", "Fast link dest"]);
    image.stat("/dir/longest", &["Type: symlink", "Size: 4095", "Blockcount: 8"]);
    image.stat("/dir/null", &["Type: character special", "Device major/minor number: 01:03"]);
    image.stat("/dir/disk", &["Type: block special", "Device major/minor number: 259:70000"]);
    image.stat("/dir/fifo", &["Type: FIFO", "Links: 2"]);
    image.mounted(|at| {
        let look = |name: &str| at.join("dir").join(name).symlink_metadata().unwrap();
        assert_eq!(look("file").mode(), 0o106_751);
        assert_eq!((look("file").uid(), look("file").gid()), (70_000, 4_000_000_000));
        assert_eq!(look("file").ino(), at.join("hard").metadata().unwrap().ino());
        assert_eq!(look("file").blocks(), 8);
        assert_eq!(std::fs::read(at.join("hard2")).unwrap(), b"abc");
        assert_eq!(std::fs::read(at.join("dir/empty")).unwrap(), b"");
        for (name, len) in [("short", 59), ("long", 60), ("longest", 4095)] {
            assert_eq!(std::fs::read_link(at.join("dir").join(name)).unwrap().as_os_str().len(), len);
        }
        assert_eq!(std::fs::read_link(at.join("dir/bytes")).unwrap().as_os_str().as_bytes(), b"\xff\xfe/x");
        assert!(look("null").file_type().is_char_device() && look("disk").file_type().is_block_device());
        assert_eq!(look("null").rdev(), 0x103);
        assert_eq!(look("disk").rdev(), (70_000 & !0xff) << 12 | 259 << 8 | 70_000 & 0xff);
        assert!(look("fifo").file_type().is_fifo());
        for name in [&b"\xff\x01 \xc3(\n"[..], &[b'n'; 255]] {
            assert!(common::bytes_path(&at.join("dir"), name).symlink_metadata().is_ok());
        }
        assert_eq!(at.join("dir").read_dir().unwrap().count(), 12);
    });
}

#[test]
fn the_same_calls_give_the_same_bytes() {
    let made = || std::fs::read(&image(options(64 * MIB), some_of_each).path).unwrap();
    assert!(made() == made());
}

#[test]
fn times() {
    let times = [
        (0, 0),
        (-1, 1),
        (i64::from(i32::MIN), 0),
        (1 << 31, 999_999_999),
        (1 << 32, 123),
        (10_737_418_239, 0),
        (15_032_385_535, 7),
    ];
    let image = image(options(64 * MIB), |writer| {
        for (number, (seconds, nanoseconds)) in times.into_iter().enumerate() {
            let meta = Meta { mtime: Time { seconds, nanoseconds }, ..meta(0o755) };
            writer.dir(writer.root(), number.to_string().as_bytes(), &meta).unwrap();
        }
    });
    image
        .stat("/1", &["mtime: 0xffffffff:00000004", "crtime: 0xffffffff:00000004", "extra inode fields: 32"]);
    image.mounted(|at| {
        for (number, (seconds, nanoseconds)) in times.into_iter().enumerate() {
            let found = at.join(number.to_string()).metadata().unwrap();
            let expected = (seconds, i64::from(nanoseconds));
            assert_eq!((found.mtime(), found.mtime_nsec()), expected);
            assert_eq!((found.atime(), found.atime_nsec()), expected);
            assert_eq!((found.ctime(), found.ctime_nsec()), expected);
        }
    });
}

fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut acl = vec![2, 0, 0, 0];
    for (tag, permissions, id) in entries {
        acl.extend(tag.to_le_bytes());
        acl.extend(permissions.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    acl
}

fn xattr(path: &Path, name: &str) -> Vec<u8> {
    let mut value = vec![0; 65_536];
    let len = rustix::fs::lgetxattr(path, name, &mut value[..])
        .unwrap_or_else(|error| panic!("{name} of {}: {error}", path.display()));
    value.truncate(len);
    value
}

#[test]
fn attributes() {
    const NONE: u32 = u32::MAX;
    let full = acl(&[(1, 7, NONE), (2, 5, 1000), (4, 5, NONE), (8, 1, 2000), (16, 5, NONE), (32, 0, NONE)]);
    let own = |list: &[(&str, &[u8])]| -> Vec<(Vec<u8>, Vec<u8>)> {
        list.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect()
    };
    let capability = b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    let lists = [
        own(&[("security.capability", capability)]),
        own(&[("user.a", b"1"), ("user.empty", b"")]),
        own(&[("user.zz", &[b'z'; 3900]), ("user.b", b"in the inode")]),
        own(&[("trusted.t", &[b't'; 500]), ("user.long", &[b'u'; 501]), ("security.x", &[b'x'; 502])]),
        own(&[("system.posix_acl_access", &full)]),
        own(&[
            ("system.posix_acl_access", &full),
            ("system.posix_acl_default", &full),
            ("user.q", &[b'q'; 1000]),
        ]),
        own(&[(&format!("user.{}", "n".repeat(250)), &[0xff; 99])]),
        own(&[("user.grüße", &[0x80; 333]), ("trusted.été", &[0x81; 22])]),
    ];
    let image = image(options(64 * MIB), |writer| {
        let root = writer.root();
        for (number, xattrs) in lists.iter().enumerate() {
            let name = number.to_string();
            let meta = Meta { xattrs, ..meta(0o750) };
            let dir = writer.dir(root, name.as_bytes(), &meta).unwrap();
            writer.file(dir, b"file", &meta, 5, &mut &b"hello"[..]).unwrap();
            let link: Vec<_> =
                xattrs.iter().filter(|(name, _)| !name.starts_with(b"system")).cloned().collect();
            writer.symlink(dir, b"link", &Meta { xattrs: &link, ..meta }, b"x").unwrap();
            // Changed afterwards: a block that comes, one that goes, and one that stays.
            let late = writer.fifo(dir, b"late", &Meta { xattrs: &lists[3], ..meta }).unwrap();
            writer.set_meta(late, &meta).unwrap();
            let later = writer.dir(dir, b"later", &Meta { xattrs: &[], ..meta }).unwrap();
            writer.set_meta(later, &meta).unwrap();
        }
        writer.set_meta(root, &Meta { xattrs: &lists[3], ..meta(0o755) }).unwrap();
    });
    image.stat("/0/file", &["File ACL: 0", "Blockcount: 8\n"]);
    image.stat("/2/file", &["Blockcount: 16\n", "user.b", "user.zz"]);
    assert!(image.debugfs("ea_get /2 user.zz").contains(&"z".repeat(3900)));
    image.mounted(|at| {
        for (number, xattrs) in lists.iter().enumerate() {
            for name in ["", "file", "link", "late", "later"] {
                let path = at.join(number.to_string()).join(name);
                for (key, value) in xattrs {
                    let key = std::str::from_utf8(key).unwrap();
                    // An attribute of the user's can't be read off a symlink or a fifo.
                    let special = matches!(name, "link" | "late");
                    if special && (key.starts_with("user") || name == "link" && key.starts_with("system")) {
                        continue;
                    }
                    assert_eq!(&xattr(&path, key), value, "{key} of {}", path.display());
                }
            }
        }
        assert_eq!(xattr(at, "trusted.t"), [b't'; 500]);
    });
}

/// The kernel, given the same attributes, makes the same block, and finds ours to be that.
#[test]
fn a_block_of_attributes_as_the_kernel_makes_it() {
    let xattrs = vec![(b"user.one".to_vec(), vec![1; 301]), (b"user.three".to_vec(), vec![3; 302])];
    let image = image(options(64 * MIB), |writer| {
        writer
            .file(writer.root(), b"ours", &Meta { xattrs: &xattrs, ..meta(0o644) }, 0, &mut &b""[..])
            .unwrap();
    });
    let mut written = false;
    image.mounted_with("loop", |at| {
        let path = at.join("kernel's");
        std::fs::write(&path, b"").unwrap();
        // In the order in which the values lie from the block's end, and more than fits into an inode.
        for (name, value) in &xattrs {
            let name = std::str::from_utf8(name).unwrap();
            rustix::fs::setxattr(&path, name, value, rustix::fs::XattrFlags::empty()).unwrap();
        }
        written = true;
    });
    image.check();
    let raw = std::fs::read(&image.path).unwrap();
    let block = |name| {
        let said = image.debugfs(&format!("stat \"{name}\""));
        let number: usize = said.split("File ACL: ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
        let block = raw[number * 4096..][..4096].to_vec();
        // The checksum, which depends on the place.
        [&block[..16], &block[20..]].concat()
    };
    if written {
        assert!(block("ours") == block("kernel's"));
    }
}

#[test]
fn attributes_that_are_refused() {
    let one = |name: &[u8], value: &[u8]| vec![(name.to_vec(), value.to_vec())];
    image(options(64 * MIB), |writer| {
        let root = writer.root();
        for (xattrs, expected) in [
            (
                one(b"system.data", b""),
                "/f: extended attribute \"system.data\": ext4 has no place for names like this",
            ),
            (
                one(b"com.apple", b""),
                "/f: extended attribute \"com.apple\": ext4 has no place for names like this",
            ),
            (one(b"user.", b""), "/f: extended attribute \"user.\": the name ends with its prefix"),
            (one(b"user.a\0b", b""), "/f: extended attribute \"user.a\\0b\": a NUL in the name"),
            (one(&[&b"user."[..], &[b'n'; 251]].concat(), b""), "a name of more than 255 bytes"),
            (one(b"system.posix_acl_access", b"x"), "not a POSIX ACL of version 2"),
            (one(b"user.a", &[0; 4060]), "do not fit into the inode and one block of 4096 bytes"),
            (one(b"user.a", &[0; 100_000]), "do not fit"),
            (vec![one(b"user.a", b"1").remove(0); 2], "given twice"),
        ] {
            let error = writer.fifo(root, b"f", &Meta { xattrs: &xattrs, ..meta(0o600) }).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
        let xattrs = one(b"user.a", &[7; 4036]);
        writer.fifo(root, b"f", &Meta { xattrs: &xattrs, ..meta(0o600) }).unwrap();
        let xattrs = one(&[&b"user."[..], &[b'n'; 250]].concat(), b"");
        writer.fifo(root, b"g", &Meta { xattrs: &xattrs, ..meta(0o600) }).unwrap();
    });
}

#[test]
fn what_is_refused() {
    let image = image(options(64 * MIB), |writer| {
        let root = writer.root();
        let meta = &meta(0o644);
        let file = writer.file(root, b"file", meta, 0, &mut &b""[..]).unwrap();
        let dir = writer.dir(root, b"dir", meta).unwrap();
        let deep = writer.dir(dir, b"deep", meta).unwrap();
        for name in [&b""[..], b".", b"..", b"a/b", b"a\0b", &[b'a'; 256]] {
            assert!(matches!(writer.fifo(root, name, meta).unwrap_err().reason, Reason::Name(_)), "{name:?}");
        }
        for name in ["file", "dir"] {
            let error = writer.fifo(root, name.as_bytes(), meta).unwrap_err();
            assert_eq!(error.to_string(), format!("/{name}: the name is there already"));
            assert!(matches!(writer.link(root, name.as_bytes(), file).unwrap_err().reason, Reason::Exists));
        }
        let error = writer.fifo(file, b"x", meta).unwrap_err();
        assert!(matches!(error.reason, Reason::NotADirectory), "{error}");
        let error = writer.link(deep, b"x", dir).unwrap_err();
        assert_eq!(error.to_string(), "/dir/deep/x: a hard link to a directory");
        assert!(matches!(writer.link(deep, b"x", root).unwrap_err().reason, Reason::LinkToDirectory));
        let error = writer.fifo(root, b"m", &Meta { mode: 0o10_000, ..*meta }).unwrap_err();
        assert_eq!(error.to_string(), "/m: mode 0o10000 has more than permission bits");
        for target in [&b""[..], b"a\0", &[b'a'; 4096]] {
            let error = writer.symlink(root, b"s", meta, target).unwrap_err();
            assert!(matches!(error.reason, Reason::Symlink(_)));
        }
        let error = writer.device(root, b"d", meta, Device::Char { major: 4096, minor: 0 }).unwrap_err();
        assert_eq!(error.to_string(), "/d: device 4096:0, where 4095:1048575 is the most");
        // A name that was refused is free.
        writer.fifo(root, b"s", meta).unwrap();
    });
    image.stat("/dir", &["Links: 3"]);
    image.stat("/s", &["FIFO", &format!("mtime: 0x{TIME:08x}:00000014")]);
}

#[test]
fn lost_and_found() {
    let given = image(options(64 * MIB), |writer| {
        let dir = writer.dir(writer.root(), b"lost+found", &meta(0o755)).unwrap();
        writer.fifo(dir, b"fifo", &meta(0)).unwrap();
    });
    given.stat("/lost+found", &["Mode:  0755"]);
    let mut writer = Writer::create(tempfile::tempfile().unwrap(), options(64 * MIB)).unwrap();
    writer.fifo(writer.root(), b"lost+found", &meta(0o755)).unwrap();
    assert_eq!(
        writer.finish().unwrap_err().to_string(),
        "/lost+found: not a directory, as checkers need it to be"
    );
}
