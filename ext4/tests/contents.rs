//! Contents of files: holes, extents, sizes, and readers that do not keep their word.
#![allow(clippy::unwrap_used, clippy::panic, reason = "also outside of test functions, this is all test")]

mod common;

use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};

use bottle_ext4::{Options, Reason, Writer};
use common::{image, meta, options};

const MIB: u64 = 1 << 20;
const BLOCK: u64 = 4096;

/// Blocks of which one in `every` is not zero: it has its number in all bytes.
struct Striped {
    at: u64,
    end: u64,
    every: u64,
}

impl Read for Striped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = (buffer.len() as u64).min(self.end - self.at).min(BLOCK - self.at % BLOCK);
        buffer[..want as usize].fill(stripe(self.at / BLOCK, self.every));
        self.at += want;
        Ok(want as usize)
    }
}

fn stripe(block: u64, every: u64) -> u8 {
    if block.is_multiple_of(every) { (block / every % 255 + 1) as u8 } else { 0 }
}

fn striped(writer: &mut Writer, name: &str, size: u64, every: u64) {
    let mut content = Striped { at: 0, end: size, every };
    writer.file(writer.root(), name.as_bytes(), &meta(0o644), size, &mut content).unwrap();
}

#[test]
fn sizes_around_blocks() {
    let sizes = [4096, 0, 1, 4095, 4097, 128 * 1024, MIB - 1, MIB, MIB + 1, 3 * MIB + 5];
    let content = |size: u64| -> Vec<u8> { (0..size).map(|n| (n * 7 % 251 + 1) as u8).collect() };
    let image = image(options(128 * MIB), |writer| {
        for size in sizes {
            let name = size.to_string();
            writer.file(writer.root(), name.as_bytes(), &meta(0o644), size, &mut &content(size)[..]).unwrap();
        }
    });
    // Nothing of another file lies behind the end.
    let raw = std::fs::File::open(&image.path).unwrap();
    for size in sizes.into_iter().filter(|size| size % BLOCK != 0) {
        let place: u64 = image.debugfs(&format!("bmap /{size} {}", size / BLOCK)).trim().parse().unwrap();
        let mut block = [0; BLOCK as usize];
        raw.read_exact_at(&mut block, place * BLOCK).unwrap();
        let (content, rest) = block.split_at((size % BLOCK) as usize);
        assert!(content.iter().all(|&byte| byte != 0) && rest.iter().all(|&byte| byte == 0), "{size}");
    }
    image.mounted(|at| {
        for size in sizes {
            let path = at.join(size.to_string());
            assert!(std::fs::read(&path).unwrap() == content(size), "{size}");
            assert_eq!(path.metadata().unwrap().blocks(), size.div_ceil(BLOCK) * 8);
        }
    });
}

#[test]
fn contents_follow_each_other_on_disk() {
    let image = image(options(256 * MIB), |writer| {
        for number in 0..100 {
            let content = [number + 1; 5000];
            writer
                .file(
                    writer.root(),
                    &[b'a' + number / 26, b'a' + number % 26],
                    &meta(0o644),
                    5000,
                    &mut &content[..],
                )
                .unwrap();
        }
    });
    let first: u64 = image.debugfs("bmap /aa 0").trim().parse().unwrap();
    let last: u64 = image.debugfs("bmap /dv 1").trim().parse().unwrap();
    assert_eq!(last, first + 199);
}

#[test]
fn many_extents() {
    // Extents: 5 (one leaf), 341 (two), 3,000 (nine, and so two levels) and 500,000 (three levels).
    let files = [("five", 5, 2), ("leaves", 341, 3), ("levels", 3000, 2), ("deep", 500_000, 2)];
    let image = image(options(4 << 30), |writer| {
        for (name, extents, every) in files {
            striped(writer, name, extents * every * BLOCK, every);
        }
    });
    for (name, depth, index_blocks) in
        [("five", 1, 1), ("leaves", 1, 2), ("levels", 2, 9 + 1), ("deep", 3, 1471 + 5 + 1)]
    {
        let said = image.debugfs(&format!("ex /{name}"));
        let last = said.lines().last().unwrap();
        assert!(last.starts_with(&format!(" {depth}/ {depth}")), "{name}: {last}");
        let extents = files.iter().find(|file| file.0 == name).unwrap().1;
        image.stat(&format!("/{name}"), &[&format!("Blockcount: {}\n", 8 * (extents + index_blocks))]);
    }
    image.mounted(|at| {
        for (name, extents, every) in files {
            let file = std::fs::File::open(at.join(name)).unwrap();
            let mut block = [0; BLOCK as usize];
            for number in 0..extents * every {
                file.read_exact_at(&mut block, number * BLOCK).unwrap();
                assert!(block == [stripe(number, every); BLOCK as usize], "{name}, block {number}");
            }
        }
    });
}

