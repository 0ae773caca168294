//! What can go wrong between an image's name and its `base.ext4`, each with the thing it happened to.

use std::io;
use std::path::{Path, PathBuf};

use super::check::Damage;
use super::registry::RegistryError;

/// Why an image could not be imported. [`ImageError::hint`] says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The image's name can't be read as one of the forms of containers-transports(5).
    #[error("{name:?} is no image name: {reason}")]
    BadName {
        /// What was given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A transport that containers-transports(5) knows and this version does not.
    #[error("images by {transport} are not supported yet ({name})")]
    UnsupportedTransport {
        /// The transport, with its colon.
        transport: String,
        /// What was given.
        name: String,
    },
    /// The archive is not there.
    #[error("no image archive at {0}")]
    Missing(PathBuf),
    /// The file is there, and is something else.
    #[error("{path} is not an image archive: {reason}")]
    NotAnArchive {
        /// The file.
        path: PathBuf,
        /// What was missed in it.
        reason: String,
    },
    /// The file is an image archive with something cut off or overwritten.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// The archive holds more than one image.
    #[error("{path} holds {} images: {}", names.len(), names.join(", "))]
    SeveralImages {
        /// The file.
        path: PathBuf,
        /// Their names, or their configs' where they have none.
        names: Vec<String>,
    },
    /// The archive has no image of the name that is wanted.
    #[error("{path} has no image {wanted:?}, but {}", names.join(", "))]
    NotInArchive {
        /// The file or directory.
        path: PathBuf,
        /// The name.
        wanted: String,
        /// Those that are there.
        names: Vec<String>,
    },
    /// Another processor or operating system.
    #[error("the image is for {image}, and the guest is {guest}")]
    WrongPlatform {
        /// `os/architecture` of the image.
        image: String,
        /// `os/architecture` of the guest.
        guest: String,
    },
    /// Some bytes are not those that their digest promises.
    #[error("{what} has the wrong digest: sha256:{actual} where sha256:{expected} is promised")]
    WrongDigest {
        /// The layer or blob.
        what: String,
        /// As stated.
        expected: String,
        /// As computed.
        actual: String,
    },
    /// One entry of a layer that is malformed, hostile, or can't be expressed in the guest's file system.
    #[error("{layer}: {entry}: {reason}")]
    Entry {
        /// The layer, counted from 1 at the bottom, with its digest.
        layer: String,
        /// The entry's path as it stands in the layer.
        entry: String,
        /// Why it was refused.
        reason: String,
    },
    /// A layer as a whole.
    #[error("{layer}: {reason}")]
    Layer {
        /// The layer, counted from 1 at the bottom, with its digest.
        layer: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The compressed layers unpack to more than they may.
    #[error("{layer}: the image unpacks to more than {} GiB", limit >> 30)]
    TooLarge {
        /// The layer at which it became too much.
        layer: String,
        /// Bytes that all layers together may unpack to.
        limit: u64,
    },
    /// The image has more than its file system was made for.
    #[error("the image does not fit into the largest file system")]
    DiskTooSmall,
    /// The merged tree has something that the file system writer can't express.
    #[error("{path} in the image: {reason}")]
    Tree {
        /// The path in the image.
        path: String,
        /// Why it was refused.
        reason: String,
    },
    /// The store has no such image.
    #[error("there is no imported image {name}")]
    NotStored {
        /// What was asked for.
        name: String,
    },
    /// The beginning of an ID that several images have.
    #[error("{name} is the beginning of {} images: {}", ids.len(), ids.join(", "))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// The images.
        ids: Vec<String>,
    },
    /// An image that can't be removed now.
    #[error("a bottle or an import uses the image {id}")]
    InUse {
        /// The image.
        id: String,
    },
    /// An image that a kept bottle, perhaps one that does not run, has its disk over.
    #[error("the image {id} is that of the bottle{} {}", if bottles.len() == 1 { "" } else { "s" }, bottles.join(", "))]
    Kept {
        /// The image.
        id: String,
        /// The bottles.
        bottles: Vec<String>,
    },
    /// Something else than the import wrote to an image in the store.
    #[error("{dir}: {damage}")]
    Spoiled {
        /// The image's directory.
        dir: PathBuf,
        /// What is wrong.
        damage: Damage,
    },
    /// No space (or quota) left where the cache lies.
    #[error("no space left for the image cache in {dir}")]
    DiskFull {
        /// The cache directory.
        dir: PathBuf,
    },
    /// A file of the cache can't be read or written.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried: "read", "create" …
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The docker daemon does not answer.
    #[error("the docker daemon can't be reached: {0}")]
    DaemonUnreachable(String),
    /// The docker daemon has no such image.
    #[error("the docker daemon has no image {0}")]
    NotInDaemon(String),
    /// The docker daemon answered with an error, or stopped in the middle.
    #[error("the docker daemon failed to {action} {name}: {message}")]
    Daemon {
        /// "inspect" or "export".
        action: &'static str,
        /// The image.
        name: String,
        /// The daemon's words.
        message: String,
    },
    /// An image could not be had from its registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A name without a transport that is neither in the docker daemon nor in its registry.
    #[error("{daemon}; and {registry}")]
    Nowhere {
        /// What the daemon says.
        daemon: Box<ImageError>,
        /// What the registry says.
        registry: Box<ImageError>,
    },
    /// Whoever asked for the import stopped it.
    #[error("the import was stopped")]
    Stopped,
}

