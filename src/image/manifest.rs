//! Manifests and indexes: OCI's, and docker's of schema 2, which have the same fields.
//!
//! ```text
//! index ──► index … ──► manifest ─┬─► config
//!       chosen by platform        └─► layers, from the bottom up
//! ```

use std::collections::HashMap;

use serde::Deserialize;

use super::config::guest_architecture;
use super::error::ImageError;

/// The largest manifest or config that is read. Docker's own limit for a manifest is 4 MiB.
pub(crate) const MAX_JSON: u64 = 4 << 20;
/// How many indexes may lie within each other.
pub(crate) const MAX_NESTING: usize = 4;

/// An index or an image manifest: which one is told by what it has.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    #[serde(default)]
    pub(crate) manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    pub(crate) config: Option<Descriptor>,
    #[serde(default)]
    pub(crate) layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    pub(crate) schema_version: Option<u32>,
}

/// What points to a blob or to another manifest.
#[derive(Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) digest: String,
    #[serde(default)]
    pub(crate) size: Option<u64>,
    #[serde(default)]
    pub(crate) media_type: Option<String>,
    #[serde(default)]
    pub(crate) platform: Option<Platform>,
    #[serde(default)]
    annotations: Option<HashMap<String, String>>,
}

#[derive(Deserialize, Clone)]
pub(crate) struct Platform {
    architecture: String,
    os: String,
    #[serde(default)]
    variant: Option<String>,
}

impl Descriptor {
    /// What the image may be asked for by.
    pub(crate) fn names(&self) -> Vec<String> {
        let annotation = |name| self.annotations.as_ref().and_then(|all| all.get(name)).cloned();
        let named = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];
        named.into_iter().filter_map(annotation).chain([self.digest.clone()]).collect()
    }

    /// Whether any processor of its architecture can run it: others are optimised for newer ones.
    pub(crate) fn is_plain_variant(&self) -> bool {
        let variant = self.platform.as_ref().and_then(|platform| platform.variant.as_deref());
        matches!(variant, None | Some("" | "v1" | "v8"))
    }

    /// Whether it is one of Windows' base layers, whose licence keeps them out of registries and archives.
    pub(crate) fn is_elsewhere(&self) -> bool {
        let media_type = self.media_type.as_deref().unwrap_or_default();
        media_type.contains(".foreign.") || media_type.contains(".nondistributable.")
    }

    /// Why a layer that is elsewhere can't be had.
    pub(crate) fn not_distributed(&self) -> ImageError {
        ImageError::Layer {
            layer: format!("layer {}", self.digest),
            reason: format!(
                "it is not distributed with the image ({})",
                self.media_type.as_deref().unwrap_or_default()
            ),
        }
    }
}

/// Those images of an index that the guest can run; none if there are no images in it at all.
pub(crate) fn for_guest(all: &[Descriptor]) -> Result<Vec<&Descriptor>, ImageError> {
    // Attestations that buildkit adds are for the platform "unknown".
    let real = |descriptor: &&Descriptor| {
        descriptor.platform.as_ref().is_none_or(|platform| platform.os != "unknown")
    };
    let ours = |descriptor: &&Descriptor| {
        descriptor
            .platform
            .as_ref()
            .is_none_or(|platform| platform.os == "linux" && platform.architecture == guest_architecture())
    };
    let candidates: Vec<&Descriptor> = all.iter().filter(real).filter(ours).collect();
    let platforms: Vec<_> = all
        .iter()
        .filter_map(|descriptor| descriptor.platform.as_ref())
        .map(|platform| format!("{}/{}", platform.os, platform.architecture))
        .collect();
    if candidates.is_empty() && !platforms.is_empty() {
        return Err(wrong_platform(platforms.join(", ")));
    }
    Ok(candidates)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn index(platforms: &[(&str, &str)]) -> Vec<Descriptor> {
        let entry = |(os, architecture): &(&str, &str)| {
            let json = format!(
                r#"{{"digest":"{os}","platform":{{"os":"{os}","architecture":"{architecture}","variant":null}}}}"#
            );
            serde_json::from_str(&json).unwrap()
        };
        platforms.iter().map(entry).collect()
    }

    #[test]
    fn an_index_gives_what_the_guest_can_run() {
        let all = index(&[("windows", guest_architecture()), ("linux", "s390x"), ("unknown", "unknown")]);
        let error = for_guest(&all).err().unwrap().to_string();
        assert!(error.contains("windows/") && error.contains("linux/s390x"), "{error}");
        let all = index(&[("linux", "s390x"), ("linux", guest_architecture()), ("unknown", "unknown")]);
        assert_eq!(for_guest(&all).ok().unwrap().len(), 1);
        assert!(for_guest(&[]).ok().unwrap().is_empty());
    }

    #[test]
    fn a_size_is_a_number_of_bytes() {
        for size in ["-1", "1.5", "18446744073709551616", "\"1\""] {
            let json = format!(r#"{{"digest":"x","size":{size}}}"#);
            assert!(serde_json::from_str::<Descriptor>(&json).is_err(), "{size}");
        }
    }
}
