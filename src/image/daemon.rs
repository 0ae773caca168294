//! Images of the local docker daemon, the one that bundles are made by, through its API.

use std::error::Error as _;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};

use super::config::ImageId;
use super::error::ImageError;
use super::input::Chunks;
use crate::bundle::docker_socket;

/// How long the daemon may take to begin its answer. Daemons before 25 write the whole image to a temporary directory
/// before they send the first byte, which takes minutes for a large image on a slow disk.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// How long an export that has begun may stall. The daemon reads from its own disk meanwhile, nothing else.
const STALL_TIMEOUT: Duration = Duration::from_secs(2 * 60);

/// The daemon sends chunks of 32 KiB. So much of them is handed on at once, so that it is worth waking other threads.
const PIECE: usize = 256 << 10;

/// A connection to the daemon, and the runtime that drives it.
pub(crate) struct Daemon {
    runtime: tokio::runtime::Runtime,
    docker: Docker,
}

/// What the daemon says about an image.
pub(crate) struct Inspected {
    /// The config's digest, or, with the containerd image store, that of the manifest or index.
    pub(crate) id: ImageId,
    pub(crate) os: String,
    pub(crate) architecture: String,
    /// Bytes of all layers.
    pub(crate) size: u64,
}

impl Daemon {
    /// Connects to the daemon that the docker CLI would use.
    pub(crate) fn connect() -> Result<Self, ImageError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| ImageError::DaemonUnreachable(error.to_string()))?;
        let socket = docker_socket().map_err(|error| ImageError::DaemonUnreachable(error.to_string()))?;
        let docker = Docker::connect_with_host(&format!("unix://{}", socket.display()))
            .map_err(|error| ImageError::DaemonUnreachable(words(&error)))?
            .with_timeout(ANSWER_TIMEOUT);
        Ok(Self { runtime, docker })
    }

    /// Asks what image `name` is.
    pub(crate) fn inspect(&self, name: &str) -> Result<Inspected, ImageError> {
        let answer = self.runtime.block_on(self.docker.inspect_image(name)).map_err(|error| match error {
            Error::DockerResponseServerError { status_code: 404, .. } => {
                ImageError::NotInDaemon(name.to_owned())
            }
            Error::DockerResponseServerError { message, .. } => {
                ImageError::Daemon { action: "inspect", name: name.to_owned(), message }
            }
            other => ImageError::DaemonUnreachable(words(&other)),
        })?;
        let id = answer.id.unwrap_or_default();
        Ok(Inspected {
            id: id.parse().map_err(|error: super::config::BadDigest| ImageError::Daemon {
                action: "inspect",
                name: name.to_owned(),
                message: error.to_string(),
            })?,
            os: answer.os.unwrap_or_default(),
            architecture: answer.architecture.unwrap_or_default(),
            size: answer.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
        })
    }

    /// The archive of the image with this ID, as it comes.
    pub(crate) fn export<'a>(&'a self, name: &str, id: ImageId) -> Export<'a> {
        // By ID: the name may have moved on since it was inspected.
        let stream = Box::pin(self.docker.export_image(&format!("sha256:{id}")));
        Export { runtime: &self.runtime, name: name.to_owned(), stream, patience: ANSWER_TIMEOUT }
    }
}

/// An archive that the daemon sends.
pub(crate) struct Export<'a> {
    runtime: &'a tokio::runtime::Runtime,
    name: String,
    stream: Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + 'a>>,
    patience: Duration,
}

impl Chunks for Export<'_> {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        let failed = |message| {
            io::Error::other(ImageError::Daemon { action: "export", name: self.name.clone(), message })
        };
        let mut piece = BytesMut::new();
        while piece.len() < PIECE {
            let next = async { tokio::time::timeout(self.patience, self.stream.next()).await };
            match self.runtime.block_on(next) {
                Ok(None) => break,
                Ok(Some(Ok(chunk))) => {
                    self.patience = STALL_TIMEOUT;
                    piece.reserve(if piece.is_empty() { PIECE + chunk.len() } else { chunk.len() });
                    piece.extend_from_slice(&chunk);
                }
                Ok(Some(Err(error))) => return Err(failed(words(&error))),
                Err(_) => return Err(failed(format!("nothing came for {} s", self.patience.as_secs()))),
            }
        }
        Ok((!piece.is_empty()).then(|| piece.freeze()))
    }
}

/// An error with its causes: hyper's own says only "client error".
fn words(error: &Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        cause = error.source();
    }
    words
}
