//! An image archive: the config and layers are found in what `docker save` wrote.
//!
//! ```text
//! up to docker 24            docker 25 and later          OCI layout only
//! manifest.json              manifest.json                index.json ──► blobs/sha256/MANIFEST
//!  ├─ CONFIG.json             ├─ blobs/sha256/CONFIG                      ├─ blobs/sha256/CONFIG
//!  └─ ID/layer.tar …          └─ blobs/sha256/LAYER …                     └─ blobs/sha256/LAYER …
//! ```
//!
//! Only headers are read to find them, so an archive of gigabytes opens at once. The config's name is its digest in all
//! three forms, and is checked; layers are checked by the `diff_ids` in the config. An older docker writes a layer that
//! occurs twice as a symlink to its first place.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::config::{ImageConfig, ImageId, guest_architecture};
use super::error::ImageError;
use super::layer::Layer;
use super::region::Region;
use super::tarball::{Headers, Kind, TarError};

/// The largest manifest or config that is read. Docker's own limit for a manifest is 4 MiB.
const MAX_JSON: u64 = 4 << 20;
/// The most entries an archive may have: 127 layers, three files each, and room for many tags.
const MAX_ENTRIES: usize = 100_000;
/// How many indexes may lie within each other.
const MAX_NESTING: usize = 4;

/// An image in an archive.
#[derive(Debug)]
pub(crate) struct Archived {
    pub(crate) id: ImageId,
    pub(crate) config: ImageConfig,
    /// The config's own bytes.
    pub(crate) config_json: Vec<u8>,
    /// From the bottom up.
    pub(crate) layers: Vec<Layer>,
}

enum Member {
    File(Region),
    Link(String),
}

struct Archive {
    path: PathBuf,
    members: HashMap<String, Member>,
}

/// One image in `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerManifest {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// An OCI index or image manifest: which one is told by what it has.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OciManifest {
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
}

#[derive(Deserialize, Clone)]
struct Descriptor {
    digest: String,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default)]
    annotations: Option<HashMap<String, String>>,
}

#[derive(Deserialize, Clone)]
struct Platform {
    architecture: String,
    os: String,
}

/// Opens the archive at `path` and finds the one image in it.
pub(crate) fn open(path: &Path) -> Result<Archived, ImageError> {
    let unreadable = |source| ImageError::Io { action: "read", path: path.to_owned(), source };
    let file = File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => ImageError::Missing(path.to_owned()),
        _ => unreadable(source),
    })?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(ImageError::NotAnArchive { path: path.to_owned(), reason: "it is not a file".into() });
    }
    Archive::read(path, Region::whole(file).map_err(unreadable)?)?.image()
}

impl Archive {
    fn read(path: &Path, region: Region) -> Result<Self, ImageError> {
        let mut archive = Self { path: path.to_owned(), members: HashMap::new() };
        let mut headers = Headers::new(region.clone());
        loop {
            let at = headers.position();
            let entry = match headers.next() {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                Err(TarError::NoHeader(0)) => return Err(archive.no_archive("it is not a tar file")),
                Err(TarError::Truncated(_)) if at == 0 => {
                    return Err(archive.no_archive("it is too short for a tar file"));
                }
                Err(error) => return Err(archive.damaged(error.to_string())),
            };
            if archive.members.len() >= MAX_ENTRIES {
                return Err(archive.no_archive(format!("it has more than {MAX_ENTRIES} entries")));
            }
            // Names in an image archive are all plain; others can't be asked for.
            let Some(name) = std::str::from_utf8(&entry.path).ok().map(normal) else { continue };
            let member = match entry.kind {
                Kind::File => match region.part(entry.offset, entry.size) {
                    Some(part) => Member::File(part),
                    None => return Err(archive.damaged(format!("{name}: cut off"))),
                },
                Kind::Symlink => match std::str::from_utf8(&entry.link) {
                    Ok(link) => Member::Link(normal(&match name.rsplit_once('/') {
                        Some((dir, _)) if !link.starts_with('/') => format!("{dir}/{link}"),
                        _ => link.to_owned(),
                    })),
                    Err(_) => continue,
                },
                _ => continue,
            };
            archive.members.insert(name, member);
        }
        Ok(archive)
    }