#[test]
fn files_of_zeros_take_no_blocks() {
    let image = image(options(64 * MIB), |writer| {
        let root = writer.root();
        let size = 5 << 30;
        writer.file(root, b"zeros", &meta(0o644), size, &mut io::repeat(0).take(size)).unwrap();
        // The last bytes of more than 4 GiB, behind a hole; the file system has 64 MiB.
        let mut end = io::repeat(0).take(size).chain(&b"the end"[..]);
        writer.file(root, b"end", &meta(0o644), size + 7, &mut end).unwrap();
    });
    image.stat("/zeros", &["Size: 5368709120", "Blockcount: 0\n"]);
    image.stat("/end", &["Size: 5368709127", "Blockcount: 8\n"]);
    image.mounted(|at| {
        let mut end = [0; 8];
        let file = std::fs::File::open(at.join("end")).unwrap();
        file.read_exact_at(&mut end, (5 << 30) - 1).unwrap();
        assert_eq!(&end, b"\0the end");
    });
}

#[test]
fn a_file_across_many_groups() {
    // 700 MiB pass superblocks' copies in groups 1, 3 and 5; extents have 128 MiB at most.
    let size = 700 * MIB;
    let image =
        image(Options { inodes: Some(1000), ..options(1 << 30) }, |writer| striped(writer, "file", size, 1));
    let extents = image.debugfs("ex /file");
    assert!(extents.lines().count() < 12, "{extents}");
    image.mounted(|at| {
        let file = std::fs::File::open(at.join("file")).unwrap();
        let mut block = [0; BLOCK as usize];
        for number in (0..size / BLOCK).step_by(97) {
            file.read_exact_at(&mut block, number * BLOCK).unwrap();
            assert!(block == [stripe(number, 1); BLOCK as usize], "block {number}");
        }
    });
}

/// Says that it read more than there was room for.
struct Liar;

impl Read for Liar {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(buffer.len() + 1)
    }
}

/// Breaks down after 2 MiB.
struct Broken(u64);

impl Read for Broken {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0 >= 2 * MIB {
            return Err(io::Error::other("it broke"));
        }
        buffer.fill(b'x');
        self.0 += buffer.len() as u64;
        Ok(buffer.len())
    }
}

/// Gives one byte at a time, with interruptions.
struct Slow(u64);

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0 += 1;
        if self.0.is_multiple_of(3) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        buffer[0] = b's';
        Ok(1)
    }
}

#[test]
fn readers_that_lie() {
    let image = image(options(64 * MIB), |writer| {
        let root = writer.root();
        let mut refused = |size, content: &mut dyn Read| {
            let error = writer.file(root, b"f", &meta(0o644), size, content).unwrap_err();
            (error.to_string(), error.reason)
        };
        let (text, _) = refused(10, &mut &b"short"[..]);
        assert_eq!(text, "/f: the content ends after 5 of 10 bytes");
        let (text, _) = refused(3 * MIB, &mut io::repeat(1).take(2 * MIB));
        assert_eq!(text, "/f: the content ends after 2097152 of 3145728 bytes");
        let (text, _) = refused(4, &mut &b"longer"[..]);
        assert_eq!(text, "/f: the content is longer than the 4 bytes announced");
        assert!(matches!(refused(0, &mut &b"x"[..]).1, Reason::ContentLong(0)));
        assert!(matches!(refused(0, &mut Liar).1, Reason::Read(_)));
        assert!(matches!(refused(7, &mut Liar).1, Reason::Read(_)));
        let (text, _) = refused(4 * MIB, &mut Broken(0));
        assert_eq!(text, "/f: the content can't be read: it broke");
        assert!(matches!(refused(1 << 44, &mut Liar).1, Reason::FileTooLarge(_)));
        // None of it is in the way of what comes next.
        writer.file(root, b"f", &meta(0o644), 5000, &mut Slow(0).take(5000)).unwrap();
    });
    image.mounted(|at| assert_eq!(std::fs::read(at.join("f")).unwrap(), [b's'; 5000]));
}

