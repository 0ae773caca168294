//! PAX headers and the extended attributes in them, with lies.

use crate::layers::{Entry, Fixture, content, debugfs, kind, pax_records, tarball};

const ACL: &str = "system.posix_acl_access";

/// Version 2, and these entries: a tag, permissions, an ID.
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend([tag.to_le_bytes(), permissions.to_le_bytes()].concat());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

#[test]
fn a_record_that_lies_about_its_length_is_refused() {
    let fixture = Fixture::new();
    for records in [
        &b"x"[..],
        b"12",
        b" path=a\n",
        b"12 path=abc",
        b"13 path=abc\n",
        b"11 path=abc\n",
        b"4 a=\n",
        b"6 path\n",
        b"0 path=a\n",
        b"-9 path=a\n",
        b"99999999999999999999 path=a\n",
        b"18446744073709551615 path=a\n",
        b"9223372036854775807 path=a\n",
        b"1048577 path=a\n",
        b"\xff path=a\n",
        b"9 path=a\n9 path=b",
    ] {
        for flag in [b'x', b'g'] {
            let header = Entry::extended(flag, records);
            let layer = tarball([header, Entry::file("a", "1")]);
            fixture.refused(&[layer], &["layer 1 of 1", "PAX"]);
        }
    }
}

#[test]
fn an_extended_header_belongs_to_an_entry() {
    let fixture = Fixture::new();
    for header in
        [Entry::extended(b'x', b"9 path=a\n"), Entry::long(b'L', "name"), Entry::long(b'K', "target")]
    {
        let bytes = header.bytes();
        fixture.refused(&[&bytes], &["layer 1 of 1"]);
        fixture.refused(&[tarball([header.clone()])], &["layer 1 of 1"]);
        for cut in (512..bytes.len()).step_by(100) {
            fixture.refused(&[&bytes[..cut]], &["layer 1 of 1", "cut off"]);
        }
        for size in [u64::MAX >> 1, (1 << 20) + 1] {
            fixture.refused(&[tarball([header.clone().size(size), Entry::file("a", "")])], &["layer 1 of 1"]);
        }
        fixture.refused(
            &[tarball([header.clone().field(124..136, &[0xff; 12]), Entry::file("a", "")])],
            &["layer 1 of 1"],
        );
    }
}

#[test]
fn of_two_words_on_one_thing_the_stronger_counts() {
    let fixture = Fixture::new();
    let layer = tarball([
        // The later of two records.
        Entry::file("a", "1").pax("path", "first").pax("path", "second"),
        // PAX before GNU, whichever comes first; GNU before the header.
        Entry::file("b", "2").after(&Entry::long(b'L', "gnu")).pax("path", "pax"),
        Entry::file("c", "3").after(&Entry::long(b'L', "one")).after(&Entry::long(b'L', "two")),
        // A PAX header for all that follow, which one for the next entry goes before, and an empty value takes back.
        Entry::extended(b'g', &pax_records(&[("uid", "77"), ("mtime", "5")])),
        Entry::file("global", "4"),
        Entry::file("own", "5").pax("uid", "78"),
        Entry::file("none", "6").pax("uid", ""),
        Entry::extended(b'g', &pax_records(&[("uid", "")])),
        Entry::file("after", "7"),
    ]);
    fixture.accepted(&[layer], |image| {
        for (path, text) in [("second", "1"), ("pax", "2"), ("two", "3")] {
            assert_eq!(content(image, &format!("/{path}")), text);
        }
        for gone in ["a", "b", "c", "first", "gnu", "one"] {
            assert_eq!(kind(image, format!("/{gone}")), "nothing", "{gone}");
        }
        for (path, uid) in [("global", 77), ("own", 78), ("none", 0), ("after", 0)] {
            let said = debugfs(image, format!("stat /{path}"));
            let found = said.split_whitespace().skip_while(|word| *word != "User:").nth(1);
            assert_eq!(found, Some(uid.to_string().as_str()), "{path}: {said}");
        }
    });
}

#[test]
fn attributes_that_no_file_can_have_are_refused() {
    let fixture = Fixture::new();
    let named = |key: String, value: &[u8]| Entry::file("liar", "").pax(format!("SCHILY.xattr.{key}"), value);
    let text = |key: &str| named(key.to_owned(), b"v");
    for entry in [
        text(""),
        text("user."),
        text("user"),
        text("nothing.x"),
        text("system.x"),
        text(".x"),
        named(format!("user.{}", "n".repeat(256)), b"v"),
        named("user.large".into(), &[b'v'; 65_537]),
        named("user.larger".into(), &vec![b'v'; 1_000_000]),
        named("user.nul\0name".into(), b"v"),
    ] {
        fixture.refused(&[tarball([entry])], &["layer 1 of 1", "\"liar\""]);
    }
    // Each would do by itself.
    let many = (0..200)
        .fold(Entry::file("liar", ""), |entry, i| entry.pax(format!("SCHILY.xattr.user.{i}"), [b'v'; 100]));
    fixture.refused(&[tarball([many])], &["layer 1 of 1", "\"liar\""]);
}

#[test]
fn access_control_lists_are_well_formed_or_refused() {
    let fixture = Fixture::new();
    let good = acl(&[(1, 6, u32::MAX), (2, 4, 1000), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 4, u32::MAX)]);
    let with = |value: &[u8]| Entry::file("liar", "").pax(format!("SCHILY.xattr.{ACL}"), value);
    fixture.accepted(&[tarball([with(&good)])], |image| assert_eq!(kind(image, "/liar"), "regular"));
    let wrong_version = [&[3, 0, 0, 0], &good[4..]].concat();
    let unknown_tag = acl(&[(1, 6, 0), (3, 4, 0), (4, 4, 0), (32, 4, 0)]);
    let permissions = acl(&[(1, 0xffff, 0), (4, 4, 0), (32, 4, 0)]);
    let unsorted = acl(&[(32, 4, 0), (4, 4, 0), (1, 6, 0)]);
    for bad in [&b"\x02\0\0"[..], &good[..11], &wrong_version, &unknown_tag, &permissions, &unsorted] {
        let words = ["layer 1 of 1", "\"liar\"", ACL];
        fixture.refused(&[tarball([with(bad)])], &words);
    }
}

#[test]
fn attributes_of_a_link_mean_nothing_and_those_of_a_symlink_are_its_own() {
    let fixture = Fixture::new();
    let layer = tarball([
        Entry::file("f", "x"),
        Entry::hard_link("l", "f").pax("SCHILY.xattr.user.x", "v"),
        Entry::symlink("s", "f").pax("SCHILY.xattr.trusted.x", "v"),
    ]);
    fixture.accepted(&[layer], |image| {
        assert!(!debugfs(image, "stat /f").contains("user.x"));
        assert!(debugfs(image, "stat /s").contains("trusted.x"));
    });
}

#[test]
fn keys_that_mean_nothing_here_are_let_be() {
    let fixture = Fixture::new();
    let layer = tarball([Entry::file("f", "x")
        .pax("comment", "\0\u{ff}")
        .pax("LIBARCHIVE.creationtime", "nonsense")
        .pax("", "no key")
        .pax("APK-TOOLS.checksum.SHA1", "0")
        .pax("k".repeat(5000), "v".repeat(5000))]);
    fixture.accepted(&[layer], |image| assert_eq!(content(image, "/f"), "x"));
}
