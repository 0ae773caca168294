//! Where an entry says that it belongs.

use crate::layers::{Entry, Fixture, content, kind, tarball};

#[test]
fn an_absolute_name_is_one_within_the_image() {
    let fixture = Fixture::new();
    let canary = fixture.canary().join("file");
    let canary = canary.to_str().unwrap();
    let layer = tarball([
        Entry::file(canary, "inside"),
        Entry::file("//a//./b", "double"),
        Entry::dir("/"),
        Entry::dir("./"),
        Entry::dir("."),
        Entry::dir(""),
        Entry::file("...", "dots"),
        Entry::file("..x", "dots"),
        Entry::symlink("s/", "target"),
        Entry::fifo("./f//"),
    ]);
    fixture.accepted(&[layer], |image| {
        assert_eq!(content(image, canary), "inside");
        assert_eq!(content(image, "/a/b"), "double");
        assert_eq!(content(image, "/..."), "dots");
        assert_eq!(content(image, "/..x"), "dots");
        assert_eq!(kind(image, "/s"), "symlink");
        assert_eq!(kind(image, "/f"), "FIFO");
    });
}

#[test]
fn a_way_up_is_refused_wherever_it_is() {
    let fixture = Fixture::new();
    let canary = fixture.canary();
    let to_canary = format!("../../../../../../../..{}/x", canary.display());
    for name in ["..", "../x", "/../x", "a/..", "a/../b", "a/b/..//c", "./..", "../../canary/x", &to_canary] {
        let entry = format!("{name:?}");
        let words = ["layer 1 of 1 (sha256:", &entry, ".. in it"];
        fixture.refused(&[tarball([Entry::file(name, "x")])], &words);
        fixture.refused(&[tarball([Entry::dir(name)])], &words);
        fixture.refused(&[tarball([Entry::symlink(name, "x")])], &words);
        fixture.refused(&[tarball([Entry::file("short", "x").pax("path", name)])], &words);
        fixture.refused(&[tarball([Entry::file("short", "x").after(&Entry::long(b'L', name))])], &words);
        // A whiteout beside it, too.
        let whiteout = format!("{name}/.wh.x");
        fixture.refused(&[tarball([Entry::file(whiteout, "")])], &["layer 1 of 1", ".. in it"]);
    }
}

#[test]
fn the_layer_that_is_refused_is_named() {
    let fixture = Fixture::new();
    let good = tarball([Entry::file("a", "1")]);
    let bad = tarball([Entry::file("b", "2"), Entry::file("../c", "3")]);
    fixture.refused(&[&good, &bad, &good], &["layer 2 of 3", "\"../c\""]);
}

#[test]
fn the_root_is_a_directory() {
    let fixture = Fixture::new();
    for name in ["", "/", ".", "./", "//./"] {
        for entry in [Entry::symlink(name, "x"), Entry::fifo(name), Entry::char(name, 1, 3)] {
            fixture.refused(&[tarball([entry])], &["layer 1 of 1", "root"]);
        }
    }
    for name in ["", "."] {
        fixture.refused(&[tarball([Entry::file(name, "x")])], &["layer 1 of 1", "root"]);
        fixture.refused(&[tarball([Entry::file("a", "x"), Entry::hard_link(name, "a")])], &["root"]);
    }
}

#[test]
fn no_name_has_a_nul() {
    let fixture = Fixture::new();
    let words = ["layer 1 of 1", "NUL"];
    fixture.refused(&[tarball([Entry::file("a", "x").pax("path", "a\0b")])], &words);
    fixture.refused(&[tarball([Entry::symlink("a", "x").pax("linkpath", "a\0b")])], &words);
    fixture.refused(&[tarball([Entry::hard_link("a", "x").pax("linkpath", "\0")])], &words);
    // In a header, and in GNU's long name, it is where the name ends.
    let layer = tarball([
        Entry::file("one\0two", "1"),
        Entry::file("short", "2").after(&Entry::long(b'L', "three\0four")),
        Entry::symlink("five", "six\0seven"),
    ]);
    fixture.accepted(&[layer], |image| {
        assert_eq!(content(image, "/one"), "1");
        assert_eq!(content(image, "/three"), "2");
        assert_eq!(kind(image, "/short"), "nothing");
        assert_eq!(kind(image, "/five"), "symlink");
    });
}

