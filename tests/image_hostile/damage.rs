//! Layers cut off, and with bytes changed, at every place. The digests are of what is there, so that nothing is noticed by
//! them, but where that is said.

use std::path::Path;

use crate::layers::{Entry, Fixture, Packing, config, content, docker_archive, docker_image, tarball};

fn layer() -> Vec<u8> {
    tarball([
        Entry::dir("d"),
        Entry::file("d/large", [7; 700]).pax("SCHILY.xattr.user.x", "v"),
        Entry::file("short", "2").after(&Entry::long(b'L', "long")),
        Entry::symlink("s", "target"),
        Entry::hard_link("l", "long"),
        Entry::char("c", 1, 3),
    ])
}

/// What is at the end of each entry.
fn is_prefix(image: &Path) {
    let large = content(image, "/d/large");
    assert!(large.is_empty() || large.len() == 700, "{} bytes", large.len());
}

#[test]
fn a_layer_cut_off_anywhere_is_refused_or_ends_after_an_entry() {
    let layer = layer();
    let fixture = Fixture::new();
    let mut whole = 0;
    let lengths = (0..=layer.len()).step_by(512).chain((1..layer.len()).step_by(301));
    for length in lengths {
        for packing in Packing::ALL {
            match fixture.import(&docker_image(&[&layer[..length]], packing)) {
                Ok(image) => {
                    fixture.checked(image, is_prefix);
                    whole += 1;
                }
                Err(error) => assert!(error.to_string().starts_with("layer 1 of 1"), "at {length}: {error}"),
            }
        }
    }
    // After none, `d`, `d/large`, `long`, `s`, `l` and `c`, and that with one block of the end, and with both; the padding after
    // a content may be missing.
    assert!((3 * 9..=3 * 15).contains(&whole), "{whole}");
}

#[test]
fn a_packed_layer_cut_off_anywhere_is_refused() {
    let layer = layer();
    let fixture = Fixture::new();
    let config = config(&[&layer]);
    for packing in [Packing::Gzip, Packing::Zstd] {
        let packed = packing.pack(&layer);
        for length in 0..packed.len() {
            match fixture.import(&docker_archive(&config, &[packed[..length].to_vec()])) {
                Ok(_) => panic!("{packing:?}: accepted {length} bytes of {}", packed.len()),
                Err(error) => assert!(error.to_string().contains("layer 1 of 1"), "at {length}: {error}"),
            }
        }
    }
}

#[test]
fn a_packed_layer_with_a_changed_byte_is_refused_or_means_the_same() {
    let layer = layer();
    let fixture = Fixture::new();
    let config = config(&[&layer]);
    for packing in [Packing::Gzip, Packing::Zstd] {
        let packed = packing.pack(&layer);
        for at in 0..packed.len() {
            let mut changed = packed.clone();
            changed[at] ^= [0x01, 0x80, 0xff][at % 3];
            match fixture.import(&docker_archive(&config, &[changed])) {
                Ok(image) => fixture.checked(image, |image| assert_eq!(content(image, "/long"), "2")),
                Err(error) => assert!(error.to_string().contains("layer 1 of 1"), "{at}: {error}"),
            }
        }
    }
}

#[test]
fn a_layer_with_a_changed_byte_is_refused_or_a_correct_image() {
    let layer = layer();
    let fixture = Fixture::new();
    let (mut accepted, mut refused) = (0, 0);
    for at in (0..layer.len()).filter(|at| at % if layer[*at] == 0 { 41 } else { 3 } == 0) {
        let mut changed = layer.clone();
        changed[at] ^= 1 << (at % 8);
        match fixture.import(&docker_image(&[changed], Packing::Plain)) {
            Ok(image) => {
                fixture.checked(image, |_| ());
                accepted += 1;
            }
            Err(error) => {
                assert!(error.to_string().starts_with("layer 1 of 1"), "{at}: {error}");
                refused += 1;
            }
        }
    }
    assert!(accepted > 50 && refused > 50, "{accepted} accepted, {refused} refused");
}

#[test]
fn a_changed_header_whose_checksum_is_right_is_refused_or_a_correct_image() {
    let fixture = Fixture::new();
    let entry = Entry::file("name", "content");
    // The numbers, the kind, the magic, and where other forms of a header have more.
    for at in [0, 1, 99].into_iter().chain(100..148).chain(156..160).chain(257..265).chain(329..348) {
        for byte in [b'7', 0x80, 0xff] {
            let layer = tarball([Entry::dir("d"), entry.clone().field(at..at + 1, &[byte])]);
            match fixture.import(&docker_image(&[layer], Packing::Plain)) {
                Ok(image) => fixture.checked(image, |_| ()),
                Err(error) => assert!(error.to_string().starts_with("layer 1 of 1"), "{at}: {error}"),
            }
        }
    }
}

#[test]
fn what_is_no_layer_is_refused() {
    let fixture = Fixture::new();
    let packed = Packing::Gzip.pack(&layer());
    let zstd = Packing::Zstd.pack(&layer());
    for (junk, word) in [
        (b"\xfd7zXZ\0\0\x04".to_vec(), "xz"),
        (b"BZh91AY&SY".to_vec(), "bzip2"),
        (vec![0x1f, 0x8b], "layer 1 of 1"),
        (vec![0x1f, 0x8b, 9, 0], "layer 1 of 1"),
        (vec![0x28, 0xb5, 0x2f, 0xfd], "layer 1 of 1"),
        // A skippable frame of zstd that says it has 4 GiB.
        (vec![0x50, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0xff], "layer 1 of 1"),
        // A window of terabytes.
        (vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xff, 0, 0, 0], "layer 1 of 1"),
        // Packed twice.
        (Packing::Gzip.pack(&packed), "layer 1 of 1"),
        (Packing::Zstd.pack(&packed), "layer 1 of 1"),
        (b"<html>not found</html>".repeat(40), "layer 1 of 1"),
    ] {
        fixture.refused_archive(&docker_archive(&config(&[&junk]), std::slice::from_ref(&junk)), &[word]);
        fixture.refused_archive(&docker_archive(&config(&[&layer()]), &[junk]), &["layer 1 of 1"]);
    }
    // Something behind the end of what is packed.
    for packed in [packed, zstd] {
        let more = [&packed[..], b"more"].concat();
        fixture.refused_archive(&docker_archive(&config(&[&layer()]), &[more]), &["layer 1 of 1"]);
    }
}

#[test]
fn a_layer_in_several_members_or_frames_is_one() {
    let layer = layer();
    let fixture = Fixture::new();
    let config = config(&[&layer]);
    let skippable = [&[0x5a, 0x2a, 0x4d, 0x18, 5, 0, 0, 0][..], b"extra"].concat();
    let mut forms = Vec::new();
    for packing in [Packing::Gzip, Packing::Zstd] {
        let pieces: Vec<_> = layer.chunks(700).map(|piece| packing.pack(piece)).collect();
        forms.push(pieces.concat());
    }
    // As zstd:chunked has it.
    forms.push([&skippable[..], &Packing::Zstd.pack(&layer), &skippable].concat());
    // As estargz has it: an empty member last.
    forms.push([Packing::Gzip.pack(&layer), Packing::Gzip.pack(b"")].concat());
    for form in forms {
        let image = fixture.import(&docker_archive(&config, &[form])).unwrap();
        fixture.checked(image, |image| assert_eq!(content(image, "/long"), "2"));
    }
}