    fn image(&self) -> Result<Archived, ImageError> {
        if let Some(region) = self.find("manifest.json") {
            self.docker_image(&region)
        } else if let Some(region) = self.find("index.json") {
            let bytes = self.small("index.json", &region)?;
            let manifest = self.oci_manifest(&bytes, "index.json", 0)?;
            self.oci_image(manifest)
        } else {
            Err(self.no_archive("it has neither manifest.json nor index.json"))
        }
    }

    fn docker_image(&self, manifest: &Region) -> Result<Archived, ImageError> {
        let bytes = self.small("manifest.json", manifest)?;
        let mut images: Vec<DockerManifest> = self.json("manifest.json", &bytes)?;
        let (Some(image), true) = (images.pop(), images.is_empty()) else {
            if images.is_empty() {
                return Err(self.no_archive("its manifest.json names no image"));
            }
            let bytes: Vec<DockerManifest> = self.json("manifest.json", &bytes)?;
            return Err(self.several(
                bytes.into_iter().map(|image| {
                    image.repo_tags.unwrap_or_default().first().cloned().unwrap_or(image.config)
                }),
            ));
        };
        let config = self.member(&image.config)?;
        let config_json = self.small(&image.config, &config)?;
        // The name is the digest: CONFIG.json in the older form, blobs/sha256/CONFIG in the newer one.
        let base = image.config.rsplit('/').next().unwrap_or_default();
        let expected = base.strip_suffix(".json").unwrap_or(base);
        let expected: ImageId = expected
            .parse()
            .map_err(|_| self.damaged(format!("the config {:?} is not named by its digest", image.config)))?;
        self.assemble(expected, config_json, &image.layers.unwrap_or_default())
    }

    /// The one image manifest for this platform that an index leads to, or the manifest that `bytes` already are.
    fn oci_manifest(&self, bytes: &[u8], name: &str, depth: usize) -> Result<OciManifest, ImageError> {
        let manifest: OciManifest = self.json(name, bytes)?;
        let Some(all) = &manifest.manifests else { return Ok(manifest) };
        if depth >= MAX_NESTING {
            return Err(self.damaged(format!("more than {MAX_NESTING} indexes within each other")));
        }
        // Attestations that buildkit adds are for the platform "unknown".
        let real = |descriptor: &&Descriptor| {
            descriptor.platform.as_ref().is_none_or(|platform| platform.os != "unknown")
        };
        let ours = |descriptor: &&Descriptor| {
            descriptor.platform.as_ref().is_none_or(|platform| {
                platform.os == "linux" && platform.architecture == guest_architecture()
            })
        };
        let candidates: Vec<_> = all.iter().filter(real).filter(ours).collect();
        let descriptor = match candidates[..] {
            [one] => one,
            [] => {
                let platforms: Vec<_> = all
                    .iter()
                    .filter_map(|d| d.platform.as_ref())
                    .map(|platform| format!("{}/{}", platform.os, platform.architecture))
                    .collect();
                if platforms.is_empty() {
                    return Err(self.no_archive(format!("{name} names no image")));
                }
                return Err(wrong_platform(platforms.join(", ")));
            }
            _ => {
                return Err(self.several(candidates.iter().map(|descriptor| {
                    let named = descriptor.annotations.as_ref().and_then(|annotations| {
                        annotations
                            .get("io.containerd.image.name")
                            .or_else(|| annotations.get("org.opencontainers.image.ref.name"))
                    });
                    named.unwrap_or(&descriptor.digest).clone()
                })));
            }
        };
        let (name, bytes) = self.blob(&descriptor.digest)?;
        self.oci_manifest(&bytes, &name, depth + 1)
    }

    fn oci_image(&self, manifest: OciManifest) -> Result<Archived, ImageError> {
        let config =
            manifest.config.ok_or_else(|| self.damaged("the image manifest names no config".into()))?;
        let (_, config_json) = self.blob(&config.digest)?;
        let id = ImageId::of(&config_json);
        let layers: Vec<String> = manifest
            .layers
            .unwrap_or_default()
            .iter()
            .map(|layer| self.blob_name(&layer.digest).map(|(name, _)| name))
            .collect::<Result<_, _>>()?;
        self.assemble(id, config_json, &layers)
    }

