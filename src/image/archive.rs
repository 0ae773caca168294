//! An image archive or directory: the config and layers are found in what `docker save`, `skopeo` or `umoci` wrote.
//!
//! ```text
//! up to docker 24            docker 25 and later          OCI layout only
//! manifest.json              manifest.json                index.json ──► blobs/sha256/MANIFEST
//!  ├─ CONFIG.json             ├─ blobs/sha256/CONFIG                      ├─ blobs/sha256/CONFIG
//!  └─ ID/layer.tar …          └─ blobs/sha256/LAYER …                     └─ blobs/sha256/LAYER …
//! ```
//!
//! The config's name is its digest in all three forms, and is checked; layers are checked by the `diff_ids` in the config.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::blob::Blob;
use super::config::{ImageConfig, ImageId};
use super::error::ImageError;
use super::layer::Layer;
use super::manifest::{Descriptor, MAX_JSON, MAX_NESTING, Manifest, check_platform, for_guest};
use super::members::Members;
use super::region::Region;
use super::source::ImageFile;

/// An image with its layers where they are stored: in an archive, or in a registry.
#[derive(Debug)]
pub(crate) struct Archived {
    pub(crate) id: ImageId,
    pub(crate) config: ImageConfig,
    /// The config's own bytes.
    pub(crate) config_json: Vec<u8>,
    /// From the bottom up.
    pub(crate) layers: Vec<Layer>,
}

impl Archived {
    /// Puts together what a manifest names: the config, whose digest is known to be right, and the layers from the bottom up.
    pub(crate) fn new(
        config_json: Vec<u8>,
        blobs: Vec<Blob>,
        damaged: impl Fn(String) -> ImageError,
    ) -> Result<Self, ImageError> {
        let config = ImageConfig::parse(&config_json)
            .map_err(|reason| damaged(format!("the image's config: {reason}")))?;
        check_platform(&config.os, &config.architecture)?;
        let count = blobs.len();
        if config.diff_ids.len() != count {
            let promised = config.diff_ids.len();
            return Err(damaged(format!("{count} layers, where the config has digests for {promised}")));
        }
        let layers = blobs
            .into_iter()
            .zip(&config.diff_ids)
            .enumerate()
            .map(|(i, (blob, diff_id))| Layer {
                name: format!("layer {} of {count} (sha256:{diff_id})", i + 1),
                diff_id: *diff_id,
                blob,
            })
            .collect();
        Ok(Self { id: ImageId::of(&config_json), config, config_json, layers })
    }
}

struct Archive<'a> {
    members: Members,
    /// Which image is wanted, where there are several.
    wanted: Option<&'a str>,
}

/// One image in `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DockerManifest {
    pub(crate) config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) layers: Option<Vec<String>>,
}

/// Which of an archive's two tables of contents to trust, where docker 25 has written both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    /// `manifest.json`.
    Docker,
    /// `index.json`.
    Oci,
}

/// Opens the archive or directory, and finds the one image in it, or the one that is wanted.
pub(crate) fn open(file: &ImageFile, table: Table) -> Result<Archived, ImageError> {
    Archive { members: Members::of(&file.path)?, wanted: file.reference.as_deref() }.image(table)
}

