//! An image's identity and what its config says about running it.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// A SHA-256 digest. The digest of an image's config is the image's ID.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageId([u8; 32]);

impl ImageId {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_hasher({
            let mut hasher = Sha256::new();
            hasher.update(bytes);
            hasher
        })
    }

    /// The digest itself.
    pub(crate) fn bytes(self) -> [u8; 32] {
        self.0
    }

    pub(crate) fn from_hasher(hasher: Sha256) -> Self {
        let mut digest = [0; 32];
        digest.copy_from_slice(&hasher.finalize());
        Self(digest)
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{self}")
    }
}

/// Not 64 lower-case hex digits (with or without `sha256:` before them).
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a sha256 digest")]
pub struct BadDigest(String);

impl FromStr for ImageId {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Self, BadDigest> {
        let bad = || BadDigest(text.to_owned());
        let hex = text.strip_prefix("sha256:").unwrap_or(text).as_bytes();
        if hex.len() != 64 {
            return Err(bad());
        }
        let nibble = |c: u8| match c {
            b'0'..=b'9' => Ok(c - b'0'),
            b'a'..=b'f' => Ok(c - b'a' + 10),
            _ => Err(bad()),
        };
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(hex.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self(digest))
    }
}

/// As many layers as an overlay file system can be mounted of: no image in use has more. Each costs an open file and a thread
/// while it is imported.
const MAX_LAYERS: usize = 500;

/// What an image's config says about running it: the parts of the OCI image configuration that `bottle` uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// Environment, in the image's order. An entry without `=` has an empty value.
    pub env: Vec<(String, String)>,
    /// `ENTRYPOINT`, empty when there is none.
    pub entrypoint: Vec<String>,
    /// `CMD`, empty when there is none.
    pub cmd: Vec<String>,
    /// `WORKDIR`, if set.
    pub working_dir: Option<String>,
    /// `USER` as written: a name or uid, perhaps `:` and a group's name or gid.
    pub user: Option<String>,
    /// `STOPSIGNAL`, if set.
    pub stop_signal: Option<String>,
    /// Labels, sorted by name.
    pub labels: Vec<(String, String)>,
    /// GOARCH's name of the processor: `amd64`, `arm64`.
    pub architecture: String,
    /// The operating system: `linux`.
    pub os: String,
    /// Digests of the uncompressed layers, from the bottom up.
    pub diff_ids: Vec<ImageId>,
}

/// The config as it is written. Unknown fields are ignored, and `null` stands for an absent one, as docker reads it.
#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    architecture: Option<String>,
    #[serde(default)]
    os: Option<String>,
    #[serde(default)]
    config: Option<Run>,
    rootfs: RootFs,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Run {
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
    stop_signal: Option<String>,
    labels: Option<std::collections::BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Option<Vec<String>>,
}

impl ImageConfig {
    /// Reads a config blob. The error says what is wrong with it.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, String> {
        let written: Written = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let run = written.config.unwrap_or_default();
        let diff_ids = written.rootfs.diff_ids.unwrap_or_default();
        if diff_ids.len() > MAX_LAYERS {
            return Err(format!("{} layers, where {MAX_LAYERS} is the most", diff_ids.len()));
        }
        Ok(Self {
            env: run
                .env
                .unwrap_or_default()
                .into_iter()
                .map(|entry| match entry.split_once('=') {
                    Some((name, value)) => (name.to_owned(), value.to_owned()),
                    None => (entry, String::new()),
                })
                .collect(),
            entrypoint: run.entrypoint.unwrap_or_default(),
            cmd: run.cmd.unwrap_or_default(),
            working_dir: run.working_dir.filter(|dir| !dir.is_empty()),
            user: run.user.filter(|user| !user.is_empty()),
            stop_signal: run.stop_signal.filter(|signal| !signal.is_empty()),
            labels: run.labels.unwrap_or_default().into_iter().collect(),
            architecture: written.architecture.unwrap_or_default(),
            os: written.os.unwrap_or_default(),
            diff_ids: diff_ids
                .iter()
                .map(|id| id.parse().map_err(|error: BadDigest| error.to_string()))
                .collect::<Result<_, _>>()?,
        })
    }
}

/// The guest's architecture, in GOARCH's words: that of the host, since nothing is emulated.
pub(crate) fn guest_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_is_written() {
        let id = ImageId::of(b"");
        assert_eq!(id.to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(id.to_string().parse::<ImageId>().unwrap(), id);
        assert_eq!(format!("{id:?}").parse::<ImageId>().unwrap(), id);
        for bad in ["", "sha256:", "sha512:00", &"g".repeat(64), &"A".repeat(64), &"0".repeat(63)] {
            assert!(bad.parse::<ImageId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn absent_null_and_empty_are_the_same() {
        let null = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":null},
            "config":{"Env":null,"Entrypoint":null,"Cmd":null,"WorkingDir":"","User":"","Labels":null}}"#;
        let absent = br#"{"architecture":"amd64","os":"linux","rootfs":{}}"#;
        assert_eq!(ImageConfig::parse(null).unwrap(), ImageConfig::parse(absent).unwrap());
        assert!(ImageConfig::parse(br#"{"architecture":"amd64"}"#).is_err(), "no rootfs");
    }

    #[test]
    fn values_keep_their_equals_signs() {
        let config = ImageConfig::parse(
            br#"{"rootfs":{"diff_ids":[]},"config":{"Env":["A=b=c","EMPTY=","NONE"],"User":"node:node"}}"#,
        )
        .unwrap();
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(config.env, [pair("A", "b=c"), pair("EMPTY", ""), pair("NONE", "")]);
        assert_eq!(config.user.as_deref(), Some("node:node"));
    }
}
