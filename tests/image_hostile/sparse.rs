//! Maps of sparse files that lie, and layers that unpack to more than they may.

use std::fs;
use std::ops::ControlFlow;

use bottle::image::{ImageError, ImportOptions, Source, Store};

use crate::layers::{Entry, Fixture, Packing, debugfs, docker_image, tarball};

/// A file of 1,000 bytes by a PAX record with this map (0.1), of which 10 bytes are stored.
fn mapped(map: &str) -> Entry {
    Entry::file("liar", "0123456789")
        .pax("GNU.sparse.major", "0")
        .pax("GNU.sparse.minor", "1")
        .pax("GNU.sparse.name", "liar")
        .pax("GNU.sparse.size", "1000")
        .pax("GNU.sparse.map", map)
}

#[test]
fn maps_that_lie_are_refused() {
    let fixture = Fixture::new();
    for map in [
        "0,5,4,5",
        "500,5,0,5",
        "990,11",
        "1000,10",
        "0,9",
        "0,11",
        "0",
        "0,5,10",
        "x,10",
        "-1,10",
        "18446744073709551615,10",
        "0,18446744073709551615",
        "0,10,18446744073709551615,1",
        "0,,10",
    ] {
        fixture.refused(&[tarball([mapped(map)])], &["layer 1 of 1", "\"liar\"", "sparse map"]);
    }
    for size in ["-1", "x", "18446744073709551615", "9223372036854775807", "5"] {
        let entry = mapped("0,10").pax("GNU.sparse.size", size);
        fixture.refused(&[tarball([entry])], &["layer 1 of 1", "\"liar\""]);
    }
    let good = tarball([mapped("0,5,995,5")]);
    fixture.accepted(&[good], |image| assert!(debugfs(image, "stat /liar").contains("Size: 1000")));
}

#[test]
fn a_map_of_a_million_parts_is_read_or_refused_in_time() {
    let fixture = Fixture::new();
    // Before the content, as 1.0 has it: so many parts of no bytes.
    for parts in [1_000_000, 3_000_000, u64::MAX] {
        let mut map = format!("{parts}\n");
        (0..parts.min(1_000_000)).for_each(|_| map.push_str("0\n0\n"));
        let map = [map.as_bytes(), &vec![0; map.len().next_multiple_of(512) - map.len()]].concat();
        let entry = Entry::file("many", map)
            .pax("GNU.sparse.major", "1")
            .pax("GNU.sparse.minor", "0")
            .pax("GNU.sparse.name", "many")
            .pax("GNU.sparse.realsize", "1000");
        let archive = docker_image(&[tarball([entry])], Packing::Gzip);
        match fixture.import(&archive) {
            Ok(image) => fixture.checked(image, |_| assert_eq!(parts, 1_000_000)),
            Err(error) => assert!(error.to_string().contains("\"many\""), "{error}"),
        }
    }
}

#[test]
fn a_layer_that_unpacks_to_more_than_it_may_is_refused() {
    let fixture = Fixture::new();
    let layer = tarball([Entry::file("zeros", vec![0; 8 << 20])]);
    for (packing, room, taken) in [
        (Packing::Gzip, 1 << 20, false),
        (Packing::Zstd, 8 << 20, false),
        (Packing::Gzip, layer.len() as u64 - 1, false),
        (Packing::Gzip, layer.len() as u64, true),
        // It is as large as it says.
        (Packing::Plain, 1 << 20, true),
    ] {
        let path = fixture.path().join("in/image.tar");
        fs::write(&path, docker_image(&[&layer], packing)).unwrap();
        let mut options = ImportOptions::default();
        options.max_unpacked = room;
        let store = Store::open(&fixture.cache()).unwrap();
        let result =
            store.import(&Source::DockerArchive(path.into()), &options, &mut |_| ControlFlow::Continue(()));
        match result {
            Ok(image) if taken => fixture.checked(image, |_| ()),
            Err(error @ ImageError::TooLarge { .. }) if !taken => {
                assert!(error.to_string().contains("layer 1 of 1"), "{error}");
                fixture.check_empty(&error);
            }
            other => panic!("{packing:?} {room}: {other:?}"),
        }
    }
}
