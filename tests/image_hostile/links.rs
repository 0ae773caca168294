//! Links that lead out of the image, nowhere, or round in circles.

use std::path::Path;

use crate::layers::{Entry, Fixture, content, debugfs, kind, tarball};

#[test]
fn a_hard_link_leads_to_nothing_outside() {
    let fixture = Fixture::new();
    let canary = fixture.canary().join("file");
    let words = ["layer 1 of 1", "\"l\"", "hard link to"];
    fixture.refused(&[tarball([Entry::hard_link("l", canary.to_str().unwrap())])], &words);
    for target in ["../canary/file", "../../canary/file", "a/../../x", ".."] {
        fixture.refused(&[tarball([Entry::hard_link("l", target)])], &words);
    }
    // Nor by a symlink in its way.
    let symlink = Entry::symlink("s", fixture.canary().to_str().unwrap());
    fixture.refused(&[tarball([symlink, Entry::hard_link("l", "s/file")])], &words);
    fixture.refused(
        &[tarball([Entry::symlink("s", "../../.."), Entry::hard_link("l", "s/etc/passwd")])],
        &words,
    );
}

#[test]
fn a_hard_link_leads_to_what_was_there_before() {
    let fixture = Fixture::new();
    let words = ["layer 1 of 1", "\"l\"", "does not exist"];
    fixture.refused(&[tarball([Entry::hard_link("l", "l")])], &words);
    fixture.refused(&[tarball([Entry::hard_link("l", "later"), Entry::file("later", "x")])], &words);
    fixture.refused(&[tarball([Entry::hard_link("l", "m"), Entry::hard_link("m", "l")])], &words);
    fixture.refused(&[tarball([Entry::file("f", ""), Entry::hard_link("l", "f/g")])], &words);
    fixture.refused(&[tarball([Entry::file(".wh.f", ""), Entry::hard_link("l", ".wh.f")])], &words);
    let low = tarball([Entry::file("f", "x"), Entry::dir("d"), Entry::file("d/f", "x")]);
    let words = ["layer 2 of 2", "\"l\"", "does not exist"];
    for hidden in [".wh.f", ".wh..wh..opq"] {
        fixture.refused(&[&low, &tarball([Entry::file(hidden, ""), Entry::hard_link("l", "f")])], &words);
        // The order within a layer does not matter.
        fixture.refused(&[&low, &tarball([Entry::hard_link("l", "f"), Entry::file(hidden, "")])], &words);
    }
    fixture.refused(&[&low, &tarball([Entry::file("d", ""), Entry::hard_link("l", "d/f")])], &words);
}

#[test]
fn a_directory_has_one_name() {
    let fixture = Fixture::new();
    for target in ["d", "/", ".", "", "s/d"] {
        let layer = tarball([Entry::dir("d"), Entry::symlink("s", "."), Entry::hard_link("l", target)]);
        fixture.refused(&[layer], &["layer 1 of 1", "\"l\""]);
    }
    let layer = tarball([Entry::dir("d"), Entry::dir("d/e"), Entry::hard_link("d/e/l", "d")]);
    fixture.refused(&[layer], &["layer 1 of 1", "\"d/e/l\"", "is a directory"]);
}

#[test]
fn a_hard_link_to_anything_else_is_a_name_of_it() {
    let fixture = Fixture::new();
    let layer = tarball([
        Entry::symlink("s", "nowhere"),
        Entry::hard_link("s2", "s"),
        Entry::char("c", 1, 3),
        Entry::hard_link("c2", "/c"),
        Entry::fifo("p"),
        Entry::hard_link("p2", "./p"),
        Entry::file("f", "x"),
        Entry::hard_link("f2", "f"),
        Entry::hard_link("f3", "f2"),
        // What is linked to itself stays.
        Entry::hard_link("f", "f3"),
        Entry::hard_link("f", "f"),
        // A link's own words about owner, mode and content mean nothing.
        Entry::hard_link("f4", "f").mode(0o7777).owner(5, 5).size(0),
        Entry::dir("d"),
        Entry::symlink("to-d", "/d"),
        Entry::file("d/g", "y"),
        Entry::hard_link("to-d/h", "to-d/g"),
    ]);
    fixture.accepted(&[layer], |image| {
        for (name, kind, links) in [
            ("s2", "symlink", 2),
            ("c2", "character", 2),
            ("p2", "FIFO", 2),
            ("f4", "regular", 4),
            ("f", "regular", 4),
            ("d/h", "regular", 2),
        ] {
            let said = debugfs(image, format!("stat /{name}"));
            assert!(said.contains(&format!("Type: {kind}")), "{name}: {said}");
            assert!(said.contains(&format!("Links: {links}")), "{name}: {said}");
        }
        assert!(debugfs(image, "stat /f4").contains("Mode:  0644"));
    });
}

