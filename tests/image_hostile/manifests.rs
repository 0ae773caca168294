//! Tables of contents that lie: manifests, indexes and configs.

use std::fs;
use std::os::unix::fs::symlink;

use bottle::image::{ImageError, ImageId, Source};

use crate::layers::{
    Entry, Fixture, Packing, architecture, config, content, docker_archive, docker_image, gzip, tarball,
};

fn layer(text: &str) -> Vec<u8> {
    tarball([Entry::file("f", text)])
}

/// An archive with this `manifest.json`, a good config, a good layer `l`, and what else is given.
fn with_manifest(manifest: &str, more: impl IntoIterator<Item = Entry>) -> Vec<u8> {
    let layer = layer("x");
    let config = config(&[&layer]);
    let manifest = manifest.replace("CONFIG", &format!("{}.json", ImageId::of(&config)));
    let good = [
        Entry::file(format!("{}.json", ImageId::of(&config)), &config),
        Entry::file("l", &layer),
        Entry::file("manifest.json", manifest),
    ];
    tarball(good.into_iter().chain(more))
}

#[test]
fn a_manifest_that_points_nowhere_is_refused() {
    let fixture = Fixture::new();
    for (manifest, word) in [
        (r#"[{"Config":"none.json","Layers":["l"]}]"#, "none.json"),
        (r#"[{"Config":"CONFIG","Layers":["none"]}]"#, "none"),
        (r#"[{"Config":"CONFIG","Layers":["../../../../etc/hostname"]}]"#, "etc/hostname"),
        (r#"[{"Config":"CONFIG","Layers":["/etc/hostname"]}]"#, "etc/hostname"),
        (r#"[{"Config":"/etc/hostname","Layers":["l"]}]"#, "etc/hostname"),
        (r#"[{"Config":"CONFIG","Layers":[""]}]"#, "missing"),
        (r#"[{"Config":"","Layers":["l"]}]"#, "missing"),
        (r#"[{"Config":"manifest.json","Layers":["l"]}]"#, "manifest.json"),
        (r#"[{"Config":"CONFIG","Layers":[]}]"#, "0 layers"),
        (r#"[{"Config":"CONFIG"}]"#, "0 layers"),
        (r#"[{"Config":"CONFIG","Layers":["l","l"]}]"#, "2 layers"),
        (r#"[{"Config":"CONFIG","Layers":["manifest.json"]}]"#, "layer 1 of 1"),
        (r#"[{"Config":"CONFIG","Layers":["CONFIG"]}]"#, "layer 1 of 1"),
        (r#"[{"Config":"l","Layers":["l"]}]"#, "digest"),
        (r#"[{"Config":5,"Layers":["l"]}]"#, "manifest.json"),
        (r#"[{"Layers":["l"]}]"#, "manifest.json"),
        (r#"{"Config":"CONFIG","Layers":["l"]}"#, "manifest.json"),
        (r#"[]"#, "no image"),
        (r#"null"#, "manifest.json"),
        ("", "manifest.json"),
        ("[{\"Config\":\"CONFIG\",\"Layers\":[\"l\"]}] x", "manifest.json"),
    ] {
        fixture.refused_archive(&with_manifest(manifest, []), &[word]);
    }
    let good = r#"[{"Config":"CONFIG","Layers":["l"]}]"#;
    let image = fixture.import(&with_manifest(good, [])).unwrap();
    fixture.checked(image, |image| assert_eq!(content(image, "/f"), "x"));
}

#[test]
fn a_member_that_is_a_link_leads_to_a_member() {
    let fixture = Fixture::new();
    let manifest = r#"[{"Config":"CONFIG","Layers":["a"]}]"#;
    let hop = |to: &str| Entry::symlink("a", to);
    for (members, word) in [
        (vec![hop("/etc/hostname")], "a is missing"),
        (vec![hop("../../../../../etc/hostname")], "a is missing"),
        (vec![hop("a")], "a is missing"),
        (vec![hop("b"), Entry::symlink("b", "a")], "a is missing"),
        (vec![Entry::hard_link("a", "/etc/hostname")], "a is missing"),
        (vec![Entry::dir("a")], "a is missing"),
        (vec![Entry::fifo("a")], "a is missing"),
    ] {
        fixture.refused_archive(&with_manifest(manifest, members), &[word]);
    }
    for members in [vec![hop("l")], vec![hop("./b/../l")], vec![hop("b"), Entry::symlink("b", "l")]] {
        let image = fixture.import(&with_manifest(manifest, members)).unwrap();
        fixture.checked(image, |image| assert_eq!(content(image, "/f"), "x"));
    }
}

#[test]
fn of_two_members_of_one_name_the_digest_decides() {
    let fixture = Fixture::new();
    let manifest = r#"[{"Config":"CONFIG","Layers":["l"]}]"#;
    let other = [Entry::file("l", layer("y"))];
    fixture.refused_archive(&with_manifest(manifest, other), &["layer 1 of 1", "wrong digest"]);
    let same = [Entry::file("./l", layer("x"))];
    let image = fixture.import(&with_manifest(manifest, same)).unwrap();
    fixture.checked(image, |image| assert_eq!(content(image, "/f"), "x"));
}

#[test]
fn one_layer_several_times_is_several_layers() {
    let fixture = Fixture::new();
    let (a, b) = (layer("a"), layer("b"));
    fixture.accepted(&[&a, &b, &a], |image| assert_eq!(content(image, "/f"), "a"));
    // Of one member of the archive, as docker writes it.
    let config = config(&[&a, &b, &a]);
    let name = format!("{}.json", ImageId::of(&config));
    for packing in Packing::ALL {
        let manifest = format!(r#"[{{"Config":"{name}","Layers":["a","b","a"]}}]"#);
        let archive = tarball([
            Entry::file("a", packing.pack(&a)),
            Entry::file("b", packing.pack(&b)),
            Entry::file(&name, &config),
            Entry::file("manifest.json", manifest),
        ]);
        let image = fixture.import(&archive).unwrap();
        fixture.checked(image, |image| assert_eq!(content(image, "/f"), "a"));
    }
}

#[test]
fn every_digest_is_compared() {
    let fixture = Fixture::new();
    let (a, b) = (layer("a"), layer("b"));
    for packing in Packing::ALL {
        let stored = |layers: &[&Vec<u8>]| layers.iter().map(|layer| packing.pack(layer)).collect::<Vec<_>>();
        let promised = config(&[&a, &b]);
        for (layers, word) in
            // Compressed layers are read from the top down.
            [([&b, &a], " of 2 (sha256:"), ([&a, &a], "layer 2 of 2"), ([&b, &b], "layer 1 of 2")]
        {
            let error = fixture.refused_archive(&docker_archive(&promised, &stored(&layers)), &[word]);
            assert!(matches!(error, ImageError::WrongDigest { .. }), "{error}");
        }
        // Of a layer of which nothing is left to be seen, too.
        let hides = tarball([Entry::file(".wh..wh..opq", ""), Entry::file("g", "")]);
        let promised = config(&[&a, &hides]);
        let error =
            fixture.refused_archive(&docker_archive(&promised, &stored(&[&b, &hides])), &["layer 1 of 2"]);
        assert!(matches!(error, ImageError::WrongDigest { .. }), "{error}");
        // And of what follows the end of a tar file.
        let more = [&a[..], b"more"].concat();
        let error =
            fixture.refused_archive(&docker_archive(&config(&[&a]), &stored(&[&more])), &["layer 1 of 1"]);
        assert!(matches!(error, ImageError::WrongDigest { .. }), "{error}");
    }
}

#[test]
fn a_config_that_lies_is_refused() {
    let fixture = Fixture::new();
    let layer = layer("x");
    let good = String::from_utf8(config(&[&layer])).unwrap();
    let id = ImageId::of(&layer).to_string();
    for (from, to) in [
        ("sha256:", "sha512:"),
        (&id[..], "00"),
        (&id[..], &id.to_uppercase()),
        (&id[..], &id.replace(char::is_alphanumeric, "z")),
        (&id[..], "../../../../etc/hostname"),
        (architecture(), "pdp11"),
        ("linux", "windows"),
        (r#""config":{}"#, r#""config":5"#),
        (r#""config":{}"#, r#""config":{"Env":"x"}"#),
        (r#""rootfs""#, r#""root""#),
        ("}}", "}"),
        ("{", "["),
    ] {
        let config = good.replacen(from, to, 1);
        if config == good {
            panic!("{from} is not in the config");
        }
        fixture.refused_archive(&docker_archive(config.as_bytes(), std::slice::from_ref(&layer)), &[]);
    }
    for junk in ["", "{}", "[]", "null", "\0", "{\"a\":", &"[".repeat(100_000), &"{\"a\":".repeat(100_000)] {
        fixture.refused_archive(&docker_archive(junk.as_bytes(), std::slice::from_ref(&layer)), &[]);
    }
}

#[test]
fn json_without_end_is_refused() {
    let fixture = Fixture::new();
    for deep in ["[".repeat(1 << 20), "{\"a\":".repeat(1 << 18), format!("[{}", "1,".repeat(1 << 20))] {
        fixture.refused_archive(&with_manifest(&deep, []), &["manifest.json"]);
        let index = tarball([Entry::file("index.json", &deep)]);
        fixture.refused_archive(&index, &["index.json"]);
    }
    let large = format!("[{}]", " ".repeat(4 << 20));
    fixture.refused_archive(&with_manifest(&large, []), &["manifest.json"]);
}

#[test]
fn an_index_that_leads_nowhere_or_on_and_on_is_refused() {
    let fixture = Fixture::new();
    let digest = |bytes: &[u8]| format!("sha256:{}", ImageId::of(bytes));
    let index = |digest: &str| format!(r#"{{"manifests":[{{"digest":"{digest}"}}]}}"#);
    let blob = |bytes: &str| Entry::file(format!("blobs/sha256/{}", ImageId::of(bytes.as_bytes())), bytes);
    for (digest, word) in [
        ("sha256:", "digest"),
        ("sha256:../../../../etc/hostname", "digest"),
        ("md5:00", "digest"),
        ("", "digest"),
        (&digest(b"none"), "missing"),
    ] {
        fixture.refused_archive(&tarball([Entry::file("index.json", index(digest))]), &[word]);
    }
    // Each within the next.
    let mut members = vec![blob("{}")];
    let mut outer = index(&digest(b"{}"));
    for _ in 0..100 {
        members.push(blob(&outer));
        outer = index(&digest(outer.as_bytes()));
    }
    members.push(Entry::file("index.json", &outer));
    fixture.refused_archive(&tarball(members), &["indexes within each other"]);
    // A manifest with layers and no config, with a config that is none, and with a blob that is another's.
    for (manifest, word) in [
        (r#"{"layers":[]}"#.to_owned(), "no config"),
        (format!(r#"{{"config":{{"digest":"{}"}}}}"#, digest(b"{}")), "config"),
        (r#"{"config":{"digest":"x"}}"#.to_owned(), "digest"),
        (r#"{"config":{}}"#.to_owned(), "digest"),
    ] {
        let top = Entry::file("index.json", index(&digest(manifest.as_bytes())));
        fixture.refused_archive(&tarball([top, blob("{}"), blob(&manifest)]), &[word]);
    }
    let top = Entry::file("index.json", index(&digest(b"{}")));
    let other = Entry::file(format!("blobs/sha256/{}", ImageId::of(b"{}")), "[]");
    fixture.refused_archive(&tarball([top, other]), &["wrong digest"]);
}

#[test]
fn a_directory_gives_nothing_that_lies_outside() {
    let fixture = Fixture::new();
    let dir = fixture.path().join("in/layout");
    fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    let canary = fixture.canary().join("file");
    for digest in ["sha256:../../../../canary/file", canary.to_str().unwrap(), "sha256:/etc/hostname"] {
        let index = format!(r#"{{"manifests":[{{"digest":"{digest}"}}]}}"#);
        fs::write(dir.join("index.json"), index).unwrap();
        let error = fixture.import_from(Source::OciLayout(dir.clone().into())).unwrap_err();
        assert!(error.to_string().contains("not a sha256 digest"), "{error}");
    }
    // What a docker manifest names is looked for in the directory, by each of its forms.
    fs::remove_file(dir.join("index.json")).unwrap();
    let config_name = format!("{}.json", ImageId::of(&config(&[layer("x")])));
    fs::write(dir.join(&config_name), config(&[layer("x")])).unwrap();
    for path in ["../../canary/file", canary.to_str().unwrap(), "a/../../../canary/file"] {
        let manifest = format!(r#"[{{"Config":"{config_name}","Layers":["{path}"]}}]"#);
        fs::write(dir.join("manifest.json"), manifest).unwrap();
        let error = fixture.import_from(Source::OciLayout(dir.clone().into())).unwrap_err();
        assert!(error.to_string().contains("is missing"), "{error}");
    }
    // Nor what only waits, or never ends.
    for special in ["/dev/zero", "/dev/tty", "/proc/kmsg"] {
        symlink(special, dir.join("special")).unwrap();
        let manifest = format!(r#"[{{"Config":"{config_name}","Layers":["special"]}}]"#);
        fs::write(dir.join("manifest.json"), manifest).unwrap();
        assert!(fixture.import_from(Source::OciLayout(dir.clone().into())).is_err(), "{special}");
        fs::remove_file(dir.join("special")).unwrap();
    }
}

#[test]
fn five_hundred_layers_are_imported_and_more_are_refused() {
    let fixture = Fixture::new();
    let empty = tarball([]);
    for (packing, count) in
        Packing::ALL.into_iter().flat_map(|packing| [(packing, 500), (packing, 501), (packing, 20_000)])
    {
        let config = config(&vec![&empty; count]);
        let name = format!("{}.json", ImageId::of(&config));
        let layers = vec!["l"; count];
        let archive = tarball([
            Entry::file("l", packing.pack(&empty)),
            Entry::file("manifest.json", format!(r#"[{{"Config":"{name}","Layers":{layers:?}}}]"#)),
            Entry::file(&name, &config),
        ]);
        if count > 500 {
            fixture.refused_archive(&archive, &[&format!("{count} layers")]);
        } else {
            let image = fixture.import(&archive).unwrap();
            fixture.checked(image, |_| ());
        }
    }
}

#[test]
fn what_is_no_archive_is_said_to_be_none() {
    let fixture = Fixture::new();
    let archive = docker_image(&[layer("x")], Packing::Plain);
    for junk in [gzip(&archive), layer("x"), vec![0xff; 5000], b"PK\x03\x04".repeat(300), vec![0; 10_240]] {
        let error = fixture.refused_archive(&junk, &[]);
        assert!(matches!(error, ImageError::NotAnArchive { .. }), "{error}");
    }
}
