//! Eight imports of four images at once, half of them killed, over and over: the store stays right, and nothing is leaked.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod random;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bottle::image::ImageId;
use tempfile::TempDir;

use random::Random;

const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

const IMAGES: usize = 4;

/// Some seconds of it, in each run of the tests.
#[test]
fn killed_imports_leave_a_right_store() {
    torture(4);
}

#[test]
#[ignore = "takes minutes: run cargo xtask test --long"]
fn killed_imports_leave_a_right_store_a_hundred_times() {
    torture(100);
}

fn torture(rounds: usize) {
    let dir = tempfile::tempdir().unwrap();
    let archives: Vec<PathBuf> = (0..IMAGES).map(|number| archive(&dir, number)).collect();
    let fresh = Cache(dir.path().join("fresh"));
    let begin = Instant::now();
    let ids: Vec<String> = archives.iter().map(|archive| fresh.import(archive)).collect();
    // How late an import is killed at most. It follows what is found, so that most are killed at work, and some at the end.
    let mut span = begin.elapsed() / 2;
    let cache = Cache(dir.path().join("cache"));
    let mut random = Random::new();
    let (mut killed, mut done) = (0, 0);
    for round in 0..rounds {
        println!("round {round}, {random:?}");
        // All of them are made, or put in the place of one that is damaged.
        match round % 2 {
            0 => cache.empty(),
            _ => ids.iter().for_each(|id| cache.damage(id)),
        }
        let mut imports: Vec<Child> =
            (0..2 * IMAGES).map(|number| cache.start_import(&archives[number % IMAGES])).collect();
        let begin = Instant::now();
        let mut deaths: Vec<Duration> = (0..IMAGES).map(|_| random.below(span)).collect();
        deaths.sort();
        for after in deaths {
            let mut victim = imports.swap_remove(random.index(imports.len()));
            thread::sleep(after.saturating_sub(begin.elapsed()));
            let at_work = victim.try_wait().unwrap().is_none();
            killed += usize::from(at_work);
            span = span.mul_f64(if at_work { 1.1 } else { 0.8 });
            victim.kill().unwrap();
            victim.wait().unwrap();
        }
        for import in imports {
            let output = import.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            done += 1;
        }
        // What the dead have left, the next import removes; those that all died are made now.
        for (archive, id) in archives.iter().zip(&ids) {
            assert_eq!(cache.import(archive), *id);
        }
        cache.assert_right(&ids);
        cache.assert_as_large_as(&fresh);
    }
    assert_eq!(done, rounds * IMAGES);
    assert!(killed >= rounds, "only {killed} imports were killed in {rounds} rounds: the times are wrong");
}

/// A cache directory, used by the program.
struct Cache(PathBuf);

impl Cache {
    fn bottle(&self, args: &[&str]) -> Command {
        let mut bottle = Command::new(env!("CARGO_BIN_EXE_bottle"));
        bottle.args(args).env("BOTTLE_CACHE_DIR", &self.0);
        bottle.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        bottle
    }

    fn run(&self, args: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.bottle(args).output().unwrap();
        assert!(
            status.success(),
            "{args:?}: {status}\n{}",
            String::from_utf8_lossy(&[stdout, stderr].concat())
        );
        String::from_utf8(stdout).unwrap().trim_end().to_owned()
    }

    fn start_import(&self, archive: &Path) -> Child {
        self.bottle(&["image", "import", archive.to_str().unwrap()]).spawn().unwrap()
    }

    /// Returns the ID.
    fn import(&self, archive: &Path) -> String {
        self.run(&["image", "import", archive.to_str().unwrap()])
    }

    fn empty(&self) {
        self.run(&["image", "prune"]);
    }

    fn damage(&self, id: &str) {
        let base = self.0.join("images").join(id).join("base.ext4");
        fs::set_permissions(&base, Permissions::from_mode(0o600)).unwrap();
        fs::File::options().write(true).open(&base).unwrap().write_all_at(b"damage", 5000).unwrap();
    }

