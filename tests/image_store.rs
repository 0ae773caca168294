//! What the store lists, finds and removes, while images are imported and used.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::{self, Permissions};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bottle::image::{Damage, Image, ImageError, ImageId, ImportOptions, Source, Store};
use tempfile::TempDir;

const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

struct Fixture {
    dir: TempDir,
    store: Store,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cache")).unwrap();
        Self { dir, store }
    }

    /// A `docker save` archive of an image that has one file with this content.
    fn archive(&self, content: &str) -> PathBuf {
        let tar = |members: &[(&str, &[u8])]| {
            let mut tar = tar::Builder::new(Vec::new());
            for (name, content) in members {
                let mut header = tar::Header::new_gnu();
                header.set_mode(0o644);
                header.set_size(content.len() as u64);
                tar.append_data(&mut header, name, *content).unwrap();
            }
            tar.into_inner().unwrap()
        };
        let layer = tar(&[("content", content.as_bytes())]);
        let config = format!(
            r#"{{"architecture":"{ARCHITECTURE}","os":"linux","config":{{"User":"7"}},
            "rootfs":{{"type":"layers","diff_ids":["sha256:{}"]}}}}"#,
            ImageId::of(&layer)
        );
        let name = format!("{}.json", ImageId::of(config.as_bytes()));
        let manifest = format!(r#"[{{"Config":"{name}","Layers":["layer.tar"]}}]"#);
        let path = self.dir.path().join(format!("{content}.tar"));
        let archive =
            tar(&[(&name, config.as_bytes()), ("layer.tar", &layer), ("manifest.json", manifest.as_bytes())]);
        fs::write(&path, archive).unwrap();
        path
    }

    fn import(&self, content: &str) -> Image {
        let source = Source::DockerArchive(self.archive(content).into());
        self.store.import(&source, &ImportOptions::default(), &mut |_| ControlFlow::Continue(())).unwrap()
    }

    fn image_dir(&self, id: ImageId) -> PathBuf {
        self.dir.path().join("cache/images").join(id.to_string())
    }

    fn ids(&self) -> Vec<ImageId> {
        self.store.list().unwrap().iter().map(|image| image.key.id).collect()
    }
}

#[test]
fn an_image_is_listed_with_what_is_known_of_it() {
    let fixture = Fixture::new();
    let before = SystemTime::now() - Duration::from_secs(2);
    let image = fixture.import("a");
    let listed = fixture.store.list().unwrap();
    assert_eq!(listed.len(), 1);
    let stored = &listed[0];
    assert_eq!(stored.key.id, image.id);
    assert_eq!(stored.sources, [format!("docker-archive:{}", fixture.archive("a").display())]);
    assert!(stored.imported >= before && stored.last_used >= before);
    assert_eq!(stored.nominal_bytes, fs::metadata(&image.base).unwrap().len());
    assert!(stored.disk_bytes > 0 && stored.disk_bytes < 100 << 20, "{}", stored.disk_bytes);
    assert_eq!(stored.config.as_ref().unwrap(), &image.config);
    assert!(stored.fixups.contains(&"/tmp: made, 0:0 1777".to_owned()), "{:?}", stored.fixups);
    assert!(stored.in_use);
    drop(image);
    assert!(!fixture.store.list().unwrap()[0].in_use);
}

#[test]
fn the_image_used_last_comes_first() {
    let fixture = Fixture::new();
    let ids = ["a", "b"].map(|content| fixture.import(content).id);
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    for id in ids {
        fs::File::open(fixture.image_dir(id).join("used")).unwrap().set_modified(hour_ago).unwrap();
    }
    fixture.import("a");
    assert_eq!(fixture.ids(), ids);
    fixture.import("b");
    assert_eq!(fixture.ids(), [ids[1], ids[0]]);
}

