//! What the host tells the guest's init before the boot: one file in the virtual root, at
//! [`CONFIG_PATH`](crate::CONFIG_PATH).
//!
//! ```text
//! "BOTTLE"   version u16 LE   postcard of GuestConfig, to the end of the file
//! ```

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::frame::{HELLO_BYTES, WireError, hello};
use crate::message::EnvVar;

/// The largest configuration that either side takes.
pub const CONFIG_LIMIT_BYTES: usize = 1024 * 1024;

/// Everything that init needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestConfig {
    /// The guest's name, at most 64 bytes.
    pub hostname: String,
    /// The bottle's environment (the image's, and what the bottle adds); goes into every exec.
    pub env: Vec<EnvVar>,
    /// The user of an exec that names none, `name|uid[:group|gid]`; root if empty.
    pub default_user: ByteBuf,
    /// The working directory of an exec that names none; `/` if empty. Made if it does not exist.
    pub default_cwd: ByteBuf,
    /// The block device with the root file system.
    pub root_device: String,
    /// Its type.
    pub root_fstype: String,
    /// The size to which the mounted root file system, an ext4 then, is to be grown; it stays as it is without.
    pub root_bytes: Option<u64>,
    /// The guest's connects are forwarded by TSI.
    pub network: bool,
    /// Host directories that the user asked for by name.
    pub volumes: Vec<Volume>,
    /// The host's clock when it wrote this, in nanoseconds since 1970.
    pub wall_clock_unix_ns: u64,
}

/// A virtiofs share and where it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The share's tag.
    pub tag: String,
    /// Where it is mounted; made if it does not exist.
    pub mountpoint: ByteBuf,
    /// Without the right to write, in the guest's own mount too.
    pub read_only: bool,
}

impl Default for GuestConfig {
    fn default() -> Self {
        Self {
            hostname: "bottle".to_owned(),
            env: Vec::new(),
            default_user: ByteBuf::new(),
            default_cwd: ByteBuf::new(),
            root_device: "/dev/vda".to_owned(),
            root_fstype: "ext4".to_owned(),
            root_bytes: None,
            network: false,
            volumes: Vec::new(),
            wall_clock_unix_ns: 0,
        }
    }
}

/// Why a configuration cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// It is larger than [`CONFIG_LIMIT_BYTES`].
    #[error("the guest's configuration has {0} bytes, more than {CONFIG_LIMIT_BYTES}")]
    TooLarge(usize),
    /// Written by another version, or by something else.
    #[error("the guest's configuration: {0}")]
    Wire(#[from] WireError),
    /// It does not decode.
    #[error("the guest's configuration is malformed")]
    Malformed,
}

impl GuestConfig {
    /// The file's content.
    ///
    /// # Errors
    /// When it would be larger than [`CONFIG_LIMIT_BYTES`].
    pub fn encode(&self) -> Result<Vec<u8>, ConfigError> {
        let mut bytes = hello().to_vec();
        bytes.extend(postcard::to_stdvec(self).map_err(|_| ConfigError::Malformed)?);
        if bytes.len() > CONFIG_LIMIT_BYTES {
            return Err(ConfigError::TooLarge(bytes.len()));
        }
        Ok(bytes)
    }

    /// Reads the file's content.
    ///
    /// # Errors
    /// When it is not exactly a configuration of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, ConfigError> {
        if bytes.len() > CONFIG_LIMIT_BYTES {
            return Err(ConfigError::TooLarge(bytes.len()));
        }
        let (head, rest) = bytes.split_at_checked(HELLO_BYTES).ok_or(WireError::Truncated)?;
        crate::frame::check_hello(head)?;
        match postcard::take_from_bytes(rest) {
            Ok((config, [])) => Ok(config),
            _ => Err(ConfigError::Malformed),
        }
    }
}