impl Archive<'_> {
    fn image(&self, preferred: Table) -> Result<Archived, ImageError> {
        let other = if preferred == Table::Docker { Table::Oci } else { Table::Docker };
        for table in [preferred, other] {
            match table {
                Table::Docker => {
                    if let Some(region) = self.members.find("manifest.json")? {
                        return self.docker_image(&region);
                    }
                }
                Table::Oci => {
                    if let Some(region) = self.members.find("index.json")? {
                        let bytes = self.small("index.json", &region)?;
                        let manifest = self.oci_manifest(&bytes, "index.json", 0)?;
                        return self.oci_image(manifest);
                    }
                }
            }
        }
        Err(self.no_archive("it has neither manifest.json nor index.json"))
    }

    fn docker_image(&self, manifest: &Region) -> Result<Archived, ImageError> {
        let bytes = self.small("manifest.json", manifest)?;
        let images: Vec<DockerManifest> = self.json("manifest.json", &bytes)?;
        if images.is_empty() {
            return Err(self.no_archive("its manifest.json names no image"));
        }
        let image = self.the_one(images, |image| {
            let tags = image.repo_tags.clone().unwrap_or_default();
            if tags.is_empty() { vec![image.config.clone()] } else { tags }
        })?;
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
    fn oci_manifest(&self, bytes: &[u8], name: &str, depth: usize) -> Result<Manifest, ImageError> {
        let manifest: Manifest = self.json(name, bytes)?;
        let Some(all) = &manifest.manifests else { return Ok(manifest) };
        if depth >= MAX_NESTING {
            return Err(self.damaged(format!("more than {MAX_NESTING} indexes within each other")));
        }
        let candidates = for_guest(all)?;
        if candidates.is_empty() {
            return Err(self.no_archive(format!("{name} names no image")));
        }
        // Names are given in the outermost index; what lies in it is chosen by platform.
        let descriptor = if depth == 0 {
            self.the_one(candidates, |descriptor| descriptor.names())?
        } else {
            match candidates[..] {
                [one] => one,
                _ => return Err(self.several(candidates.iter().map(|d| d.digest.clone()))),
            }
        };
        let (name, bytes) = self.blob(&descriptor.digest)?;
        self.oci_manifest(&bytes, &name, depth + 1)
    }

    fn oci_image(&self, manifest: Manifest) -> Result<Archived, ImageError> {
        let config =
            manifest.config.ok_or_else(|| self.damaged("the image manifest names no config".into()))?;
        let (_, config_json) = self.blob(&config.digest)?;
        let id = ImageId::of(&config_json);
        let layers: Vec<String> = manifest
            .layers
            .unwrap_or_default()
            .iter()
            .map(|layer| self.layer_name(layer))
            .collect::<Result<_, _>>()?;
        self.assemble(id, config_json, &layers)
    }

    fn layer_name(&self, layer: &Descriptor) -> Result<String, ImageError> {
        let (name, _) = self.blob_name(&layer.digest)?;
        if layer.is_elsewhere() && self.members.find(&name)?.is_none() {
            return Err(layer.not_distributed());
        }
        Ok(name)
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
        let blobs = layer_names
            .iter()
            .map(|name| self.member(name).map(Blob::Local))
            .collect::<Result<_, ImageError>>()?;
        Archived::new(config_json, blobs, |reason| self.damaged(reason))
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

    /// The image that is wanted, or the only one there is.
    fn the_one<T>(&self, images: Vec<T>, names: impl Fn(&T) -> Vec<String>) -> Result<T, ImageError> {
        let all: Vec<String> =
            images.iter().map(|image| names(image).first().cloned().unwrap_or_default()).collect();
        let mut fitting = match self.wanted {
            None => images,
            Some(wanted) => images
                .into_iter()
                .filter(|image| names(image).iter().any(|name| same_reference(name, wanted)))
                .collect(),
        };
        match (fitting.pop(), fitting.is_empty()) {
            (Some(image), true) => Ok(image),
            (None, _) => Err(ImageError::NotInArchive {
                path: self.members.path().to_owned(),
                wanted: self.wanted.unwrap_or_default().to_owned(),
                names: all,
            }),
            (Some(_), false) => Err(self.several(all.into_iter())),
        }
    }

    fn member(&self, name: &str) -> Result<Region, ImageError> {
        self.members.find(name)?.ok_or_else(|| self.damaged(format!("{name} is missing")))
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
        ImageError::NotAnArchive { path: self.members.path().to_owned(), reason: reason.into() }
    }

    fn damaged(&self, reason: String) -> ImageError {
        ImageError::Damaged { path: self.members.path().to_owned(), reason }
    }

    fn several(&self, names: impl Iterator<Item = String>) -> ImageError {
        ImageError::SeveralImages { path: self.members.path().to_owned(), names: names.collect() }
    }
}

/// Whether both name one image. Docker leaves out the registry `docker.io`, its `library/`, and the tag `latest`.
fn same_reference(name: &str, wanted: &str) -> bool {
    fn short(name: &str) -> &str {
        let name = name.strip_prefix("docker.io/").unwrap_or(name);
        let name = name.strip_prefix("library/").unwrap_or(name);
        name.strip_suffix(":latest").unwrap_or(name)
    }
    short(name) == short(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_has_several_spellings() {
        for (name, wanted) in [
            ("debian:latest", "debian"),
            ("docker.io/library/debian:12", "debian:12"),
            ("host:5000/a:1", "host:5000/a:1"),
        ] {
            assert!(same_reference(name, wanted), "{name} {wanted}");
        }
        for (name, wanted) in [("debian:12", "debian"), ("a/debian", "debian"), ("debian", "debian2")] {
            assert!(!same_reference(name, wanted), "{name} {wanted}");
        }
    }
}
