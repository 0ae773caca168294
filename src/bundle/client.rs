//! The connection to the docker daemon.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::API_DEFAULT_VERSION;

use super::error::{BundleError, words};
use super::socket::docker_socket;

/// How long the daemon may take to answer at first. A running one takes milliseconds; but a connect can be what makes
/// systemd start it, and that takes some 15 s on a slow machine.
const FIRST_ANSWER: Duration = Duration::from_secs(30);

/// How long any one request may take to be answered. Creating a container copies nothing, but a disk that is busy
/// with an image being unpacked has been seen to hold one up for most of a minute.
const REQUEST_S: u64 = 120;

/// A docker daemon that has answered.
#[derive(Debug, Clone)]
pub struct Docker {
    api: bollard::Docker,
    socket: PathBuf,
}

impl Docker {
    /// Finds the daemon as the docker CLI does (`DOCKER_HOST`, the context in use, the usual sockets), and waits for
    /// its first answer.
    pub async fn connect() -> Result<Self, BundleError> {
        Self::connect_to(&docker_socket()?).await
    }

    /// Connects to the daemon behind this socket.
    pub async fn connect_to(socket: &Path) -> Result<Self, BundleError> {
        let not_answering = |reason: String| BundleError::NotAnswering { socket: socket.to_owned(), reason };
        // The client library tells neither a missing socket from a forbidden one, nor either from a dead daemon.
        match UnixStream::connect(socket) {
            Ok(stream) => drop(stream),
            Err(error) => {
                return Err(match error.kind() {
                    ErrorKind::PermissionDenied => BundleError::SocketDenied { socket: socket.to_owned() },
                    ErrorKind::NotFound => BundleError::NoDaemon { tried: vec![socket.to_owned()] },
                    _ => not_answering(error.to_string()),
                });
            }
        }
        let Some(path) = socket.to_str() else {
            return Err(not_answering("its path is not UTF-8".to_owned()));
        };
        let client = bollard::Docker::connect_with_unix(path, REQUEST_S, API_DEFAULT_VERSION)
            .map_err(|error| not_answering(words(&error)))?;
        let api = match tokio::time::timeout(FIRST_ANSWER, client.negotiate_version()).await {
            Ok(answer) => answer.map_err(|error| not_answering(words(&error)))?,
            Err(_) => return Err(not_answering(format!("no answer within {} s", FIRST_ANSWER.as_secs()))),
        };
        log::debug!("docker on {} speaks API {}", socket.display(), api.client_version());
        Ok(Self { api, socket: socket.to_owned() })
    }

    /// Asks the daemon whether it is still there.
    pub async fn ping(&self) -> Result<(), BundleError> {
        let not_answering = |reason| BundleError::NotAnswering { socket: self.socket.clone(), reason };
        match tokio::time::timeout(FIRST_ANSWER, self.api.ping()).await {
            Ok(answer) => answer.map(drop).map_err(|error| not_answering(words(&error))),
            Err(_) => Err(not_answering(format!("no answer within {} s", FIRST_ANSWER.as_secs()))),
        }
    }

    /// The socket that the daemon answered on.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The client itself, for what is not about bundles (exporting an image).
    pub fn api(&self) -> &bollard::Docker {
        &self.api
    }
}
