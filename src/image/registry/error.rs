//! What can go wrong with a registry, in words that name it and the image. No secret is in any of them.

use std::path::PathBuf;

use super::reference::Reference;

/// Why an image could not be had from a registry. [`RegistryError::hint`] says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Nobody answers there, or the connection broke.
    #[error("the registry {registry} can't be reached: {reason}")]
    Unreachable {
        /// Its host.
        registry: String,
        /// The system's words.
        reason: String,
    },
    /// Somebody answers, but not as one whom we trust.
    #[error("the registry {registry} can't be trusted: {reason}")]
    Untrusted {
        /// Its host.
        registry: String,
        /// What TLS says.
        reason: String,
    },
    /// Somebody answers, and speaks no TLS that we speak.
    #[error("the registry {registry} does not speak HTTPS with us: {reason}")]
    NoTls {
        /// Its host.
        registry: String,
        /// What TLS says.
        reason: String,
    },
    /// Something else than a registry answers.
    #[error("{registry} is no registry: {reason}")]
    NoRegistry {
        /// Its host.
        registry: String,
        /// What it answered.
        reason: String,
    },
    /// A redirect or a token server to which we do not go.
    #[error("the registry {registry} sends us to {target} by plain HTTP")]
    Insecure {
        /// Its host.
        registry: String,
        /// The other host.
        target: String,
    },
    /// Nobody is logged in, and the registry wants that.
    #[error("the registry {registry} gives {image} to nobody who is not logged in")]
    LoginNeeded {
        /// Its host.
        registry: String,
        /// The image.
        image: String,
    },
    /// The credentials are wrong, or not enough.
    #[error("the registry {registry} refuses {image} to the credentials that docker has for it")]
    Denied {
        /// Its host.
        registry: String,
        /// The image.
        image: String,
    },
    /// No such name, or no such tag or digest under it.
    #[error("the registry {registry} has no {image}: {reason}")]
    NotFound {
        /// Its host.
        registry: String,
        /// The image.
        image: String,
        /// What is not there.
        reason: String,
    },
    /// Too many requests.
    #[error("the registry {registry} has had too many requests from here")]
    RateLimited {
        /// Its host.
        registry: String,
    },
    /// An answer that is none of the above.
    #[error("the registry {registry} answers {status} when asked for {what}: {message}")]
    Refused {
        /// Its host.
        registry: String,
        /// A manifest, a blob …
        what: String,
        /// The HTTP status.
        status: u16,
        /// What it says.
        message: String,
    },
    /// A manifest or config of bytes without end.
    #[error("the registry {registry} sends more than {limit} bytes for {what}")]
    TooLarge {
        /// Its host.
        registry: String,
        /// A manifest, a token …
        what: String,
        /// How many are read.
        limit: u64,
    },
    /// Some bytes are not those that their digest promises.
    #[error(
        "{what} from the registry {registry} has the wrong digest: sha256:{actual} where sha256:{expected} is promised"
    )]
    WrongDigest {
        /// Its host.
        registry: String,
        /// "the manifest", "the blob".
        what: &'static str,
        /// As stated.
        expected: String,
        /// As computed.
        actual: String,
    },
    /// A blob is shorter or longer than the manifest says.
    #[error(
        "the registry {registry} has {actual} bytes of sha256:{digest}, where the manifest promises {expected}"
    )]
    WrongSize {
        /// Its host.
        registry: String,
        /// The blob.
        digest: String,
        /// As the manifest says.
        expected: u64,
        /// As far as is known: "4711", "more than 17".
        actual: String,
    },
    /// A download that could not be finished.
    #[error("the download of sha256:{digest} from {registry} ended after {at} of {size} bytes: {reason}")]
    Broken {
        /// Its host.
        registry: String,
        /// The blob.
        digest: String,
        /// What was received.
        at: u64,
        /// What it has.
        size: u64,
        /// Why the last attempt failed.
        reason: String,
    },
    /// A manifest that leads to no image that could be run.
    #[error("{image} is no image that can be run: {reason}")]
    NoImage {
        /// The name.
        image: String,
        /// What it is, or lacks.
        reason: String,
    },
    /// Docker's configuration can't be read.
    #[error("docker's configuration {path} can't be read: {reason}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong, without its content.
        reason: String,
    },
    /// A credential helper is not there, or failed.
    #[error("docker's credential helper {helper} {reason}")]
    Helper {
        /// The program.
        helper: String,
        /// What it did.
        reason: String,
    },
}

impl RegistryError {
    /// What the user can do about it, if there is something.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Unreachable { .. } => {
                "check the name and the network; HTTPS_PROXY and NO_PROXY are honoured"
            }
            Self::Untrusted { .. } => {
                "add the registry's CA to the system's certificates, or name a file of CAs in SSL_CERT_FILE"
            }
            Self::NoRegistry { .. } => "an image in a registry is named docker://HOST[:PORT]/NAME[:TAG]",
            Self::NoTls { .. } | Self::Insecure { .. } => {
                "plain HTTP is spoken only with registries on this machine's loopback"
            }
            Self::LoginNeeded { .. } => {
                "log in with docker login; is the name right? many registries say the same of an image that is not there"
            }
            Self::Denied { .. } => {
                "log in again with docker login; may this account have the image, and is its name right?"
            }
            Self::NotFound { .. } => "check the name and the tag; without a tag it is latest",
            Self::RateLimited { .. } => "wait, or log in with docker login: accounts may ask more often",
            Self::Refused { .. } | Self::Broken { .. } => {
                "try again; if it stays so, ask who runs the registry"
            }
            Self::TooLarge { .. } | Self::WrongDigest { .. } | Self::WrongSize { .. } => {
                "the registry, or something on the way to it, is broken or lies: push the image again"
            }
            Self::NoImage { .. } => "push it as an image, with a docker that is newer than 1.10",
            Self::Config { .. } => "repair it, or name another directory in DOCKER_CONFIG",
            Self::Helper { .. } => {
                "run it by hand: echo HOST | docker-credential-NAME get; credsStore and credHelpers in docker's \
                 config.json name it"
            }
        })
    }

    /// Asking ended without an answer of any kind.
    pub(crate) fn unanswered(image: &Reference) -> Self {
        let reason = "asking it failed".to_owned();
        Self::Unreachable { registry: image.registry().to_owned(), reason }
    }

    /// Whether the same request may succeed in a moment.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => (500..600).contains(status),
            _ => false,
        }
    }
}