impl ImageError {
    /// What the user can do about it, if there is something.
    pub fn hint(&self) -> Option<&str> {
        Some(match self {
            Self::BadName { .. } => {
                "name an image as docker-archive:PATH (written by docker save), oci-archive:PATH, oci:DIRECTORY, \
                 docker-daemon:NAME[:TAG] or docker://[HOST/]NAME[:TAG]"
            }
            Self::UnsupportedTransport { .. } => {
                "get the image into the local docker daemon (docker pull, or skopeo copy … docker-daemon:NAME:TAG), \
                 then name it docker-daemon:NAME:TAG"
            }
            Self::Missing(_) => "write one with: docker save -o FILE IMAGE",
            Self::NotAnArchive { .. } => {
                "docker save writes image archives; docker export writes only a file system (docker import makes an \
                 image of it)"
            }
            Self::Damaged { .. } | Self::WrongDigest { .. } => {
                "the file is incomplete or was changed: save or copy it again"
            }
            Self::Layer { .. } | Self::Entry { .. } | Self::Tree { .. } => {
                "if the archive is whole (save or copy it again), the image has something that no guest can be given"
            }
            Self::TooLarge { .. } => {
                "is it a decompression bomb? If it really is so large, allow it with --max-unpacked GIB"
            }
            Self::SeveralImages { .. } | Self::NotInArchive { .. } => {
                "say which one behind a colon: docker-archive:PATH:NAME:TAG, oci-archive:PATH:NAME, oci:PATH:NAME"
            }
            Self::WrongPlatform { .. } => {
                "build or pull the image for this machine: docker pull --platform linux/…"
            }
            Self::NotStored { .. } => "bottle image ls lists those that there are",
            Self::Ambiguous { .. } => "give more of its ID",
            Self::InUse { .. } => "end what uses it first",
            Self::Kept { .. } => "remove the bottle first, with `bottle rm`",
            Self::Spoiled { .. } => "the next import makes it anew",
            Self::DiskFull { .. } => {
                "free some space, or set BOTTLE_CACHE_DIR to a directory on a larger file system"
            }
            Self::DaemonUnreachable(_) => {
                "is docker running, and may you use its socket? DOCKER_HOST names another one"
            }
            Self::NotInDaemon(_) => {
                "docker images lists what is there; docker pull fetches; for a file, write docker-archive:PATH"
            }
            Self::Registry(error) => return error.hint(),
            Self::Nowhere { registry, .. } => return registry.hint(),
            _ => return None,
        })
    }

    /// An I/O error on something in the cache, with a full disk told apart from the rest.
    pub(crate) fn io(action: &'static str, path: &Path, cache_dir: &Path, source: io::Error) -> Self {
        if is_disk_full(&source) {
            Self::DiskFull { dir: cache_dir.to_owned() }
        } else {
            Self::Io { action, path: path.to_owned(), source }
        }
    }
}

/// Whether the system said that there is no more space, or no more of it for this user.
pub(crate) fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