#[test]
fn a_full_file_system() {
    let size = 64 * MIB;
    let mut last = 0;
    let full = image(options(size), |writer| {
        let root = writer.root();
        let error = writer
            .file(root, b"large", &meta(0o644), 65 * MIB, &mut io::repeat(1).take(65 * MIB))
            .unwrap_err();
        assert_eq!(error.to_string(), "/large: the file system of 67108864 bytes is full");
        // Up to the last block but two, for the directories.
        let dir = writer.dir(root, b"d", &meta(0o755)).unwrap();
        for number in 0_u64.. {
            let made = writer.file(
                dir,
                number.to_string().as_bytes(),
                &meta(0o644),
                MIB,
                &mut io::repeat(1).take(MIB),
            );
            match made {
                Ok(_) => last = number,
                Err(error) => {
                    assert!(matches!(error.reason, Reason::Full(_)), "{error}");
                    break;
                }
            }
        }
    });
    assert!((50..63).contains(&last) && full.summary.free_bytes < MIB, "{last} {:?}", full.summary);

    let file = tempfile::tempfile().unwrap();
    let mut writer = Writer::create(file, options(size)).unwrap();
    let mut number = 0_u64;
    while writer.file(writer.root(), number.to_string().as_bytes(), &meta(0), 1, &mut &b"x"[..]).is_ok()
        || number > 20_000
    {
        number += 1;
    }
    let error = writer.fifo(writer.root(), b"more", &meta(0)).unwrap_err();
    assert_eq!(error.to_string(), "/more: all 4096 inodes of the file system are taken");
    assert_eq!(number, 4096 - 10);
    let error = writer.finish().unwrap_err();
    assert_eq!(error.to_string(), "/lost+found: all 4096 inodes of the file system are taken");

    // Directories find no room.
    let mut writer = Writer::create(tempfile::tempfile().unwrap(), options(size)).unwrap();
    let root = writer.root();
    for number in 0..64_u64 {
        let kib = if number < 50 { MIB } else { BLOCK };
        for part in 0..=255_u64 {
            let name = format!("{number}-{part}");
            if writer.file(root, name.as_bytes(), &meta(0), kib, &mut io::repeat(1).take(kib)).is_err() {
                break;
            }
        }
    }
    let error = writer.finish().unwrap_err();
    assert!(error.to_string().ends_with("the file system of 67108864 bytes is full"), "{error}");
}

#[test]
fn options_that_make_no_sense() {
    let refused = |options| {
        let error = Writer::create(tempfile::tempfile().unwrap(), options).unwrap_err();
        error.to_string()
    };
    let plain = options(64 * MIB);
    assert_eq!(refused(options(0)), "0 bytes are too few");
    assert_eq!(refused(options(200_000)), "200000 bytes are too few");
    assert_eq!(refused(options(4 * MIB)), "the file system of 4194304 bytes is full");
    assert_eq!(refused(options(u64::MAX)), "18446744073709551615 bytes, where 16 TiB are the most");
    assert_eq!(refused(Options { uuid: [0; 16], ..plain.clone() }), "a UUID of zeros");
    assert!(refused(Options { label: vec![b'x'; 17], ..plain.clone() }).starts_with("a label"));
    assert!(refused(Options { journal_blocks: Some(1023), ..plain.clone() }).contains("1023"));
    assert!(refused(Options { journal_blocks: Some(1 << 20), ..plain.clone() }).contains("full"));
    assert!(refused(Options { inodes: Some(40_000), ..plain.clone() }).contains("40000 inodes are too many"));
    assert!(refused(Options { reserved_percent: 51, ..plain }).contains("reserved"));
}

/// Its number in each place.
fn numbered(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at as u64 * 7 % 251 + 1) as u8).collect()
}

