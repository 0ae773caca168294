//! Directories from one block to a million names, subdirectories and hard links up to what ext4 counts.
#![allow(clippy::unwrap_used, clippy::panic, reason = "also outside of test functions, this is all test")]

mod common;

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use bottle_ext4::{Options, Reason, Writer};
use common::{Image, bytes_path, image, meta, options};

/// A directory `d` with one name for each number.
fn crowd(inodes: u32, count: u64, name: impl Fn(u64) -> Vec<u8>) -> Image {
    let options = Options { inodes: Some(inodes), ..options(8 << 30) };
    let image = image(options, |writer| {
        let dir = writer.dir(writer.root(), b"d", &meta(0o755)).unwrap();
        let file = writer.file(dir, &name(0), &meta(0o644), 0, &mut &b""[..]).unwrap();
        for number in 1..count {
            // Second names up to what is allowed, and then files.
            if number < 60_000 {
                writer.link(dir, &name(number), file).unwrap();
            } else {
                writer.fifo(dir, &name(number), &meta(0o644)).unwrap();
            }
        }
    });
    image.mounted(|at| {
        let dir = at.join("d");
        let listed: HashSet<Vec<u8>> =
            dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name().as_bytes().to_vec()).collect();
        assert_eq!(listed.len() as u64, count);
        // Found by the index.
        for number in 0..count {
            let name = name(number);
            assert!(listed.contains(&name));
            assert!(bytes_path(&dir, &name).symlink_metadata().is_ok(), "number {number}");
        }
        assert!(dir.join("not there").symlink_metadata().is_err());
    });
    image
}

fn long(number: u64) -> Vec<u8> {
    let mut name = number.to_string().into_bytes();
    name.resize(255, b'\xfe');
    name
}

fn levels(image: &Image) -> String {
    let said = image.debugfs("htree_dump /d");
    let line = said.lines().find(|line| line.contains("Indirect levels"));
    line.unwrap_or("no index").trim().to_owned()
}

#[test]
fn one_block_and_two() {
    // 12 bytes each for . and .., 264 for each name: 15 of them fit into the 4084 bytes before the checksum.
    for (count, blocks) in [(1, 1), (14, 1), (15, 1), (16, 3), (31, 4)] {
        let image = crowd(1000, count, long);
        image.stat("/d", &[&format!("Size: {}\n", blocks * 4096), "Links: 2 "]);
        assert_eq!(levels(&image), if blocks == 1 { "no index" } else { "Indirect levels: 0" });
    }
}

#[test]
fn a_hundred_thousand_names() {
    let image = crowd(100_000, 100_000, |number| format!("file number {number}").into_bytes());
    assert_eq!(levels(&image), "Indirect levels: 1");
    let image = crowd(100_000, 60_000, long);
    assert_eq!(levels(&image), "Indirect levels: 1");
}

#[test]
fn as_many_leaves_as_the_root_spans() {
    // 507 leaves of 15 names each.
    for (count, expected) in [(507 * 15, "Indirect levels: 0"), (507 * 15 + 1, "Indirect levels: 1")] {
        assert_eq!(levels(&crowd(1000, count, long)), expected);
    }
}

/// Two names with equal hashes, in directories where more and more names come before them: in some they are the last in
/// one block and the first in the next, which the index must say.
#[test]
fn names_of_one_hash_in_two_blocks() {
    let name = |number: u64| {
        let mut name = number.to_string();
        name.extend(std::iter::repeat_n('x', 255 - name.len()));
        name
    };
    let pair = [195_536, 242_762].map(name);
    let hashes = pair.clone().map(|name| {
        let seed = "01234567-89ab-4cde-8f01-23456789abcd";
        let run = common::run("debugfs", &["-R", &format!("dx_hash -h half_md4 -s {seed} {name}")]);
        String::from_utf8_lossy(&run.stdout).split(' ').nth(4).unwrap().to_owned()
    });
    assert_eq!(hashes[0], hashes[1]);
    let hash = u32::from_str_radix(hashes[0].trim_start_matches("0x"), 16).unwrap();
    let split = format!("Hash 0x{:08x}", hash | 1);
    let mut splits = 0;
    for others in 14..60 {
        let image = image(options(16 << 20), |writer| {
            let dir = writer.dir(writer.root(), b"d", &meta(0o755)).unwrap();
            for name in (0..others).map(name).chain(pair.clone()) {
                writer.fifo(dir, name.as_bytes(), &meta(0o644)).unwrap();
            }
        });
        splits += u32::from(image.debugfs("htree_dump /d").contains(&split));
        image.mounted(|at| {
            for name in (0..others).map(name).chain(pair.clone()) {
                assert!(at.join("d").join(&name).symlink_metadata().is_ok(), "{name} of {others}");
            }
            assert_eq!(at.join("d").read_dir().unwrap().count() as u64, others + 2);
        });
    }
    assert!(splits > 0, "no index with {split}");
}