    /// All of these images are there and as they were made, by the checker's word, and nothing else is.
    fn assert_right(&self, ids: &[String]) {
        let checked: serde_json::Value =
            serde_json::from_str(&self.run(&["image", "check", "--json"])).unwrap();
        let mut found: Vec<&str> =
            checked.as_array().unwrap().iter().map(|image| image["id"].as_str().unwrap()).collect();
        let mut wanted: Vec<String> = ids.iter().map(|id| format!("sha256:{id}")).collect();
        found.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(found, wanted);
    }

    /// The same files, of the same sizes, that take the same space.
    fn assert_as_large_as(&self, other: &Self) {
        let (ours, theirs) = (self.files(), other.files());
        // A number in a record is a digit longer at times.
        let exact = |path: &Path| path.file_name().is_none_or(|name| name != "record.json");
        let differs = |path: &&PathBuf| match (ours.get(*path), theirs.get(*path)) {
            (Some((is, _)), Some((should, _))) => exact(path) && is != should,
            _ => true,
        };
        let different: Vec<&PathBuf> = ours.keys().chain(theirs.keys()).filter(differs).collect();
        assert!(different.is_empty(), "not as in a fresh store: {different:?}");
        let used = |files: &BTreeMap<PathBuf, (u64, u64)>| files.values().map(|(_, used)| used).sum::<u64>();
        let (ours, theirs) = (used(&ours), used(&theirs));
        // In how many pieces a file lies on the host, and so how many blocks describe them, is the host's affair.
        assert!(ours.abs_diff(theirs) < theirs / 50, "{ours} bytes, {theirs} in a fresh store");
    }

    /// Size and used bytes of each file and directory below, by its path.
    fn files(&self) -> BTreeMap<PathBuf, (u64, u64)> {
        let mut files = BTreeMap::new();
        let mut todo = vec![self.0.clone()];
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(&dir).unwrap() {
                let path = entry.unwrap().path();
                let found = path.symlink_metadata().unwrap();
                // A directory's own size says what was once in it.
                let size = if found.is_dir() { (0, 0) } else { (found.len(), found.blocks() * 512) };
                files.insert(path.strip_prefix(&self.0).unwrap().to_owned(), size);
                if found.is_dir() {
                    todo.push(path);
                }
            }
        }
        files
    }
}

/// A `docker save` archive of an image with one plain and one gzip layer of some MiB, different for each number.
fn archive(dir: &TempDir, number: usize) -> PathBuf {
    let tar = |members: &[(String, Vec<u8>)]| {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, content) in members {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, name, &content[..]).unwrap();
        }
        tar.into_inner().unwrap()
    };
    // Text that is no block of zeros, and compresses.
    let content = |seed: usize, bytes: usize| -> Vec<u8> {
        (0..).flat_map(|line| format!("{seed} {line}\n").into_bytes()).take(bytes).collect()
    };
    let layer = |from: usize| {
        let files =
            (from..from + 40).map(|file| (format!("file-{file}"), content(number * 1000 + file, 300_000)));
        tar(&files.collect::<Vec<_>>())
    };
    let layers = [layer(0), layer(30)];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&layers[1]).unwrap();
    let ids = layers.each_ref().map(|layer| format!("sha256:{}", ImageId::of(layer)));
    let config = format!(
        r#"{{"architecture":"{ARCHITECTURE}","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":{ids:?}}}}}"#
    );
    let name = format!("{}.json", ImageId::of(config.as_bytes()));
    let manifest = format!(r#"[{{"Config":"{name}","Layers":["0.tar","1.tar"]}}]"#);
    let [plain, _] = layers;
    let members = [
        (name, config.into_bytes()),
        ("0.tar".to_owned(), plain),
        ("1.tar".to_owned(), gzip.finish().unwrap()),
        ("manifest.json".to_owned(), manifest.into_bytes()),
    ];
    let path = dir.path().join(format!("{number}.tar"));
    fs::write(&path, tar(&members)).unwrap();
    path
}
