//! Archives built in memory, imported for real: the ext4 image is checked by e2fsck and read by debugfs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use bottle::image::{Image, ImageError, ImageId, ImportOptions, OnProgress, Source, Store};
use tar::EntryType;
use tempfile::TempDir;

type Tar = tar::Builder<Vec<u8>>;

fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

fn header(kind: EntryType, mode: u32, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(1_000_000_000);
    header.set_size(size as u64);
    header
}

fn file(tar: &mut Tar, path: &str, mode: u32, content: &[u8]) {
    tar.append_data(&mut header(EntryType::Regular, mode, content.len()), path, content).unwrap();
}

fn empty(tar: &mut Tar, kind: EntryType, path: &str, mode: u32) {
    tar.append_data(&mut header(kind, mode, 0), path, &b""[..]).unwrap();
}

fn link(tar: &mut Tar, kind: EntryType, path: &str, target: &str) {
    tar.append_link(&mut header(kind, 0o777, 0), path, target).unwrap();
}

fn tarball(fill: impl FnOnce(&mut Tar)) -> Vec<u8> {
    let mut tar = Tar::new(Vec::new());
    fill(&mut tar);
    tar.into_inner().unwrap()
}

/// A small layer with one of everything.
fn layer() -> Vec<u8> {
    tarball(|tar| {
        for (path, mode) in [("etc/", 0o755), ("home/", 0o755), ("home/node/", 0o700), ("dev/", 0o755)] {
            empty(tar, EntryType::Directory, path, mode);
        }
        file(tar, "etc/passwd", 0o644, b"root:x:0:0::/root:/bin/sh\nnode:x:1000:1001::/home/node:/bin/sh\n");
        file(tar, "home/node/notes", 0o600, b"written by root\n");
        file(tar, "etc/su", 0o4755, &[7; 9000]);
        link(tar, EntryType::Link, "etc/su2", "etc/su");
        link(tar, EntryType::Symlink, "etc/mtab", "/proc/mounts");
        let mut null = header(EntryType::Char, 0o666, 0);
        null.set_device_major(1).unwrap();
        null.set_device_minor(3).unwrap();
        tar.append_data(&mut null, "dev/null", &b""[..]).unwrap();
        empty(tar, EntryType::Fifo, "etc/pipe", 0o640);
        tar.append_pax_extensions([("SCHILY.xattr.user.note", b"hi".as_slice())]).unwrap();
        file(tar, "etc/noted", 0o644, b"x");
    })
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn config(layers: &[&[u8]], architecture: &str) -> Vec<u8> {
    let ids: Vec<_> = layers.iter().map(|layer| format!("sha256:{}", ImageId::of(layer))).collect();
    format!(
        r#"{{"architecture":"{architecture}","os":"linux","config":{{"User":"node","Env":["A=1"]}},
        "rootfs":{{"type":"layers","diff_ids":{ids:?}}}}}"#
    )
    .into_bytes()
}

fn pack(members: &[(&str, &[u8])]) -> Vec<u8> {
    tarball(|tar| members.iter().for_each(|(name, content)| file(tar, name, 0o644, content)))
}

