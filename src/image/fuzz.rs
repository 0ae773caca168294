//! What the fuzz targets call, in `fuzz/`: they see only what is public. Checksums of tar headers are not looked at then, so
//! that a changed header is read on. The tests call it too, with the seeds.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

use super::archive::{self, Archived, Table};
use super::blob::Blob;
use super::build::{Builder, Terms, merge};
use super::config::{ImageConfig, ImageId};
use super::error::ImageError;
use super::ext4::{Disk, Need};
use super::layer::{Entries, Layer};
use super::region::Region;
use super::report::Reporter;
use super::tree::{Body, Meta, ROOT, Tree};
use super::{Reference, Source};

/// One in so many images that were accepted is checked by e2fsck.
const CHECKED: usize = if cfg!(fuzzing) { 64 } else { 1 };
/// Larger files are not compared.
const COMPARED: u64 = 1 << 20;

/// A layer walk: the bytes are the layers of an image. Plain layers that are sought in and compressed ones that are streamed must
/// give the same tree, and the image must be a correct one.
///
/// ```text
/// layers above the first, mod 4 │ for each but the last, its number of blocks │ layers
/// ```
pub fn layers(data: &[u8]) {
    let layers = split(data);
    let plain = unpack(&layers, false);
    let streamed = unpack(&layers, true);
    match (plain, streamed) {
        (Ok(plain), Ok(streamed)) => assert!(plain == streamed, "plain {plain:#?}\nstreamed {streamed:#?}"),
        (Err(_), Err(_)) => {}
        (plain, streamed) => panic!("plain {plain:?}\nstreamed {streamed:?}"),
    }
}

fn split(data: &[u8]) -> Vec<&[u8]> {
    let Some((count, mut rest)) = data.split_first() else { return vec![data] };
    let count = usize::from(count % 4);
    let Some((sizes, more)) = rest.split_at_checked(count) else { return vec![rest] };
    rest = more;
    let mut layers = Vec::new();
    for size in sizes {
        let (layer, more) = rest.split_at(rest.len().min(usize::from(*size) * 512));
        layers.push(layer);
        rest = more;
    }
    layers.push(rest);
    layers
}

/// What is at a path: its meta data, and what it is.
type Listing = BTreeMap<Vec<u8>, (Meta, String)>;

fn unpack(layers: &[&[u8]], packed: bool) -> Result<Listing, ImageError> {
    let dir = scratch();
    let path = dir.path().join("base.ext4");
    let disk = Disk { path: &path, cache_dir: dir.path() };
    let mut go_on = |_| ControlFlow::Continue(());
    let reporter = Reporter::new(&mut go_on);
    let layers: Vec<Layer> = layers
        .iter()
        .enumerate()
        .map(|(number, layer)| Layer {
            name: format!("layer {}", number + 1),
            diff_id: ImageId::of(layer),
            blob: Blob::Local(region(&if packed {
                zstd::encode_all(*layer, 1).unwrap()
            } else {
                layer.to_vec()
            })),
        })
        .collect();
    let terms = Terms { fixups: true, max_unpacked: 1 << 30 };
    let mut builder = Builder::new(ImageId::of(b""), Need { bytes: 0, inodes: 0 }, terms, disk, &reporter)?;
    let mut all: Vec<Option<Entries>> = Vec::new();
    for layer in &layers {
        all.push(match layer.plain()? {
            Some(plain) => Some(builder.index(layer, &plain)?),
            None => None,
        });
    }
    let streamed = builder.stream(&layers, &mut all)?;
    let mut tree = merge(layers.iter().map(|layer| layer.name.as_str()).zip(all.into_iter().flatten()))?;
    let wanted = builder.settle(&mut tree)?;
    builder.restore(&layers, &streamed, &wanted)?;
    let listing = builder.list(&tree);
    builder.finish(tree, Some("1000"))?;
    static ACCEPTED: AtomicUsize = AtomicUsize::new(0);
    if ACCEPTED.fetch_add(1, Ordering::Relaxed).is_multiple_of(CHECKED) {
        fsck(&path);
    }
    Ok(listing)
}

impl Builder<'_> {
    fn list(&mut self, tree: &Tree) -> Listing {
        let mut listing = Listing::new();
        let mut todo = vec![(ROOT, Vec::new())];
        while let Some((dir, path)) = todo.pop() {
            let Body::Dir(children) = &tree.node(dir).body else { continue };
            for (name, child) in children {
                let path = [&path[..], b"/", name].concat();
                let node = tree.node(*child);
                let what = match &node.body {
                    Body::Dir(_) => {
                        todo.push((*child, path.clone()));
                        "directory".to_owned()
                    }
                    Body::File(content) => format!("{:?}", self.content(*content, COMPARED)),
                    other => format!("{other:?}"),
                };
                listing.insert(path, (node.meta.clone(), what));
            }
        }
        listing
    }
}

fn region(bytes: &[u8]) -> Region {
    let mut file: File = tempfile::tempfile_in(memory()).unwrap();
    file.write_all(bytes).unwrap();
    Region::whole(file).unwrap()
}

fn scratch() -> TempDir {
    tempfile::tempdir_in(memory()).unwrap()
}

/// A file system that is not on a disk, where there is one.
fn memory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

fn fsck(image: &Path) {
    let checked = Command::new("e2fsck").arg("-fn").arg(image).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

/// The tables of contents: the bytes are a manifest, an index or a config, and names of them. What is in them is put into an
/// archive where `CONFIG` and `BLOB` stand for digests, so that something is found.
pub fn manifest(data: &[u8]) {
    drop(ImageConfig::parse(data));
    let text = String::from_utf8_lossy(data);
    drop(text.parse::<Reference>());
    drop(text.parse::<Source>());
    let mut parts = text.splitn(3, '\0');
    let config = parts.next().unwrap_or_default().to_owned();
    let config_id = ImageId::of(config.as_bytes()).to_string();
    let blob = parts.next().unwrap_or_default().replace("CONFIG", &config_id);
    let blob_id = ImageId::of(blob.as_bytes()).to_string();
    let table = parts.next().unwrap_or_default().replace("CONFIG", &config_id).replace("BLOB", &blob_id);
    let scratch = scratch();
    let dir = scratch.path();
    fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    fs::write(dir.join("blobs/sha256").join(&config_id), &config).unwrap();
    fs::write(dir.join("blobs/sha256").join(&blob_id), &blob).unwrap();
    fs::write(dir.join(format!("{config_id}.json")), &config).unwrap();
    for (name, kind) in [("manifest.json", Table::Docker), ("index.json", Table::Oci)] {
        fs::write(dir.join(name), &table).unwrap();
        if let Ok(Archived { id, config, layers, .. }) = archive::open(&dir.to_owned().into(), kind) {
            assert_eq!(id.to_string(), config_id);
            assert_eq!(config.diff_ids.len(), layers.len());
        }
        fs::remove_file(dir.join(name)).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each_seed(of: &str, run: fn(&[u8])) {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(of);
        let seeds: Vec<PathBuf> = fs::read_dir(seeds).unwrap().map(|seed| seed.unwrap().path()).collect();
        assert!(!seeds.is_empty());
        seeds.iter().for_each(|seed| run(&fs::read(seed).unwrap()));
    }

    #[test]
    fn the_seeds_of_layers_give_one_tree_and_a_right_image() {
        each_seed("layers", layers);
    }

    #[test]
    fn the_seeds_of_manifests_are_read() {
        each_seed("manifest", manifest);
    }
}
