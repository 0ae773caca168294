//! Images made here, as OCI layouts on disk and as blobs to be served.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use bottle::image::ImageId;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

pub(crate) fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

/// An image's blobs by their digests, its config's and its manifest's among them.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) blobs: BTreeMap<ImageId, Vec<u8>>,
    /// The config's digest: the image's ID.
    pub(crate) id: ImageId,
    pub(crate) manifest: ImageId,
    /// As they are stored, from the bottom up.
    pub(crate) layers: Vec<ImageId>,
    architecture: String,
}

impl Image {
    /// Two layers: a small one, and one with a file of `size` bytes that gzip can't make smaller.
    pub(crate) fn new(seed: u64, size: usize) -> Self {
        Self::of(architecture(), &[layer("small", b"hello\n"), layer("large", &noise(seed, size))])
    }

    pub(crate) fn of(architecture: &str, layers: &[Vec<u8>]) -> Self {
        let mut blobs = BTreeMap::new();
        let mut add = |bytes: Vec<u8>| {
            let (id, size) = (ImageId::of(&bytes), bytes.len());
            blobs.insert(id, bytes);
            (id, size)
        };
        let diff_ids: Vec<_> = layers.iter().map(|layer| format!("sha256:{}", ImageId::of(layer))).collect();
        let config = format!(
            r#"{{"architecture":"{architecture}","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":{diff_ids:?}}}}}"#
        );
        let (id, config_size) = add(config.into_bytes());
        let layers: Vec<_> = layers.iter().map(|layer| add(gzip(layer))).collect();
        let described: Vec<_> = layers.iter().map(|(id, size)| descriptor(LAYER, *id, *size, "")).collect();
        let config = descriptor(CONFIG, id, config_size, "");
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{config},"layers":[{}]}}"#,
            described.join(",")
        );
        let (manifest, _) = add(manifest.into_bytes());
        let layers = layers.into_iter().map(|(id, _)| id).collect();
        Self { blobs, id, manifest, layers, architecture: architecture.to_owned() }
    }

    /// The digest of the layer that is downloaded longest.
    pub(crate) fn large(&self) -> ImageId {
        *self.layers.iter().max_by_key(|id| self.blobs[*id].len()).unwrap()
    }

    /// Its entry in an index.
    pub(crate) fn entry(&self) -> String {
        let platform = format!(r#","platform":{{"os":"linux","architecture":"{}"}}"#, self.architecture);
        descriptor(MANIFEST, self.manifest, self.blobs[&self.manifest].len(), &platform)
    }

    /// Replaces the manifest by one with `from` in it replaced by `to`.
    pub(crate) fn with_manifest(&self, from: &str, to: &str) -> Self {
        let mut image = self.clone();
        let manifest = String::from_utf8(image.blobs.remove(&image.manifest).unwrap()).unwrap();
        assert!(manifest.contains(from), "{from} in {manifest}");
        let manifest = manifest.replace(from, to).into_bytes();
        image.manifest = ImageId::of(&manifest);
        image.blobs.insert(image.manifest, manifest);
        image
    }
}

pub(crate) fn index(images: &[&Image]) -> Vec<u8> {
    let entries: Vec<_> = images.iter().map(|image| image.entry()).collect();
    format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]}}"#, entries.join(",")).into_bytes()
}

/// Writes an OCI layout with one entry: an image, or an index of several.
pub(crate) fn write_layout(dir: &Path, images: &[&Image]) -> PathBuf {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    for (id, bytes) in images.iter().flat_map(|image| &image.blobs) {
        fs::write(blobs.join(id.to_string()), bytes).unwrap();
    }
    let entry = if let [image] = images {
        image.entry()
    } else {
        let index = index(images);
        let id = ImageId::of(&index);
        fs::write(blobs.join(id.to_string()), &index).unwrap();
        descriptor(INDEX, id, index.len(), "")
    };
    fs::write(dir.join("index.json"), format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#)).unwrap();
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    dir.to_owned()
}

fn descriptor(media_type: &str, id: ImageId, size: usize, more: &str) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"sha256:{id}","size":{size}{more}}}"#)
}

/// A layer with one file.
pub(crate) fn layer(name: &str, content: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_mtime(1_000_000_000);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, name, content).unwrap();
    tar.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Bytes that no compression makes fewer (xorshift).
fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = 2 * seed + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..size).map(|_| next()).collect()
}
