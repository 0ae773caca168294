//! Several entries of one name: the last one wins, as if they were unpacked in their order.

use crate::layers::{Entry, Fixture, content, debugfs, kind, tarball};

const KINDS: [&str; 7] = ["regular", "directory", "symlink", "hard", "character", "block", "FIFO"];

fn entry(kind: &str, name: &str) -> Entry {
    match kind {
        "regular" => Entry::file(name, format!("content of {name}")),
        "directory" => Entry::dir(name).mode(0o711),
        "symlink" => Entry::symlink(name, "target"),
        "hard" => Entry::hard_link(name, "linked"),
        "character" => Entry::char(name, 1, 3),
        "block" => Entry::block(name, 8, 1),
        _ => Entry::fifo(name),
    }
}

fn pairs() -> impl Iterator<Item = (&'static str, &'static str, String)> {
    let second = |first| KINDS.map(move |second| (first, second, format!("{first}-{second}")));
    KINDS.into_iter().flat_map(second)
}

#[test]
fn the_later_of_two_entries_wins() {
    let fixture = Fixture::new();
    let linked = || Entry::file("linked", "linked to");
    let firsts = || pairs().map(|(first, _, name)| entry(first, &name));
    let seconds = || pairs().map(|(_, second, name)| entry(second, &name));
    let turns = || firsts().zip(seconds()).flat_map(|(first, second)| [first, second]);
    // One after the other, with others between them, and in different layers.
    let together = tarball([linked()].into_iter().chain(turns()));
    let apart = tarball([linked()].into_iter().chain(firsts()).chain(seconds()));
    let low = tarball([linked()].into_iter().chain(firsts()));
    let high = tarball(seconds());
    for layers in [vec![together], vec![apart], vec![low, high]] {
        fixture.accepted(&layers, |image| {
            for (first, second, name) in pairs() {
                let wanted = if second == "hard" { "regular" } else { second };
                assert_eq!(kind(image, format!("/{name}")), wanted, "{first}, then {second}");
            }
            // Those seven, and the first name: what was replaced is no name of it any more.
            assert!(debugfs(image, "stat /linked").contains("Links: 8"));
            assert_eq!(content(image, "/hard-regular"), "content of hard-regular");
            assert_eq!(content(image, "/linked"), "linked to");
        });
    }
}

#[test]
fn what_was_in_a_directory_goes_with_it() {
    let fixture = Fixture::new();
    for between in KINDS.iter().filter(|kind| **kind != "directory") {
        let low = || {
            vec![Entry::file("linked", "x"), Entry::dir("d"), Entry::file("d/old", "1"), Entry::dir("d/e")]
        };
        let high = || vec![entry(between, "d"), Entry::dir("d"), Entry::file("d/new", "2")];
        let one = tarball(low().into_iter().chain(high()));
        for layers in [vec![one], vec![tarball(low()), tarball(high())]] {
            fixture.accepted(&layers, |image| {
                assert_eq!(kind(image, "/d/old"), "nothing", "{between}");
                assert_eq!(kind(image, "/d/e"), "nothing", "{between}");
                assert_eq!(content(image, "/d/new"), "2", "{between}");
            });
        }
    }
}

#[test]
fn a_directory_again_keeps_what_is_in_it() {
    let fixture = Fixture::new();
    let low = || vec![Entry::dir("d").mode(0o700).owner(1, 2), Entry::file("d/old", "1")];
    let high = || vec![Entry::dir("d/").mode(0o511).owner(3, 4).mtime(77)];
    let one = tarball(low().into_iter().chain(high()));
    for layers in [vec![one], vec![tarball(low()), tarball(high())]] {
        fixture.accepted(&layers, |image| {
            assert_eq!(content(image, "/d/old"), "1");
            let said = debugfs(image, "stat /d");
            let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
            for wanted in ["Mode: 0511", "User: 3 Group: 4", "mtime: 0x0000004d"] {
                assert!(said.contains(wanted), "no {wanted} in {said}");
            }
        });
    }
}

#[test]
fn a_whiteout_and_an_entry_of_one_name_may_come_in_any_order_and_number() {
    let fixture = Fixture::new();
    let low = tarball([Entry::dir("d"), Entry::file("d/old", "1"), Entry::file("f", "1")]);
    let whiteouts = || [Entry::file(".wh.d", ""), Entry::file(".wh.f", ""), Entry::file(".wh.d", "")];
    let entries = || [Entry::file("f", "2"), Entry::dir("d"), Entry::file("d/new", "2")];
    for high in [
        whiteouts().into_iter().chain(entries()).collect::<Vec<_>>(),
        entries().into_iter().chain(whiteouts()).collect(),
        whiteouts().into_iter().chain(entries()).chain(whiteouts()).chain(entries()).collect(),
    ] {
        fixture.accepted(&[&low, &tarball(high)], |image| {
            assert_eq!(content(image, "/f"), "2");
            assert_eq!(content(image, "/d/new"), "2");
            assert_eq!(kind(image, "/d/old"), "nothing");
            assert_eq!(kind(image, "/.wh.d"), "nothing");
        });
    }
}
