//! Images of layers, as `docker save` writes them.

use std::io::Write;

use bottle::image::ImageId;

use super::tar::{Entry, tarball};

/// How layers lie in an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

impl Packing {
    pub(crate) const ALL: [Self; 3] = [Self::Plain, Self::Gzip, Self::Zstd];

    pub(crate) fn pack(self, layer: &[u8]) -> Vec<u8> {
        match self {
            Self::Plain => layer.to_vec(),
            Self::Gzip => gzip(layer),
            Self::Zstd => zstd::encode_all(layer, 1).unwrap(),
        }
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

/// The config of an image of these layers, which are not packed.
pub(crate) fn config<L: AsRef<[u8]>>(layers: &[L]) -> Vec<u8> {
    config_of(&layers.iter().map(|layer| ImageId::of(layer.as_ref())).collect::<Vec<_>>())
}

/// The same by the layers' digests.
pub(crate) fn config_of(layers: &[ImageId]) -> Vec<u8> {
    let ids: Vec<_> = layers.iter().map(|id| format!("sha256:{id}")).collect();
    let architecture = architecture();
    format!(
        r#"{{"architecture":"{architecture}","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":{ids:?}}}}}"#
    )
    .into_bytes()
}

/// An archive of one image, `test:1`. `stored` are the layers as they lie in it.
pub(crate) fn docker_archive(config: &[u8], stored: &[Vec<u8>]) -> Vec<u8> {
    let config_name = format!("{}.json", ImageId::of(config));
    let names: Vec<_> = (0..stored.len()).map(|i| format!("{i}/layer.tar")).collect();
    let manifest = format!(r#"[{{"Config":"{config_name}","RepoTags":["test:1"],"Layers":{names:?}}}]"#);
    let layers = names.iter().zip(stored).map(|(name, layer)| Entry::file(name, layer));
    tarball(layers.chain([Entry::file(&config_name, config), Entry::file("manifest.json", manifest)]))
}

/// The same of layers that are packed here.
pub(crate) fn docker_image<L: AsRef<[u8]>>(layers: &[L], packing: Packing) -> Vec<u8> {
    let stored: Vec<_> = layers.iter().map(|layer| packing.pack(layer.as_ref())).collect();
    docker_archive(&config(layers), &stored)
}