#[test]
fn a_link_leads_somewhere() {
    let fixture = Fixture::new();
    fixture.refused(&[tarball([Entry::symlink("empty", "")])], &["layer 1 of 1", "\"empty\""]);
    fixture.refused(&[tarball([Entry::hard_link("empty", "")])], &["layer 1 of 1", "\"empty\""]);
    let long = "x".repeat(4096);
    fixture.refused(&[tarball([Entry::symlink("long", "").pax("linkpath", &long)])], &["\"long\"", "4096"]);
    let fits = tarball([Entry::symlink("long", "").pax("linkpath", &long[1..])]);
    fixture.accepted(&[fits], |image| assert_eq!(kind(image, "/long"), "symlink"));
}

#[test]
fn names_of_any_bytes_come_as_they_are() {
    let fixture = Fixture::new();
    let long = [0xff; 255];
    let layer = tarball([
        Entry::file(b"new\nline", "1"),
        Entry::file(b"back\\slash", "2"),
        Entry::file(b"\x1b[31mred\x07", "3"),
        Entry::file(b"caf\xe9", "4"),
        Entry::file("long", "5").pax("path", long),
        Entry::dir(b"  "),
    ]);
    fixture.accepted(&[layer], |image| {
        for name in [&b"/back\\slash"[..], b"/\x1b[31mred\x07", b"/caf\xe9", &[b"/", &long[..]].concat()] {
            assert_eq!(kind(image, name), "regular", "{name:?}");
        }
        assert_eq!(kind(image, "/  "), "directory");
    });
    // In a message they are quoted: a terminal gets none of it.
    let error = fixture.refused_archive(
        &crate::layers::docker_image(
            &[tarball([Entry::hard_link(b"\x1b[31m\n\xff", b"\x1b[32m\n\xff")])],
            crate::layers::Packing::Plain,
        ),
        &["layer 1 of 1"],
    );
    assert!(!error.to_string().contains(char::is_control), "{error:?}");
}

#[test]
fn names_and_paths_end() {
    let fixture = Fixture::new();
    let name = "n".repeat(256);
    for path in [name.clone(), format!("{name}/x"), format!("x/{name}")] {
        let words = ["layer 1 of 1", "256 bytes"];
        fixture.refused(&[tarball([Entry::file("a", "").pax("path", &path)])], &words);
        fixture.refused(&[tarball([Entry::file("a", "").after(&Entry::long(b'L', &path))])], &words);
    }
    // 2,046 directories and a file are 4,094 bytes with the slash before them; one more is more than a path can have.
    let deepest = format!("{}f", "d/".repeat(2046));
    fixture.accepted(&[tarball([Entry::file("a", "deep").pax("path", &deepest)])], |image| {
        assert_eq!(content(image, &format!("/{deepest}")), "deep");
    });
    let deeper = format!("d/{deepest}");
    fixture.refused(&[tarball([Entry::file("a", "").pax("path", deeper)])], &["layer 1 of 1", "deeper"]);
    let long = format!("{}f", "dir/".repeat(1024));
    fixture.refused(&[tarball([Entry::file("a", "").pax("path", long)])], &["layer 1 of 1", "4097 bytes"]);
}

#[test]
fn symlinks_make_no_directory_deeper_than_a_path_can_be() {
    let fixture = Fixture::new();
    let half = "d/".repeat(1500);
    let layer = tarball([
        Entry::dir("a").pax("path", &half),
        Entry::symlink("s", "").pax("linkpath", &half),
        Entry::file("f", "").pax("path", format!("s/{half}f")),
    ]);
    fixture.refused(&[layer], &["layer 1 of 1", "deeper"]);
}

#[test]
fn a_whiteout_names_something() {
    let fixture = Fixture::new();
    for name in [".wh.", "a/.wh.", ".wh..", ".wh...", "a/.wh../"] {
        fixture.refused(&[tarball([Entry::file(name, "")])], &["layer 1 of 1", "names nothing"]);
    }
    fixture.refused(&[tarball([Entry::file(".wh.a/x", "")])], &["layer 1 of 1", "name of a whiteout"]);
    // It hides whatever kind it has itself, and what it hides need not be there.
    let low =
        tarball([Entry::file("a", "1"), Entry::dir("d"), Entry::file("d/x", "1"), Entry::file("k", "1")]);
    let high = tarball([
        Entry::dir(".wh.a"),
        Entry::symlink(".wh.d", "k"),
        Entry::hard_link(".wh.gone", "nowhere"),
        Entry::file("no/where/.wh.x", ""),
        Entry::fifo("no/.wh..wh..opq"),
    ]);
    fixture.accepted(&[low, high], |image| {
        for gone in ["/a", "/d", "/no", "/gone"] {
            assert_eq!(kind(image, gone), "nothing", "{gone}");
        }
        assert_eq!(content(image, "/k"), "1");
    });
}