#[test]
fn a_content_in_pieces_is_that_content() {
    let whole = [&numbered(5_000)[..], &[0; 300_000], &numbered(9_001), &[0; 12_288], &numbered(1)].concat();
    let image = image(options(128 * MIB), |writer| {
        for piece in [1, 7, 512, 4095, 4096, 4097, 1 << 20] {
            let mut content = writer.content(whole.len() as u64).unwrap();
            for part in whole.chunks(piece) {
                // Zeros come in either way.
                match part.iter().all(|&byte| byte == 0) && piece != 512 {
                    true => content.skip(part.len() as u64).unwrap(),
                    false => content.write(part).unwrap(),
                }
            }
            let content = content.finish().unwrap();
            assert_eq!(content.size(), whole.len() as u64);
            let mut back = Vec::new();
            writer.read(&content).unwrap().read_to_end(&mut back).unwrap();
            assert!(back == whole, "by {piece}");
            // 2, 3 or 4, and 1 blocks.
            let blocks: u64 = content.ranges().map(|range| (range.end - range.start) / BLOCK).sum();
            assert!((6..=7).contains(&blocks), "{blocks}");
            let copy = writer.copy(&content).unwrap();
            let mut back = Vec::new();
            writer.read(&copy).unwrap().read_to_end(&mut back).unwrap();
            assert!(back == whole && content.ranges().zip(copy.ranges()).all(|(one, other)| one != other));
            writer.file_of(writer.root(), format!("copy-{piece}").as_bytes(), &meta(0o644), copy).unwrap();
            let name = format!("by-{piece}");
            writer.file_of(writer.root(), name.as_bytes(), &meta(0o644), content).unwrap();
        }
        let mut content = writer.content(5).unwrap();
        assert!(matches!(content.write(b"sixsix").unwrap_err().reason, Reason::ContentLong(5)));
        content.write(b"four").unwrap();
        assert!(matches!(content.skip(2).unwrap_err().reason, Reason::ContentLong(5)));
        assert!(matches!(content.finish().unwrap_err().reason, Reason::ContentShort { got: 4, size: 5 }));
    });
    for piece in [1, 7, 512, 4095, 4096, 4097, 1 << 20] {
        let out = image.dir.path().join("out");
        image.debugfs(&format!("dump /by-{piece} {}", out.display()));
        assert!(std::fs::read(&out).unwrap() == whole, "by {piece}");
    }
}

#[test]
fn a_content_that_nobody_wants_takes_no_room() {
    let room = |content: Option<&[u8]>| {
        let image = image(options(128 * MIB), |writer| {
            if let Some(bytes) = content {
                let mut content = writer.content(bytes.len() as u64).unwrap();
                content.write(bytes).unwrap();
                let content = content.finish().unwrap();
                writer.discard(content).unwrap();
            }
            let mut content = writer.content(MIB).unwrap();
            content.write(&[1; 12_345]).unwrap();
            drop(content);
            let small = numbered(10_000);
            writer.file(writer.root(), b"small", &meta(0o644), 10_000, &mut &small[..]).unwrap();
        });
        (image.summary.free_bytes, std::fs::metadata(&image.path).unwrap().blocks())
    };
    let (free, blocks) = room(None);
    let (free_after, blocks_after) = room(Some(&numbered(20 << 20)));
    assert_eq!(free, free_after);
    // The bitmap of the group may take more.
    assert!(blocks_after <= blocks + 16, "{blocks} {blocks_after}");
}

#[test]
fn damage_changes_the_checksum() {
    let image = image(options(128 * MIB), |writer| striped(writer, "file", 10 * MIB, 3));
    let file = std::fs::File::options().read(true).write(true).open(&image.path).unwrap();
    let place: u64 = image.debugfs("bmap /file 0").trim().parse().unwrap();
    for (at, byte) in [(place * BLOCK + 77, 9), (1024 + 4, 1), (100 * MIB, 1)] {
        let mut old = [0];
        file.read_exact_at(&mut old, at).unwrap();
        assert_ne!(old, [byte]);
        file.write_all_at(&[byte], at).unwrap();
        assert_ne!(bottle_ext4::checksum(&file).unwrap(), image.summary.checksum, "{at}");
        file.write_all_at(&old, at).unwrap();
        assert_eq!(bottle_ext4::checksum(&file).unwrap(), image.summary.checksum);
    }
}
