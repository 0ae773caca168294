//! Headers that lie about what follows them.

use crate::layers::{END, Entry, Fixture, content, debugfs, kind, tarball};

#[test]
fn a_size_that_goes_beyond_the_end_is_refused() {
    let fixture = Fixture::new();
    let words = ["layer 1 of 1", "\"liar\""];
    let good = Entry::file("good", "x");
    for size in [2000, 0o77777777777, 1 << 36, (1 << 62) - 1, i64::MAX as u64] {
        let liar = Entry::file("liar", "x").size(size);
        fixture.refused(&[tarball([good.clone(), liar.clone()])], &words);
        // Nothing behind it at all.
        let cut = [good.bytes(), liar.bytes()[..512].to_vec()].concat();
        fixture.refused(&[cut], &words);
        let by_pax = Entry::file("liar", "x").pax("size", size.to_string());
        fixture.refused(&[tarball([good.clone(), by_pax])], &words);
    }
}

#[test]
fn a_size_that_is_no_number_is_refused() {
    let fixture = Fixture::new();
    let words = ["layer 1 of 1", "\"liar\"", "size"];
    let negative = [0xff; 12];
    let huge = [&[0x80][..], &[0xff; 11]].concat();
    for field in
        [&negative[..], &huge, b"0000000000x\0", b"-0000000001\0", b"00000000 01\0", b"99999999999\0"]
    {
        let liar = Entry::file("liar", "x").field(124..136, field);
        fixture.refused(&[tarball([liar])], &words);
    }
    for text in ["-1", "x", "1x", "0x1", "99999999999999999999", "1e3", " 1", "1.5"] {
        let liar = Entry::file("liar", "x").pax("size", text);
        fixture.refused(&[tarball([liar])], &words);
    }
}

#[test]
fn the_size_in_a_pax_header_is_the_one_that_counts() {
    let fixture = Fixture::new();
    let larger = Entry::file("larger", "0123456789").size(1).pax("size", "10");
    let zero = Entry::file("zero", "0123456789").size(0).pax("size", "10");
    let unreadable = Entry::file("unreadable", "0123456789").field(124..136, &[0xff; 12]).pax("size", "10");
    let taken_back = Entry::file("taken-back", "0123456789").pax("size", "");
    let layer = tarball([larger, zero, unreadable, taken_back, Entry::file("next", "next")]);
    fixture.accepted(&[layer], |image| {
        for name in ["larger", "zero", "unreadable", "taken-back"] {
            assert_eq!(content(image, &format!("/{name}")), "0123456789", "{name}");
        }
        assert_eq!(content(image, "/next"), "next");
    });
    // A smaller one makes the rest of the content the next header.
    let smaller = Entry::file("smaller", [1; 1024]).pax("size", "512");
    fixture.refused(&[tarball([smaller])], &["layer 1 of 1", "not a tar header"]);
}

#[test]
fn only_files_have_content() {
    let fixture = Fixture::new();
    let sized = [
        Entry::dir("dir"),
        Entry::symlink("symlink", "x"),
        Entry::fifo("fifo"),
        Entry::char("char", 1, 3),
        Entry::block("block", 8, 1),
        Entry::file("file", "x"),
        Entry::hard_link("link", "file"),
    ];
    let lying = sized.map(|entry| if entry.bytes()[156] == b'0' { entry } else { entry.size(1 << 40) });
    let layer = tarball(lying.into_iter().chain([Entry::file("next", "next")]));
    fixture.accepted(&[layer], |image| {
        for (name, wanted) in
            [("dir", "directory"), ("symlink", "symlink"), ("fifo", "FIFO"), ("link", "regular")]
        {
            assert_eq!(kind(image, format!("/{name}")), wanted);
        }
        assert_eq!(content(image, "/next"), "next");
    });
}

