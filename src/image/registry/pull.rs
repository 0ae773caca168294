//! From a reference to an image: its manifest and config are downloaded, its layers not yet.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};

use super::connection::{Connection, Patience};
use super::download::RemoteBlob;
use super::error::RegistryError;
use super::reference::Reference;
use crate::image::archive::Archived;
use crate::image::blob::Blob;
use crate::image::config::ImageId;
use crate::image::error::ImageError;
use crate::image::manifest::{Descriptor, MAX_JSON, MAX_NESTING, Manifest, for_guest};

/// The manifests that we read. A registry that has another kind makes one of these of it, or says so.
const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// The largest layer that is downloaded: more than any honest one has.
const MAX_LAYER: u64 = 256 << 30;

/// What a registry says of its own about a manifest's digest.
const CONTENT_DIGEST: &str = "docker-content-digest";

/// Looks for an image in its registry, on a thread of its own: who waits for what it sends may stop that at any time.
pub(crate) fn open(image: &Reference) -> Result<Receiver<Result<Archived, ImageError>>, RegistryError> {
    let (to_caller, found) = sync_channel(1);
    let unasked = |error: io::Error| RegistryError::Unreachable {
        registry: image.registry().to_owned(),
        reason: error.to_string(),
    };
    let image = image.clone();
    let ask = move || {
        let connection = Connection::open(&image, Patience::USUAL);
        let found = connection.map_err(ImageError::from).and_then(|connection| Puller { connection }.image());
        // Whoever is gone has no use for it.
        drop(to_caller.send(found));
    };
    thread::Builder::new().name("registry".to_owned()).spawn(ask).map_err(unasked)?;
    Ok(found)
}

struct Puller {
    connection: Arc<Connection>,
}

impl Puller {
    fn image(&self) -> Result<Archived, ImageError> {
        let manifest = self.manifest()?;
        let config = manifest.config.ok_or_else(|| self.no_image("its manifest names no config"))?;
        let config_json = self.config(&config)?;
        let layers = manifest.layers.unwrap_or_default();
        let blobs = layers.iter().map(|layer| self.layer(layer)).collect::<Result<_, ImageError>>()?;
        Archived::new(config_json, blobs, |reason| self.no_image(reason).into())
    }

    /// The manifest for the guest's platform.
    fn manifest(&self) -> Result<Manifest, ImageError> {
        let image = self.connection.image();
        let mut version = image.version();
        let mut expected = image.digest();
        for depth in 0..=MAX_NESTING {
            let bytes = self.manifest_bytes(&version, expected).map_err(|error| match error {
                RegistryError::NotFound { registry, image, .. } if depth == 0 => {
                    RegistryError::NotFound { registry, image, reason: self.what_is_missing() }
                }
                other => other,
            })?;
            let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|error| {
                self.no_image(format!("what the registry sends for its manifest is none ({error})"))
            })?;
            if manifest.schema_version == Some(1) {
                return Err(self.no_image("its manifest is of docker's schema 1, of before 2016").into());
            }
            let Some(all) = &manifest.manifests else { return Ok(manifest) };
            let fitting = for_guest(all)?;
            // As docker: the first one that fits, but none for newer processors if there is one for all.
            let chosen = fitting.iter().find(|one| one.is_plain_variant()).or(fitting.first());
            let chosen = chosen.ok_or_else(|| self.no_image("its index names no image"))?;
            let digest = self.digest(chosen)?;
            version = format!("sha256:{digest}");
            expected = Some(digest);
        }
        Err(self.no_image(format!("more than {MAX_NESTING} indexes within each other")).into())
    }

    fn manifest_bytes(&self, version: &str, expected: Option<ImageId>) -> Result<Vec<u8>, RegistryError> {
        let connection = &self.connection;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
        let (bytes, promised) = connection.block_on(async {
            let mut response = connection.get(&format!("manifests/{version}"), "a manifest", headers).await?;
            let promised = response.headers().get(CONTENT_DIGEST).and_then(|value| value.to_str().ok());
            let promised: Option<ImageId> = promised.and_then(|digest| digest.parse().ok());
            let bytes = connection.body(&mut response, "a manifest", MAX_JSON).await?;
            Ok((bytes, promised))
        })?;
        let actual = ImageId::of(&bytes);
        match expected.or(promised).filter(|expected| *expected != actual) {
            Some(expected) => Err(RegistryError::WrongDigest {
                registry: connection.registry(),
                what: "a manifest",
                expected: expected.to_string(),
                actual: actual.to_string(),
            }),
            None => Ok(bytes),
        }
    }

    /// Registries say of a missing name what they say of a missing tag, except when asked for its tags.
    fn what_is_missing(&self) -> String {
        let connection = &self.connection;
        let tags = connection.block_on(connection.get("tags/list?n=1", "tags", HeaderMap::new()));
        match tags {
            Ok(_) if connection.image().digest().is_some() => "no such digest",
            Ok(_) => "no such tag",
            Err(RegistryError::NotFound { .. }) => "no such name",
            Err(_) => "no such name or tag",
        }
        .to_owned()
    }

    fn config(&self, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
        let mut bytes = Vec::new();
        match self.blob(descriptor, MAX_JSON)?.open().read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) => {
                Err(error.downcast().unwrap_or_else(|error| self.no_image(error.to_string()).into()))
            }
        }
    }

    fn layer(&self, descriptor: &Descriptor) -> Result<Blob, ImageError> {
        if descriptor.is_elsewhere() {
            return Err(descriptor.not_distributed());
        }
        Ok(Blob::Remote(self.blob(descriptor, MAX_LAYER)?))
    }

    fn blob(&self, descriptor: &Descriptor, limit: u64) -> Result<RemoteBlob, RegistryError> {
        let digest = self.digest(descriptor)?;
        let size = descriptor
            .size
            .ok_or_else(|| self.no_image(format!("its manifest says no size for sha256:{digest}")))?;
        if size > limit {
            let reason = format!("sha256:{digest} has {size} bytes, where {limit} is the most");
            return Err(self.no_image(reason));
        }
        Ok(RemoteBlob::new(Arc::clone(&self.connection), digest, size))
    }

    fn digest(&self, descriptor: &Descriptor) -> Result<ImageId, RegistryError> {
        let digest = &descriptor.digest;
        match digest.strip_prefix("sha256:").and_then(|hex| hex.parse().ok()) {
            Some(digest) => Ok(digest),
            None => Err(self.no_image(format!("{digest:?} in its manifest is not a sha256 digest"))),
        }
    }

    fn no_image(&self, reason: impl Into<String>) -> RegistryError {
        RegistryError::NoImage { image: self.connection.image().to_string(), reason: reason.into() }
    }
}