/// As docker before 25 writes it. `stored` are the layers as they lie in the archive.
fn docker_archive(layers: &[&[u8]], stored: &[&[u8]]) -> Vec<u8> {
    let config = config(layers, architecture());
    let config_name = format!("{}.json", ImageId::of(&config));
    let names: Vec<_> = (0..stored.len()).map(|i| format!("{i}/layer.tar")).collect();
    let manifest = format!(r#"[{{"Config":"{config_name}","RepoTags":["t:1"],"Layers":{names:?}}}]"#);
    let mut members: Vec<(&str, &[u8])> =
        names.iter().map(String::as_str).zip(stored.iter().copied()).collect();
    members.push((&config_name, &config));
    members.push(("manifest.json", manifest.as_bytes()));
    pack(&members)
}

/// The files of an OCI layout without docker's manifest. Each image has one layer; its name is in the index.
fn oci_layout(images: &[(&str, &[u8], &[u8])]) -> Vec<(String, Vec<u8>)> {
    let mut members = vec![("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())];
    let mut add = |bytes: &[u8]| {
        let id = ImageId::of(bytes);
        members.push((format!("blobs/sha256/{id}"), bytes.to_vec()));
        format!(r#""digest":"sha256:{id}","size":{}"#, bytes.len())
    };
    let mut index = Vec::new();
    for (name, layer, stored) in images {
        let (config, layer) = (add(&config(&[layer], architecture())), add(stored));
        let manifest = add(format!(r#"{{"config":{{{config}}},"layers":[{{{layer}}}]}}"#).as_bytes());
        index.push(format!(
            r#"{{{manifest},"annotations":{{"org.opencontainers.image.ref.name":"{name}"}}}}"#
        ));
    }
    members.push(("index.json".to_owned(), format!(r#"{{"manifests":[{}]}}"#, index.join(",")).into_bytes()));
    members
}

fn pack_layout(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    pack(&members.iter().map(|(name, content)| (name.as_str(), &content[..])).collect::<Vec<_>>())
}

struct Fixture {
    dir: TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    fn import(&self, archive: &[u8]) -> Result<Image, ImageError> {
        self.import_unless(archive, &mut |_| ControlFlow::Continue(()))
    }

    fn import_unless(&self, archive: &[u8], on_progress: OnProgress<'_>) -> Result<Image, ImageError> {
        let path = self.dir.path().join("image.tar");
        fs::write(&path, archive).unwrap();
        Store::open(&self.cache())?.import(
            &Source::DockerArchive(path.into()),
            &ImportOptions::default(),
            on_progress,
        )
    }

    /// Refused, with nothing kept.
    #[track_caller]
    fn refused(&self, archive: &[u8]) -> ImageError {
        let error = self.import(archive).unwrap_err();
        self.nothing_kept(&error);
        error
    }

    #[track_caller]
    fn nothing_kept(&self, error: &ImageError) {
        let images = self.cache().join("images");
        let left: Vec<_> = fs::read_dir(&images)
            .unwrap()
            .chain(fs::read_dir(images.join("work")).into_iter().flatten())
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !["locks", "daemon", "work", ".lock"].contains(&name.as_str()))
            .collect();
        assert!(left.is_empty(), "{error}: left {left:?}");
    }
}

#[track_caller]
fn fsck(base: &Path) {
    let out = Command::new("/sbin/e2fsck").args(["-f", "-n"]).arg(base).output().expect("Debian: e2fsprogs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
}

fn debugfs(base: &Path, request: &str) -> String {
    String::from_utf8_lossy(&debugfs_bytes(base, request.as_bytes())).into_owned()
}

fn debugfs_bytes(base: &Path, request: &[u8]) -> Vec<u8> {
    let mut debugfs = Command::new("/sbin/debugfs");
    debugfs.arg("-R").arg(OsStr::from_bytes(request)).arg(base).output().expect("Debian: e2fsprogs").stdout
}

#[test]
fn everything_in_a_layer_arrives() {
    let fixture = Fixture::new();
    let layer = layer();
    let image = fixture.import(&docker_archive(&[&layer], &[&layer])).unwrap();
    assert!(!image.cached);
    fsck(&image.base);
    let has = |path: &str, wanted: &[&str]| {
        let stat = debugfs(&image.base, &format!("stat {path}"));
        let stat = stat.split_whitespace().collect::<Vec<_>>().join(" ");
        for wanted in wanted {
            assert!(stat.contains(wanted), "{path}: no {wanted:?} in {stat}");
        }
    };
    has("/etc/su", &["Type: regular", "Mode: 04755", "User: 0", "Size: 9000", "Links: 2"]);
    has("/etc/su2", &["Mode: 04755", "Links: 2"]);
    has("/etc/mtab", &["Type: symlink", "\"/proc/mounts\""]);
    has("/dev/null", &["Type: character", "Mode: 0666", "01:03"]);
    has("/etc/pipe", &["Type: FIFO", "Mode: 0640"]);
    has("/etc/noted", &["user.note", "\"hi\"", "mtime: 0x3b9aca00"]);
    has("/tmp", &["Type: directory", "Mode: 01777", "User: 0 Group: 0"]);
    has("/var/tmp", &["Mode: 01777"]);
    has("/home", &["User: 0 Group: 0"]);
    has("/home/node", &["Mode: 0700", "User: 1000 Group: 1001"]);
    has("/home/node/notes", &["Mode: 0600", "User: 1000 Group: 1001"]);
    for path in ["/proc", "/sys", "/run"] {
        has(path, &["Type: directory", "Mode: 0755"]);
    }
    assert_eq!(debugfs(&image.base, "cat /home/node/notes"), "written by root\n");
    assert_eq!(image.config.env, [("A".to_owned(), "1".to_owned())]);
}

#[test]
fn each_form_of_archive_is_the_same_image() {
    let fixture = Fixture::new();
    let layer = layer();
    let zstd = zstd::encode_all(&layer[..], 1).unwrap();
    let packed = gzip(&layer);
    // As estargz has it: a member for each file and each piece of one, the last with nothing in it.
    let members: Vec<u8> = layer.chunks(700).chain([&b""[..]]).flat_map(gzip).collect();
    // As zstd:chunked has it: a frame for each, and what only its own readers look at in frames that others skip.
    let skipped = [&b"\x50\x2a\x4d\x18\x05\0\0\0"[..], b"table"].concat();
    let frames = layer.chunks(700).map(|chunk| zstd::encode_all(chunk, 1).unwrap());
    let frames = [skipped.clone(), frames.flatten().collect(), skipped].concat();
    let first = fixture.import(&docker_archive(&[&layer], &[&layer])).unwrap();
    let tree = |image: &Image| debugfs(&image.base, "ls -l /etc");
    for archive in [
        docker_archive(&[&layer], &[&packed]),
        docker_archive(&[&layer], &[&zstd]),
        docker_archive(&[&layer], &[&members]),
        docker_archive(&[&layer], &[&frames]),
        pack_layout(&oci_layout(&[("one", &layer, &layer)])),
        pack_layout(&oci_layout(&[("one", &layer, &packed)])),
    ] {
        assert!(fixture.import(&archive).unwrap().cached, "the same config is the same image");
        let other = Fixture::new();
        let image = other.import(&archive).unwrap();
        assert!(!image.cached);
        assert_eq!(image.id, first.id);
        fsck(&image.base);
        assert_eq!(tree(&image), tree(&first));
    }
}

#[test]
fn an_import_that_is_stopped_leaves_nothing() {
    let layer = layer();
    for packed in [layer.clone(), gzip(&layer)] {
        let archive = docker_archive(&[&layer], &[&packed]);
        let mut steps = 0;
        let whole = Fixture::new().import_unless(&archive, &mut |_| {
            steps += 1;
            ControlFlow::Continue(())
        });
        whole.unwrap();
        assert!(steps >= 3, "{steps}");
        for last in 0..steps {
            let fixture = Fixture::new();
            let mut left = last;
            let stopped = fixture.import_unless(&archive, &mut |_| {
                left -= 1;
                if left < 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            let error = stopped.unwrap_err();
            assert!(matches!(error, ImageError::Stopped), "after {last} steps: {error}");
            fixture.nothing_kept(&error);
        }
    }
}

#[test]
fn an_archive_cut_off_anywhere_is_refused_or_whole() {
    let fixture = Fixture::new();
    let layer = tarball(|tar| file(tar, "a", 0o644, &[1; 600]));
    let packed = gzip(&layer);
    let id = ImageId::of(&config(&[&layer], architecture()));
    for archive in
        [docker_archive(&[&layer], &[&layer]), pack_layout(&oci_layout(&[("one", &layer, &packed)]))]
    {
        let mut whole = 0;
        for length in (0..=archive.len()).step_by(512).chain([1, 511, 513, 1000]) {
            match fixture.import(&archive[..length]) {
                Ok(image) => {
                    assert_eq!(image.id, id);
                    whole += 1;
                    fs::remove_dir_all(fixture.cache()).unwrap();
                }
                Err(error) => assert!(
                    matches!(error, ImageError::NotAnArchive { .. } | ImageError::Damaged { .. }),
                    "at {length}: {error:?}"
                ),
            }
        }
        // With both blocks of zeros at its end, with one, and with none; `oci-layout`, the last of that form, may be missing
        // too.
        assert!(matches!(whole, 3 | 4), "{whole}");
    }
}

#[test]
fn a_changed_layer_is_noticed() {
    let fixture = Fixture::new();
    let layer = layer();
    let mut changed = layer.clone();
    let at = layer.windows(7).position(|window| window == b"written").unwrap();
    changed[at] ^= 1;
    let error = fixture.refused(&docker_archive(&[&layer], &[&changed]));
    assert!(
        matches!(&error, ImageError::WrongDigest { what, .. } if what.starts_with("layer 1 of 1")),
        "{error}"
    );
    let packed = gzip(&layer);
    let error = fixture.refused(&docker_archive(&[&layer], &[&packed[..packed.len() / 2]]));
    assert!(error.to_string().contains("layer 1 of 1"), "{error}");
}

#[test]
fn what_cannot_be_expressed_is_refused_by_name() {
    let pax = |key: &'static str, value: &[u8]| {
        tarball(|tar| {
            tar.append_pax_extensions([(key, value)]).unwrap();
            file(tar, "a", 0o644, b"");
        })
    };
    let cases = [
        (pax("path", &[b'n'; 256]), "256 bytes"),
        (pax("uid", b"4294967295"), "4294967295"),
        (pax("GNU.sparse.major", b"1"), "unreadable sparse map"),
        (pax("GNU.sparse.major", b"2"), "unknown version"),
        (pax("GNU.sparse.map", b"0,1"), "unreadable sparse map"),
        (pax("SCHILY.xattr.system.posix_acl_access", b"x"), "posix_acl_access"),
        (pax("SCHILY.xattr.user.large", &[b'v'; 5000]), "do not fit"),
        (pax("SCHILY.xattr.system.nfs4_acl", b"x"), "nfs4_acl"),
        (tarball(|tar| file(tar, "lost+found", 0o644, b"")), "lost+found"),
        (tarball(|tar| file(tar, "dev", 0o644, b"")), "/dev"),
    ];
    for (layer, reason) in cases {
        let error = Fixture::new().refused(&docker_archive(&[&layer], &[&layer]));
        assert!(error.to_string().contains(reason), "{reason}: {error}");
    }
}

#[test]
fn more_links_than_ext4_has_are_refused() {
    let links = tarball(|tar| {
        file(tar, "f", 0o644, b"");
        (0..65_001).for_each(|i| link(tar, EntryType::Link, &format!("d{}/l{i}", i % 100), "f"));
    });
    let error = Fixture::new().refused(&docker_archive(&[&links], &[&links]));
    assert!(error.to_string().contains("65000 hard links"), "{error}");
}

#[test]
fn large_directories_are_written() {
    let layer = tarball(|tar| {
        (0..70_000).for_each(|i| file(tar, &format!("files/{i}"), 0o644, b""));
        (0..66_000).for_each(|i| empty(tar, EntryType::Directory, &format!("dirs/{i}"), 0o755));
    });
    let fixture = Fixture::new();
    let image = fixture.import(&docker_archive(&[&layer], &[&layer])).unwrap();
    fsck(&image.base);
    // With more subdirectories than links can be counted, there is one link.
    assert!(debugfs(&image.base, "stat /dirs").contains("Links: 1"));
    for name in ["files/0", "files/69999", "dirs/65999"] {
        assert!(debugfs(&image.base, &format!("stat /{name}")).contains("Inode:"), "{name}");
    }
}

#[test]
fn a_name_and_an_attribute_of_any_bytes_arrive() {
    let value: Vec<u8> = (0..3000).map(|i| (i % 251) as u8).collect();
    let layer = tarball(|tar| {
        tar.append_pax_extensions([("path", &b"caf\xe9"[..]), ("SCHILY.xattr.user.large", &value)]).unwrap();
        file(tar, "a", 0o644, b"latin");
        tar.append_pax_extensions([("path", &b"link"[..]), ("linkpath", b"caf\xe9")]).unwrap();
        link(tar, EntryType::Symlink, "b", "c");
    });
    let fixture = Fixture::new();
    let image = fixture.import(&docker_archive(&[&layer], &[&layer])).unwrap();
    fsck(&image.base);
    let attribute = fixture.dir.path().join("attribute");
    let get = [b"ea_get -f ", attribute.as_os_str().as_bytes(), b" /caf\xe9 user.large"].concat();
    debugfs_bytes(&image.base, &get);
    assert_eq!(fs::read(&attribute).unwrap(), value);
    assert!(debugfs_bytes(&image.base, b"stat /link").windows(4).any(|bytes| bytes == b"caf\xe9"));
}

#[test]
fn as_many_links_as_ext4_allows_are_written() {
    let layer = tarball(|tar| {
        file(tar, "f", 0o644, b"x");
        (0..64_999).for_each(|i| link(tar, EntryType::Link, &format!("d{}/l{i}", i % 100), "f"));
    });
    let fixture = Fixture::new();
    let image = fixture.import(&docker_archive(&[&layer], &[&layer])).unwrap();
    fsck(&image.base);
    assert!(debugfs(&image.base, "stat /f").contains("Links: 65000"));
}

#[test]
fn what_is_no_image_for_this_machine_is_said_to_be_none() {
    let fixture = Fixture::new();
    let other = if architecture() == "amd64" { "arm64" } else { "amd64" };
    let foreign = config(&[], other);
    let name = format!("{}.json", ImageId::of(&foreign));
    let manifest = format!(r#"[{{"Config":"{name}","Layers":[]}}]"#);
    let error = fixture.refused(&pack(&[(&name, &foreign), ("manifest.json", manifest.as_bytes())]));
    assert!(matches!(error, ImageError::WrongPlatform { .. }), "{error}");
    assert!(error.to_string().contains(other), "{error}");

    let wrong = format!("{}.json", ImageId::of(b"something else"));
    let manifest = format!(r#"[{{"Config":"{wrong}","Layers":[]}}]"#);
    let error = fixture.refused(&pack(&[(&wrong, &foreign), ("manifest.json", manifest.as_bytes())]));
    assert!(matches!(error, ImageError::WrongDigest { .. }), "{error}");

    let two = br#"[{"Config":"a.json","RepoTags":["a:1"],"Layers":[]},{"Config":"b.json","Layers":[]}]"#;
    let error = fixture.refused(&pack(&[("manifest.json", two)]));
    assert!(
        matches!(&error, ImageError::SeveralImages { names, .. } if names[..] == ["a:1", "b.json"]),
        "{error}"
    );

    for archive in [&b""[..], b"hello", &[0; 1024], &pack(&[("etc/passwd", b"x")]), &gzip(&pack(&[]))] {
        let error = fixture.refused(archive);
        assert!(matches!(error, ImageError::NotAnArchive { .. }), "{error}");
        assert!(error.hint().is_some());
    }
    let large = vec![b' '; 5 << 20];
    assert!(matches!(fixture.refused(&pack(&[("manifest.json", &large)])), ImageError::Damaged { .. }));
    let missing = Source::DockerArchive(fixture.dir.path().join("none.tar").into());
    let error = Store::open(&fixture.cache())
        .unwrap()
        .import(&missing, &ImportOptions::default(), &mut |_| ControlFlow::Continue(()))
        .unwrap_err();
    assert!(matches!(error, ImageError::Missing(_)), "{error}");
}

#[test]
fn a_damaged_entry_of_the_cache_is_made_anew() {
    let fixture = Fixture::new();
    let layer = layer();
    let archive = docker_archive(&[&layer], &[&layer]);
    let image = fixture.import(&archive).unwrap();
    assert!(fixture.import(&archive).unwrap().cached);
    fs::remove_file(&image.base).unwrap();
    let again = fixture.import(&archive).unwrap();
    assert!(!again.cached);
    fsck(&again.base);
}

#[test]
fn imports_at_once_do_the_work_once() {
    let fixture = Fixture::new();
    let layer = layer();
    let path = fixture.dir.path().join("image.tar");
    fs::write(&path, docker_archive(&[&layer], &[&layer])).unwrap();
    let (cache, source) = (fixture.cache(), Source::DockerArchive(path.into()));
    let import = || {
        Store::open(&cache)
            .unwrap()
            .import(&source, &ImportOptions::default(), &mut |_| ControlFlow::Continue(()))
            .unwrap()
    };
    let fresh: usize = std::thread::scope(|scope| {
        let imports: Vec<_> = (0..4).map(|_| scope.spawn(import)).collect();
        imports.into_iter().map(|import| usize::from(!import.join().unwrap().cached)).sum()
    });
    assert_eq!(fresh, 1);
}

#[test]
fn an_oci_layout_is_read_from_a_directory_and_by_name() {
    let fixture = Fixture::new();
    let (one, two) = (layer(), tarball(|tar| file(tar, "two", 0o644, b"2")));
    let members = oci_layout(&[("one", &one, &gzip(&one)), ("registry.test/two:1", &two, &two)]);
    let dir = fixture.dir.path().join("layout");
    for (name, content) in &members {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let archive = fixture.dir.path().join("layout.tar");
    fs::write(&archive, pack_layout(&members)).unwrap();
    let import = |source: String| {
        let source: Source = source.parse().unwrap();
        Store::open(&fixture.cache())
            .unwrap()
            .import(&source, &ImportOptions::default(), &mut |_| ControlFlow::Continue(()))
    };
    let id_of = |layer: &[u8]| ImageId::of(&config(&[layer], architecture()));
    for (name, layer) in [("one", &one), ("registry.test/two:1", &two)] {
        assert_eq!(import(format!("oci:{}:{name}", dir.display())).unwrap().id, id_of(layer));
        let from_archive = import(format!("oci-archive:{}:{name}", archive.display())).unwrap();
        assert!(from_archive.cached && from_archive.id == id_of(layer), "{name}");
    }
    let error = import(format!("oci:{}", dir.display())).unwrap_err();
    assert!(
        matches!(&error, ImageError::SeveralImages { names, .. } if names[..] == ["one", "registry.test/two:1"]),
        "{error}"
    );
    let error = import(format!("oci-archive:{}:three", archive.display())).unwrap_err();
    assert!(matches!(&error, ImageError::NotInArchive { wanted, .. } if wanted == "three"), "{error}");
    assert!(error.hint().is_some());
}

#[test]
fn what_is_wrong_with_an_oci_layout_is_named() {
    let fixture = Fixture::new();
    let layer = layer();
    let dir = fixture.dir.path().join("layout");
    fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    let import = || {
        let source = Source::OciLayout(dir.clone().into());
        Store::open(&fixture.cache())
            .unwrap()
            .import(&source, &ImportOptions::default(), &mut |_| ControlFlow::Continue(()))
    };
    assert!(matches!(import().unwrap_err(), ImageError::NotAnArchive { .. }));
    for (name, content) in oci_layout(&[("one", &layer, &layer)]) {
        fs::write(dir.join(name), content).unwrap();
    }
    let blob = dir.join(format!("blobs/sha256/{}", ImageId::of(&layer)));
    // A layer that is not there, one that can't be read, and one that is another's.
    fs::remove_file(&blob).unwrap();
    let error = import().unwrap_err();
    assert!(error.to_string().contains("is missing"), "{error}");
    fs::create_dir(&blob).unwrap();
    let error = import().unwrap_err();
    assert!(error.to_string().contains("not a regular file"), "{error}");
    fs::remove_dir(&blob).unwrap();
    fs::write(&blob, tarball(|tar| file(tar, "other", 0o644, b"x"))).unwrap();
    assert!(matches!(import().unwrap_err(), ImageError::WrongDigest { .. }));

    let index = dir.join("index.json");
    for (bad, word) in
        [("{", "index.json"), (r#"{"manifests":[]}"#, "names no image"), (r#"[1]"#, "index.json")]
    {
        fs::write(&index, bad).unwrap();
        let error = import().unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn a_layer_that_is_not_distributed_is_named() {
    let fixture = Fixture::new();
    let layer = layer();
    let config = config(&[&layer], architecture());
    let media_type = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let (layer_id, config_id) = (ImageId::of(&layer), ImageId::of(&config));
    let manifest = format!(
        r#"{{"config":{{"digest":"sha256:{config_id}"}},
        "layers":[{{"mediaType":"{media_type}","digest":"sha256:{layer_id}"}}]}}"#
    );
    let id = ImageId::of(manifest.as_bytes());
    let index = format!(r#"{{"manifests":[{{"digest":"sha256:{id}"}}]}}"#);
    let (manifest_name, config_name) = (format!("blobs/sha256/{id}"), format!("blobs/sha256/{config_id}"));
    let error = fixture.refused(&pack(&[
        ("index.json", index.as_bytes()),
        (&manifest_name, manifest.as_bytes()),
        (&config_name, &config),
    ]));
    assert!(
        error.to_string().contains("not distributed") && error.to_string().contains(media_type),
        "{error}"
    );
}