    fn assemble(
        &self,
        expected: ImageId,
        config_json: Vec<u8>,
        layer_names: &[String],
    ) -> Result<Archived, ImageError> {
        let id = ImageId::of(&config_json);
        if id != expected {
            return Err(ImageError::WrongDigest {
                what: "the image's config".to_owned(),
                expected: expected.to_string(),
                actual: id.to_string(),
            });
        }
        let config = ImageConfig::parse(&config_json)
            .map_err(|reason| self.damaged(format!("the image's config: {reason}")))?;
        check_platform(&config.os, &config.architecture)?;
        if config.diff_ids.len() != layer_names.len() {
            return Err(self.damaged(format!(
                "{} layers, where the config has digests for {}",
                layer_names.len(),
                config.diff_ids.len()
            )));
        }
        let layers = layer_names
            .iter()
            .zip(&config.diff_ids)
            .enumerate()
            .map(|(i, (name, diff_id))| {
                Ok(Layer {
                    name: format!("layer {} of {} (sha256:{diff_id})", i + 1, layer_names.len()),
                    diff_id: *diff_id,
                    blob: self.member(name)?,
                })
            })
            .collect::<Result<_, ImageError>>()?;
        Ok(Archived { id, config, config_json, layers })
    }

    fn blob_name(&self, digest: &str) -> Result<(String, ImageId), ImageError> {
        let id: ImageId =
            digest.parse().map_err(|_| self.damaged(format!("{digest:?} is not a sha256 digest")))?;
        Ok((format!("blobs/sha256/{id}"), id))
    }

    /// A small blob, checked against its digest.
    fn blob(&self, digest: &str) -> Result<(String, Vec<u8>), ImageError> {
        let (name, expected) = self.blob_name(digest)?;
        let bytes = self.small(&name, &self.member(&name)?)?;
        let actual = ImageId::of(&bytes);
        if actual != expected {
            return Err(ImageError::WrongDigest {
                what: name,
                expected: expected.to_string(),
                actual: actual.to_string(),
            });
        }
        Ok((name, bytes))
    }

    fn find(&self, name: &str) -> Option<Region> {
        let mut name = normal(name);
        for _ in 0..8 {
            match self.members.get(&name)? {
                Member::File(region) => return Some(region.clone()),
                Member::Link(target) => name = target.clone(),
            }
        }
        None
    }

    fn member(&self, name: &str) -> Result<Region, ImageError> {
        self.find(name).ok_or_else(|| self.damaged(format!("{name} is missing")))
    }

    fn small(&self, name: &str, region: &Region) -> Result<Vec<u8>, ImageError> {
        if region.len() > MAX_JSON {
            return Err(
                self.damaged(format!("{name} has {} bytes, where {MAX_JSON} is the most", region.len()))
            );
        }
        region.read_all().map_err(|error| self.damaged(format!("{name}: {error}")))
    }

    fn json<T: DeserializeOwned>(&self, name: &str, bytes: &[u8]) -> Result<T, ImageError> {
        serde_json::from_slice(bytes).map_err(|error| self.damaged(format!("{name}: {error}")))
    }

    fn no_archive(&self, reason: impl Into<String>) -> ImageError {
        ImageError::NotAnArchive { path: self.path.clone(), reason: reason.into() }
    }

    fn damaged(&self, reason: String) -> ImageError {
        ImageError::Damaged { path: self.path.clone(), reason }
    }

    fn several(&self, names: impl Iterator<Item = String>) -> ImageError {
        ImageError::SeveralImages { path: self.path.clone(), names: names.collect() }
    }
}

/// Refuses an image that the guest can't run.
pub(crate) fn check_platform(os: &str, architecture: &str) -> Result<(), ImageError> {
    if os == "linux" && architecture == guest_architecture() {
        return Ok(());
    }
    let or_unknown = |text: &str| if text.is_empty() { "unknown".to_owned() } else { text.to_owned() };
    Err(wrong_platform(format!("{}/{}", or_unknown(os), or_unknown(architecture))))
}

fn wrong_platform(image: String) -> ImageError {
    ImageError::WrongPlatform { image, guest: format!("linux/{}", guest_architecture()) }
}

/// A member's name without `./`, `/` and `..`, so that each has one spelling.
fn normal(name: &str) -> String {
    let mut parts = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}