#[test]
fn numbers_out_of_range_are_refused() {
    let fixture = Fixture::new();
    let negative = [0xff; 8];
    for (at, word) in [(108..116, "uid"), (116..124, "gid"), (100..108, "mode")] {
        for field in [&b"bad\0"[..], b"0000009\0", &[0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]] {
            // Of a mode, only the twelve bits that there are count.
            if word == "mode" && field[0] == 0x80 {
                continue;
            }
            let entry = Entry::file("liar", "").field(at.clone(), field);
            fixture.refused(&[tarball([entry])], &["layer 1 of 1", "\"liar\"", word]);
        }
    }
    for field in [108..116, 116..124] {
        let entry = Entry::file("liar", "").field(field, &negative);
        fixture.refused(&[tarball([entry])], &["layer 1 of 1", "\"liar\"", "out of range"]);
    }
    for key in ["uid", "gid"] {
        for value in ["-1", "4294967295", "4294967296", "1.5", "root", "99999999999999999999999"] {
            let entry = Entry::file("liar", "").pax(key, value);
            fixture.refused(&[tarball([entry])], &["layer 1 of 1", "\"liar\""]);
        }
    }
    for (major, minor) in [(1 << 12, 0), (0, 1 << 20), (u64::from(u32::MAX), 0), (1 << 40, 0), (0, 1 << 40)] {
        for entry in [Entry::char("liar", major, minor), Entry::block("liar", major, minor)] {
            fixture.refused(&[tarball([entry])], &["layer 1 of 1", "\"liar\""]);
        }
    }
    for value in ["x", "1.x", "1-", "--1", "99999999999999999999", "1.5.5", "\u{ff11}"] {
        let entry = Entry::file("liar", "").pax("mtime", value);
        fixture.refused(&[tarball([entry])], &["layer 1 of 1", "\"liar\"", "time"]);
    }
}

#[test]
fn a_time_beyond_ext4_is_the_nearest_that_it_has() {
    let fixture = Fixture::new();
    let layer = tarball([
        Entry::file("old", "").pax("mtime", i64::MIN.to_string()),
        Entry::file("new", "").pax("mtime", i64::MAX.to_string()),
        Entry::file("negative", "").pax("mtime", "-9223372036854775807.999999999"),
        Entry::file("header", "").mtime(u64::MAX >> 1),
    ]);
    fixture.accepted(&[layer], |image| {
        assert!(
            debugfs(image, "stat /old").contains("mtime: 0x80000000:"),
            "{}",
            debugfs(image, "stat /old")
        );
        assert!(
            debugfs(image, "stat /new").contains("mtime: 0x7fffffff:"),
            "{}",
            debugfs(image, "stat /new")
        );
    });
}

#[test]
fn kinds_that_there_are_not_are_refused() {
    let fixture = Fixture::new();
    for kind in (0..=255_u8).filter(|kind| !b"\x0001234567LKxgS".contains(kind)) {
        let layer = tarball([Entry::new(kind, "odd", "")]);
        let fixture = &fixture;
        // One way to pack them will do for 240.
        let archive = crate::layers::docker_image(&[layer], crate::layers::Packing::Plain);
        fixture.refused_archive(&archive, &["layer 1 of 1", "\"odd\"", "not supported"]);
    }
}

#[test]
fn what_follows_the_end_is_not_read() {
    let fixture = Fixture::new();
    let mut layer = tarball([Entry::file("a", "1")]);
    layer.extend(Entry::file("../b", "2").bytes());
    layer.extend(END);
    layer.extend([0xff; 700]);
    fixture.accepted(&[layer], |image| assert_eq!(content(image, "/a"), "1"));
    for nothing in [vec![], END.to_vec(), vec![0; 512]] {
        fixture.accepted(&[nothing], |image| assert_eq!(kind(image, "/tmp"), "directory"));
    }
    fixture.refused(&[[0; 100]], &["layer 1 of 1"]);
    fixture.refused(&[b"no tar file, and shorter than a block"], &["layer 1 of 1"]);
}