#[test]
fn a_symlink_in_a_path_stays_within_the_image() {
    let fixture = Fixture::new();
    let canary = fixture.canary();
    let canary = canary.to_str().unwrap();
    let layer = tarball([
        Entry::symlink("abs", canary),
        Entry::file("abs/pwned", "inside"),
        Entry::symlink("up", format!("../../../../../../../../../..{canary}")),
        Entry::file("up/pwned2", "inside"),
        Entry::symlink("file", format!("{canary}/file")),
        // The last part of a name is not followed: this is in the symlink's place.
        Entry::file("file", "replaced"),
        Entry::symlink("dir", canary),
        Entry::dir("dir"),
        Entry::file("dir/in", "real"),
    ]);
    fixture.accepted(&[layer], |image| {
        assert_eq!(content(image, &format!("{canary}/pwned")), "inside");
        assert_eq!(content(image, &format!("{canary}/pwned2")), "inside");
        assert_eq!(kind(image, "/file"), "regular");
        assert_eq!(content(image, "/dir/in"), "real");
        assert_eq!(kind(image, format!("{canary}/in")), "nothing");
    });
}

#[test]
fn symlinks_that_go_in_circles_are_refused_as_a_way() {
    let fixture = Fixture::new();
    let circles: [&[Entry]; 5] = [
        &[Entry::symlink("a", "a")],
        &[Entry::symlink("a", "b"), Entry::symlink("b", "/a")],
        &[Entry::symlink("a", "./a/b")],
        &[Entry::symlink("a", "b/../b"), Entry::symlink("b", "a/./")],
        // Each doubles what is left to do.
        &[Entry::symlink("a", "b/b"), Entry::symlink("b", "c/c"), Entry::symlink("c", "a/a")],
    ];
    for circle in circles {
        // By themselves they are files like others.
        fixture.accepted(&[tarball(circle.to_vec())], |image| assert_eq!(kind(image, "/a"), "symlink"));
        for way in [Entry::file("a/x", "x"), Entry::dir("a/b/c"), Entry::file("a/.wh.x", "")] {
            let all = circle.iter().cloned().chain([way.clone()]);
            let low = tarball(circle.to_vec());
            let high = tarball([way.clone()]);
            fixture.refused(&[low, high], &["layer 2 of 2", "\"a/", "symlinks"]);
            // A whiteout concerns the layers below, which have no circle here.
            if !way.bytes().starts_with(b"a/.wh.") {
                fixture.refused(&[tarball(all)], &["layer 1 of 1", "\"a/", "symlinks"]);
            }
        }
        let link = circle.iter().cloned().chain([Entry::hard_link("l", "a/x")]);
        fixture.refused(&[tarball(link)], &["layer 1 of 1", "\"l\"", "symlinks"]);
    }
}

#[test]
fn what_the_guest_needs_is_not_made_through_a_circle() {
    let fixture = Fixture::new();
    for name in ["tmp", "dev", "proc", "sys", "run"] {
        fixture.refused(&[tarball([Entry::symlink(name, name)])], &[&format!("/{name}"), "directory"]);
        fixture.refused(&[tarball([Entry::symlink(name, "f"), Entry::fifo(name)])], &[&format!("/{name}")]);
    }
    // What they lead to is in the image, wherever they seem to lead.
    let layer = tarball(
        ["tmp", "dev", "proc", "sys", "run"]
            .map(|name| Entry::symlink(name, format!("../../else/where/{name}"))),
    );
    fixture.accepted(&[layer], |image| {
        assert_eq!(kind(image, "/else/where/tmp"), "directory");
    });
}

#[test]
fn the_home_that_is_given_away_is_not_found_through_a_way_out() {
    let fixture = Fixture::new();
    let passwd = |home: &str| format!("node:x:1000:1000::{home}:/bin/sh\n");
    let owner = |image: &Path, path: &str| {
        let said = debugfs(image, format!("stat {path}"));
        said.split_whitespace().skip_while(|word| *word != "User:").nth(1).map(str::to_owned)
    };
    for home in ["/h", "/h/..", "/h/../../..", "/circle/x", "/up"] {
        let layer = tarball([
            Entry::file("etc/passwd", passwd(home)),
            Entry::symlink("h", "../../.."),
            Entry::symlink("up", ".."),
            Entry::symlink("circle", "circle"),
        ]);
        fixture.accepted(&[layer], |image| assert_eq!(owner(image, "/etc/passwd").as_deref(), Some("0")));
    }
}