#[test]
fn an_image_is_found_by_id_and_by_source() {
    let fixture = Fixture::new();
    let id = fixture.import("a").id;
    let path = fixture.archive("a").display().to_string();
    for name in [id.to_string(), format!("sha256:{id}"), id.to_string()[..4].to_owned(), path] {
        assert_eq!(fixture.store.find(&name).unwrap().key.id, id, "{name}");
    }
    // Too short for an ID, another one, and a file that was never imported.
    for name in [&id.to_string()[..3], "ffffffffffff", "/nonexistent.tar", ""] {
        let error = fixture.store.find(name).unwrap_err();
        assert!(matches!(error, ImageError::NotStored { .. }), "{name}: {error}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn an_image_in_use_stays() {
    let fixture = Fixture::new();
    let image = fixture.import("a");
    let other = image.clone();
    drop(image);
    let error = fixture.store.remove(other.id).unwrap_err();
    assert!(matches!(error, ImageError::InUse { .. }), "{error}");
    assert!(fixture.store.prune(Duration::ZERO).unwrap().is_empty());
    assert!(other.base.exists());
    let id = other.id;
    drop(other);
    assert!(fixture.store.remove(id).unwrap() > 0);
    assert!(fixture.ids().is_empty() && fixture.store.get(id).is_none());
    assert!(matches!(fixture.store.remove(id), Err(ImageError::NotStored { .. })));
    let work = fs::read_dir(fixture.dir.path().join("cache/images/work")).unwrap();
    assert_eq!(work.map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>(), [".lock"]);
    assert!(!fixture.import("a").cached);
}

#[test]
fn an_image_that_is_pinned_stays_until_the_directory_has_gone() {
    let fixture = Fixture::new();
    let image = fixture.import("a");
    let id = image.id;
    let bottles = ["one", "two"].map(|name| fixture.dir.path().join(name));
    for bottle in &bottles {
        fs::create_dir(bottle).unwrap();
        image.pin(bottle).unwrap();
    }
    drop(image);
    let error = fixture.store.remove(id).unwrap_err();
    assert_eq!(error.to_string(), format!("the image {id} is that of the bottles one, two"));
    assert!(fixture.store.prune(Duration::ZERO).unwrap().is_empty());
    assert_eq!(fixture.store.list().unwrap()[0].bottles, ["one", "two"]);
    fs::remove_dir_all(&bottles[0]).unwrap();
    // Another bottle of that name has its disk over something else.
    fs::create_dir(&bottles[0]).unwrap();
    assert_eq!(fixture.store.list().unwrap()[0].bottles, ["two"]);
    // An image that is made anew is the one that the disk lies over.
    fs::write(fixture.image_dir(id).join("config.json"), b"{}").unwrap();
    assert!(!fixture.import("a").cached);
    assert!(matches!(fixture.store.remove(id), Err(ImageError::Kept { .. })));
    fs::remove_dir_all(&bottles[1]).unwrap();
    assert_eq!(fixture.store.prune(Duration::ZERO).unwrap().len(), 1);
}

#[test]
fn prune_takes_what_was_not_used_for_long() {
    let fixture = Fixture::new();
    let (old, new) = (fixture.import("old").id, fixture.import("new").id);
    let two_days = Duration::from_secs(2 * 24 * 3600);
    let used = fs::File::open(fixture.image_dir(old).join("used")).unwrap();
    used.set_modified(SystemTime::now() - two_days).unwrap();
    let removed = fixture.store.prune(two_days / 2).unwrap();
    assert_eq!(removed.iter().map(|(key, _)| key.id).collect::<Vec<_>>(), [old]);
    assert_eq!(fixture.ids(), [new]);
}

#[test]
fn a_damaged_image_is_listed_and_can_be_removed() {
    let fixture = Fixture::new();
    let id = fixture.import("a").id;
    fs::write(fixture.image_dir(id).join("config.json"), b"{}").unwrap();
    fs::remove_file(fixture.image_dir(id).join("record.json")).unwrap();
    fs::remove_file(fixture.image_dir(id).join("base.ext4")).unwrap();
    let stored = fixture.store.find(&id.to_string()).unwrap();
    assert!(stored.config.is_none() && stored.sources.is_empty() && !stored.in_use);
    fixture.store.remove(id).unwrap();
    assert!(fixture.ids().is_empty());
}

/// Writes a few bytes into an image's base, in a block that has some.
fn overwrite(base: &Path) {
    fs::set_permissions(base, Permissions::from_mode(0o600)).unwrap();
    let file = fs::File::options().write(true).open(base).unwrap();
    file.write_all_at(b"others", 4096 + 100).unwrap();
}

#[test]
fn a_base_that_was_written_to_is_found_and_rebuilt() {
    let fixture = Fixture::new();
    let (damaged, whole) = (fixture.import("a"), fixture.import("b"));
    assert!(fixture.store.check(damaged.id).unwrap().is_none());
    let before = fs::read(fixture.image_dir(damaged.id).join("record.json")).unwrap();
    overwrite(&damaged.base);
    let found = fixture.store.check(damaged.id).unwrap();
    assert!(matches!(found, Some(Damage::Touched)), "{found:?}");
    assert!(fixture.store.check(whole.id).unwrap().is_none());
    assert!(fixture.store.get(damaged.id).is_none() && fixture.store.get(whole.id).is_some());
    let again = fixture.import("a");
    assert!(!again.cached && fixture.store.check(again.id).unwrap().is_none());
    let after = fs::read(fixture.image_dir(again.id).join("record.json")).unwrap();
    let checksum = |record: &[u8]| -> serde_json::Value {
        serde_json::from_slice::<serde_json::Value>(record).unwrap()["checksum"].clone()
    };
    assert!(checksum(&after).is_u64());
    assert_eq!(checksum(&before), checksum(&after));
}

#[test]
fn damage_that_only_reading_shows_is_found() {
    let fixture = Fixture::new();
    let image = fixture.import("a");
    let modified = fs::metadata(&image.base).unwrap().modified().unwrap();
    overwrite(&image.base);
    fs::File::options().write(true).open(&image.base).unwrap().set_modified(modified).unwrap();
    assert!(fixture.store.get(image.id).is_some());
    let found = fixture.store.check(image.id).unwrap();
    assert!(matches!(found, Some(Damage::Checksum)), "{found:?}");
}

/// What a power cut took is noticed at the first use after it, though nothing but reading shows it.
#[test]
fn after_a_new_start_of_the_machine_an_image_is_read_once() {
    let fixture = Fixture::new();
    let image = fixture.import("a");
    let path = fixture.image_dir(image.id).join("record.json");
    let unproven = || -> serde_json::Value {
        serde_json::from_slice::<serde_json::Value>(&fs::read(&path).unwrap()).unwrap()["unproven_since"]
            .clone()
    };
    let start_anew = || {
        let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        record["unproven_since"] = "an earlier one".into();
        fs::write(&path, record.to_string()).unwrap();
    };
    assert!(unproven().is_string());
    start_anew();
    assert!(fixture.import("a").cached && unproven().is_null());
    let modified = fs::metadata(&image.base).unwrap().modified().unwrap();
    overwrite(&image.base);
    fs::File::options().write(true).open(&image.base).unwrap().set_modified(modified).unwrap();
    assert!(fixture.store.get(image.id).is_some(), "this is not read each time");
    start_anew();
    assert!(fixture.store.get(image.id).is_none());
    assert!(!fixture.import("a").cached && unproven().is_string());
}

#[test]
fn each_kind_of_damage_is_named() {
    type Harm = fn(&Path);
    let harms: [(Harm, &str); 6] = [
        (|dir| fs::write(dir.join("config.json"), b"{}").unwrap(), "config.json was changed"),
        (|dir| fs::remove_file(dir.join("config.json")).unwrap(), "config.json can't be read"),
        (|dir| fs::write(dir.join("record.json"), b"{").unwrap(), "record.json does not say"),
        (|dir| fs::remove_file(dir.join("base.ext4")).unwrap(), "base.ext4 can't be read"),
        (
            |dir| {
                fs::set_permissions(dir.join("base.ext4"), Permissions::from_mode(0o600)).unwrap();
                fs::File::options()
                    .write(true)
                    .open(dir.join("base.ext4"))
                    .unwrap()
                    .set_len(1 << 20)
                    .unwrap();
            },
            "base.ext4 has 1048576 bytes, and had 17179869184",
        ),
        (|dir| overwrite(&dir.join("base.ext4")), "base.ext4 was written to"),
    ];
    let fixture = Fixture::new();
    for (harm, named) in harms {
        let id = fixture.import("a").id;
        harm(&fixture.image_dir(id));
        let found = fixture.store.check(id).unwrap().map(|damage| damage.to_string()).unwrap_or_default();
        assert!(found.starts_with(named), "{found}");
        assert!(fixture.store.get(id).is_none(), "{named}");
    }
    let id = fixture.import("a").id;
    fixture.store.remove(id).unwrap();
    assert!(matches!(fixture.store.check(id), Err(ImageError::NotStored { .. })));
}

/// Imports, uses and removals of one image at once, in threads that each open the store for themselves.
#[test]
fn imports_and_removals_at_once_never_meet_half_an_image() {
    let fixture = Fixture::new();
    let source = Source::DockerArchive(fixture.archive("a").into());
    let cache = fixture.dir.path().join("cache");
    let done = AtomicBool::new(false);
    let (removed, imported) = std::thread::scope(|scope| {
        let import = || {
            let store = Store::open(&cache).unwrap();
            let mut imported = 0;
            while !done.load(Ordering::Relaxed) {
                let image = store
                    .import(&source, &ImportOptions::default(), &mut |_| ControlFlow::Continue(()))
                    .unwrap();
                imported += usize::from(!image.cached);
                // In hand, it is whole.
                assert!(fs::metadata(&image.base).unwrap().len() > 0);
            }
            imported
        };
        let importing: Vec<_> = (0..3).map(|_| scope.spawn(import)).collect();
        let store = Store::open(&cache).unwrap();
        let begin = Instant::now();
        let mut removed = 0;
        // On a busy machine it may take long to find the image in nobody's hand.
        while begin.elapsed() < Duration::from_secs(if removed == 0 { 60 } else { 3 }) {
            removed += store.prune(Duration::ZERO).unwrap().len();
        }
        done.store(true, Ordering::Relaxed);
        let imported: usize = importing.into_iter().map(|thread| thread.join().unwrap()).sum();
        (removed, imported)
    });
    assert!(removed > 0, "nothing was removed in all that time");
    assert!(imported >= removed, "{removed} removed, {imported} imported");
}
