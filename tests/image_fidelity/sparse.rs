//! Sparse files, in the four ways that GNU tar has to write them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use crate::listing::{Node, list};
use crate::places::done;

/// What tells tar which way to take.
pub(crate) const FORMATS: [&[&str]; 4] = [
    &["--format=gnu"],
    &["--format=pax", "--sparse-version=0.0"],
    &["--format=pax", "--sparse-version=0.1"],
    &["--format=pax", "--sparse-version=1.0"],
];

/// Where the files of a format are in the image.
pub(crate) fn directory(format: &[&str]) -> String {
    format.join("").replace('-', "")
}

/// Names, sizes, and where there is something in them.
fn files() -> Vec<(String, u64, Vec<u64>)> {
    let block = 4096;
    vec![
        ("start".into(), 1 << 20, vec![0]),
        ("middle".into(), 1 << 20, vec![300_000]),
        ("end".into(), (1 << 20) + 5, vec![1 << 20]),
        ("nothing".into(), 1_000_000, vec![]),
        // Not in a header alone: four parts fit there, and 21 into each block behind it.
        ("many".into(), 400 * block, (0..100).map(|i| i * 4 * block).collect()),
        // Its name is in PAX records.
        ("long-name-".repeat(15), 1 << 20, vec![500_000]),
    ]
}

fn make(dir: &Path, files: Vec<(String, u64, Vec<u64>)>) {
    for (name, size, filled) in files {
        let file = File::create(dir.join(name)).unwrap();
        file.set_len(size).unwrap();
        for at in filled {
            file.write_all_at(format!("at {at}").as_bytes().get(..(size - at).min(3) as usize).unwrap(), at)
                .unwrap();
        }
    }
}

/// The files as they are before tar has them.
pub(crate) fn originals() -> Vec<(String, Node)> {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), files());
    let mut listing = list(dir.path());
    files()
        .into_iter()
        .map(|(name, ..)| {
            let node = listing.remove(name.as_bytes()).unwrap();
            (name, node)
        })
        .collect()
}

/// A layer for each format.
pub(crate) fn layers() -> Vec<Vec<u8>> {
    FORMATS.into_iter().map(|format| layer(format, files())).collect()
}

/// A file of more than 4 GiB, of which one byte in each GiB is not zero, in `large` of the directory of the last format.
pub(crate) const LARGE: u64 = (4 << 30) + 1;

pub(crate) fn large() -> Vec<u8> {
    layer(FORMATS[3], vec![("large".into(), LARGE, (0..5).map(|i| i << 30).collect())])
}

fn layer(format: &[&str], files: Vec<(String, u64, Vec<u64>)>) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let name = directory(format);
    fs::create_dir(dir.path().join(&name)).unwrap();
    make(&dir.path().join(&name), files);
    let tar = dir.path().join("layer.tar");
    let mut command = Command::new("tar");
    command.args(["--create", "--sparse", "--mtime=@1000000000", "--numeric-owner"]).args(format);
    done(command.arg("--file").arg(&tar).arg("--directory").arg(dir.path()).arg(&name));
    let layer = fs::read(&tar).unwrap();
    assert!(layer.len() < 4 << 20, "{format:?}: {} bytes are not sparse", layer.len());
    layer
}
