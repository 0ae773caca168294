//! Images of a great many things, and of few that take long to look at. Each is imported by `bottle` itself, in a process that
//! may have so much memory and time and no more.

use std::fs;
use std::io::Write;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use bottle::image::ImageId;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use crate::layers::{END, Entry, Fixture, config_of, debugfs, docker_archive, fsck, pax_records};

/// What an import may have of memory, whatever the image, in KiB.
const MEMORY_KIB: u64 = 1 << 20;
/// And of time, on a busy machine.
const TIME: Duration = Duration::from_secs(300);

/// A layer that is packed as it is written: it may be larger than this machine's memory.
struct Layer {
    packed: GzEncoder<Vec<u8>>,
    hash: Sha256,
}

impl Layer {
    fn new() -> Self {
        Self { packed: GzEncoder::new(Vec::new(), Compression::fast()), hash: Sha256::new() }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.packed.write_all(bytes).unwrap();
        self.hash.update(bytes);
    }

    fn of(entries: impl IntoIterator<Item = Entry>) -> Self {
        let mut layer = Self::new();
        entries.into_iter().for_each(|entry| layer.put(&entry.bytes()));
        layer.put(&END);
        layer
    }

    /// Has `bottle` import an image of this layer. A program that wants more memory than it may have is aborted.
    fn import(self, fixture: &Fixture) -> Import {
        let id: String = self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let id: ImageId = id.parse().unwrap();
        let archive = docker_archive(&config_of(&[id]), &[self.packed.finish().unwrap()]);
        let path = fixture.path().join("in/image.tar");
        fs::write(&path, archive).unwrap();
        let script =
            format!("ulimit -d {MEMORY_KIB} && exec timeout --signal=KILL {} \"$@\"", TIME.as_secs());
        let start = Instant::now();
        let output = Command::new("sh")
            .args(["-c", &script, "sh", env!("CARGO_BIN_EXE_bottle"), "image", "import"])
            .arg(format!("docker-archive:{}", path.display()))
            .env("BOTTLE_CACHE_DIR", fixture.cache())
            .output()
            .unwrap();
        println!(
            "{} after {:?}: {}",
            output.status,
            start.elapsed(),
            String::from_utf8_lossy(&output.stderr)
        );
        Import(output)
    }
}

struct Import(Output);

impl Import {
    /// It is an image, in which e2fsck finds nothing, and where debugfs finds this to say of these paths.
    #[track_caller]
    fn accepted(self, fixture: &Fixture, paths: &[(&str, &str)]) {
        assert!(self.0.status.success(), "{}: {}", self.0.status, String::from_utf8_lossy(&self.0.stderr));
        let id = String::from_utf8(self.0.stdout).unwrap();
        let base =
            fixture.cache().join("images").join(id.trim().trim_start_matches("sha256:")).join("base.ext4");
        fsck(&base);
        for (path, wanted) in paths {
            let said = debugfs(&base, format!("stat {path}"));
            assert!(said.contains(wanted), "{path}: no {wanted:?} in {said}");
        }
    }

    #[track_caller]
    fn refused(self, fixture: &Fixture, words: &[&str]) {
        let said = String::from_utf8_lossy(&self.0.stderr);
        let by_itself = self.0.status.code() == Some(125) && !said.contains("memory");
        assert!(by_itself, "{}: {said}", self.0.status);
        for word in words {
            assert!(said.contains(word), "no {word:?} in: {said}");
        }
        fixture.check_empty(&said);
    }
}

#[test]
fn a_million_files_are_imported() {
    let fixture = Fixture::new();
    let files = (0..1_000_000).map(|i| Entry::file(format!("d{}/f{i}", i % 1000), ""));
    let paths = [("/d0/f0", "regular"), ("/d999/f999999", "regular"), ("/d500", "Links: 2")];
    Layer::of(files).import(&fixture).accepted(&fixture, &paths);
}

#[test]
fn a_million_files_of_one_name_are_one() {
    let fixture = Fixture::new();
    let files = (0..1_000_000).map(|i| Entry::file("f", "").owner(i, 0));
    Layer::of(files).import(&fixture).accepted(&fixture, &[("/f", "User: 999999")]);
}

#[test]
fn more_entries_than_are_taken_are_refused() {
    let fixture = Fixture::new();
    let dirs = (0..2_000_001).map(|i| Entry::dir(format!("{}/{i}", i % 1000)));
    Layer::of(dirs).import(&fixture).refused(&fixture, &["layer 1 of 1", "entries"]);
}

#[test]
fn deep_paths_are_walked_in_time() {
    let fixture = Fixture::new();
    let deep = "d/".repeat(2000);
    let files = (0..50_000).map(|i| Entry::file("f", "").pax("path", format!("{deep}f{i}")));
    Layer::of(files).import(&fixture).accepted(&fixture, &[("/d/d/d", "directory")]);
}

#[test]
fn a_layer_of_zeros_is_an_empty_one() {
    let fixture = Fixture::new();
    let mut layer = Layer::new();
    let zeros = vec![0; 1 << 20];
    (0..2048).for_each(|_| layer.put(&zeros));
    layer.import(&fixture).accepted(&fixture, &[("/tmp", "directory")]);
}

#[test]
fn what_entries_carry_is_bounded() {
    let value = [b'v'; 3500];
    let files = (0..500_000).map(|i| Entry::file(format!("{i}"), "").pax("SCHILY.xattr.user.x", value));
    let fixture = Fixture::new();
    Layer::of(files).import(&fixture).refused(&fixture, &["layer 1 of 1"]);

    let target = [b't'; 4000];
    let links = (0..500_000).map(|i| Entry::symlink(format!("{i}"), "").pax("linkpath", target));
    Layer::of(links).import(&fixture).refused(&fixture, &["layer 1 of 1"]);
}

#[test]
fn global_headers_are_bounded_and_cost_no_time_at_each_entry() {
    let fixture = Fixture::new();
    let records = |key: &str, n: usize, from: usize| {
        let records: Vec<_> = (from..from + n).map(|i| (format!("{key}{i}"), "v")).collect();
        Entry::extended(b'g', &pax_records(&records))
    };
    let attributes = (0..500).map(|i| records("SCHILY.xattr.user.", 20_000, i * 20_000));
    let layer = Layer::of(attributes.chain([Entry::file("f", "")]));
    layer.import(&fixture).refused(&fixture, &["layer 1 of 1", "global headers"]);

    // What means nothing is not kept.
    let comments = (0..100).map(|i| records("k", 50_000, i * 50_000));
    let files = (0..200_000).map(|i| Entry::file(format!("f{i}"), ""));
    Layer::of(comments.chain(files)).import(&fixture).accepted(&fixture, &[("/f199999", "regular")]);
}

#[test]
fn a_long_way_through_symlinks_costs_no_more_than_it_must() {
    let fixture = Fixture::new();
    // Forty symlinks, each of some thousand steps.
    let steps = "d/../".repeat(800);
    let links =
        (0..40).map(|i| Entry::symlink(format!("s{i}"), "").pax("linkpath", format!("{steps}s{}", i + 1)));
    let files = (0..50_000).map(|i| Entry::file(format!("s0/f{i}"), ""));
    let all = [Entry::dir("d")].into_iter().chain(links).chain([Entry::dir("s40")]).chain(files);
    let import = Layer::of(all).import(&fixture);
    // So many steps in one path are refused, or done in time.
    if import.0.status.success() {
        import.accepted(&fixture, &[("/s40/f49999", "regular")]);
    } else {
        import.refused(&fixture, &["layer 1 of 1", "\"s0/f0\""]);
    }
}