#[test]
#[ignore = "takes a minute"]
fn a_million_names() {
    let image = crowd(1_100_000, 1_000_000, |number| format!("{number}").into_bytes());
    assert_eq!(levels(&image), "Indirect levels: 1");
}

#[test]
#[ignore = "takes a minute"]
fn more_names_than_an_index_spans() {
    let options = Options { inodes: Some(100), ..options(8 << 30) };
    let mut writer = Writer::create(tempfile::tempfile().unwrap(), options).unwrap();
    let dir = writer.dir(writer.root(), b"d", &meta(0o755)).unwrap();
    let mut file = writer.fifo(writer.root(), b"0", &meta(0o755)).unwrap();
    for number in 0..507 * 510 * 15_u64 + 1 {
        if number % 64_000 == 63_999 {
            file = writer.fifo(writer.root(), format!("{number}").as_bytes(), &meta(0o755)).unwrap();
        }
        writer.link(dir, &long(number), file).unwrap();
    }
    assert_eq!(writer.finish().unwrap_err().to_string(), "/d: a directory with too many entries");
}

#[test]
fn subdirectories_up_to_what_is_counted_and_beyond() {
    let options = Options { inodes: Some(200_000), ..options(4 << 30) };
    let image = image(options, |writer| {
        for (name, count) in [("counted", 64_998), ("beyond", 66_000)] {
            let dir = writer.dir(writer.root(), name.as_bytes(), &meta(0o755)).unwrap();
            for number in 0..count {
                writer.dir(dir, format!("{number}").as_bytes(), &meta(0o755)).unwrap();
            }
        }
    });
    image.stat("/counted", &["Links: 65000 "]);
    image.stat("/beyond", &["Links: 1 "]);
    image.mounted(|at| {
        assert_eq!(at.join("beyond").read_dir().unwrap().count(), 66_000);
        assert!(at.join("beyond/65999").is_dir());
    });
}

#[test]
fn hard_links_up_to_what_is_counted() {
    let image = image(options(1 << 30), |writer| {
        let root = writer.root();
        let dir = writer.dir(root, b"many", &meta(0o755)).unwrap();
        let file = writer.file(root, b"file", &meta(0o644), 3, &mut &b"abc"[..]).unwrap();
        for number in 1..65_000 {
            writer.link(dir, format!("{number}").as_bytes(), file).unwrap();
        }
        let error = writer.link(dir, b"one too many", file).unwrap_err();
        assert_eq!(error.to_string(), "/many/one too many: more than 65000 hard links to one file");
        assert!(matches!(error.reason, Reason::TooManyLinks));
    });
    image.stat("/file", &["Links: 65000 "]);
    image.mounted(|at| assert_eq!(at.join("many/64999").metadata().unwrap().nlink(), 65_000));
}

#[test]
fn directories_within_directories() {
    let image = image(options(256 << 20), |writer| {
        let mut dir = writer.root();
        for _ in 0..2000 {
            dir = writer.dir(dir, b"d", &meta(0o755)).unwrap();
        }
        writer.fifo(dir, b"end", &meta(0o600)).unwrap();
        let error = writer.fifo(dir, b"end", &meta(0o600)).unwrap_err();
        assert_eq!(error.path.len(), 2000 * 2 + 4);
    });
    image.mounted(|at| assert!(at.join("d/".repeat(2000)).join("end").symlink_metadata().is_ok()));
}
