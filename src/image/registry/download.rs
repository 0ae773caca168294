//! A blob, downloaded while it is read.
//!
//! Where the connection breaks, the rest is asked for by an HTTP range; a server that knows no ranges is read from the
//! start, up to where it broke. Attempts are counted only as long as they bring nothing. The digest is that of all bytes,
//! whatever connections they came by, and is checked before the last of them are given out.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use reqwest::header::{CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Response, StatusCode};
use sha2::{Digest, Sha256};

use super::connection::{Connection, deepest};
use super::error::RegistryError;
use crate::image::config::ImageId;
use crate::image::error::ImageError;

/// What counts as progress, of an attempt and of a while, if it is not the rest: else a server could hand out byte by byte
/// for ever.
const PROGRESS: u64 = 64 << 10;

/// A blob of an image in a registry.
#[derive(Clone, Debug)]
pub(crate) struct RemoteBlob {
    connection: Arc<Connection>,
    digest: ImageId,
    size: u64,
}

impl RemoteBlob {
    pub(super) fn new(connection: Arc<Connection>, digest: ImageId, size: u64) -> Self {
        Self { connection, digest, size }
    }

    /// Its size in bytes, as the manifest states it.
    pub(crate) fn len(&self) -> u64 {
        self.size
    }

    /// From front to back. Nothing is asked for before the first read. A read blocks, and can't be done where tokio runs.
    /// Its errors have an [`ImageError`] within.
    pub(crate) fn open(&self) -> impl Read + Send + use<> {
        Download {
            blob: self.clone(),
            response: None,
            skip: 0,
            at: 0,
            chunk: Bytes::new(),
            hasher: Sha256::new(),
            verified: false,
            failures: 0,
            failed_at: 0,
            waited: Duration::ZERO,
            waited_since: 0,
        }
    }
}

struct Download {
    blob: RemoteBlob,
    /// Where the next bytes come from.
    response: Option<Response>,
    /// So many bytes of it were read before.
    skip: u64,
    /// So many bytes were received.
    at: u64,
    /// Those of them that were not given out yet.
    chunk: Bytes,
    hasher: Sha256,
    verified: bool,
    /// Attempts that failed since there was progress, and how far that had come.
    failures: u32,
    failed_at: u64,
    /// How long was waited since there was progress, and how far that had come. Who reads slowly does not wait.
    waited: Duration,
    waited_since: u64,
}

/// Why there are no further bytes.
enum Fault {
    /// The next attempt may bring them.
    Passing(String),
    Final(RegistryError),
}

impl From<RegistryError> for Fault {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Unreachable { reason, .. } => Self::Passing(reason),
            error if error.may_pass() => Self::Passing(error.to_string()),
            error => Self::Final(error),
        }
    }
}

impl Read for Download {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() && !(self.verified && self.at == self.blob.len()) {
            let connection = Arc::clone(&self.blob.connection);
            connection.block_on(self.advance()).map_err(|error| io::Error::other(ImageError::from(error)))?;
        }
        let n = out.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut out[..n]);
        Ok(n)
    }
}

impl Download {
    /// Receives a chunk, after as many attempts as it takes.
    async fn advance(&mut self) -> Result<(), RegistryError> {
        loop {
            if self.at == self.blob.len() {
                return self.verify();
            }
            match self.receive().await {
                Ok(chunk) if chunk.is_empty() => {}
                Ok(chunk) => {
                    self.at += chunk.len() as u64;
                    if self.at > self.blob.len() {
                        return Err(self.wrong_size(format!("more than {}", self.blob.len())));
                    }
                    if self.at - self.waited_since >= PROGRESS {
                        (self.waited, self.waited_since) = (Duration::ZERO, self.at);
                    }
                    self.hasher.update(&chunk);
                    if self.at == self.blob.len() {
                        self.verify()?;
                    }
                    self.chunk = chunk;
                    return Ok(());
                }
                Err(Fault::Final(error)) => return Err(error),
                Err(Fault::Passing(reason)) => self.pause(reason).await?,
            }
        }
    }

    /// The next bytes that are new, on the connection there is or a further one.
    async fn receive(&mut self) -> Result<Bytes, Fault> {
        let response = match &mut self.response {
            Some(response) => response,
            None => {
                let (response, skip) = self.request().await?;
                self.skip = skip;
                self.response.insert(response)
            }
        };
        let stall = self.blob.connection.patience().stall;
        let start = Instant::now();
        let received = tokio::time::timeout(stall.saturating_sub(self.waited), response.chunk()).await;
        self.waited += start.elapsed();
        let mut chunk = match received {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => return Err(Fault::Passing("the connection was closed".to_owned())),
            Ok(Err(error)) => return Err(Fault::Passing(deepest(&error))),
            Err(_) => {
                let bytes = self.at - self.waited_since;
                return Err(Fault::Passing(format!("{bytes} bytes came in {} s", stall.as_secs_f32())));
            }
        };
        let known = usize::try_from(self.skip).unwrap_or(usize::MAX).min(chunk.len());
        chunk.advance(known);
        self.skip -= known as u64;
        Ok(chunk)
    }

    /// Asks for what is missing. Returns the answer, and how much of it is known already.
    async fn request(&self) -> Result<(Response, u64), Fault> {
        let blob = &self.blob;
        let mut headers = HeaderMap::new();
        if self.at > 0
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={}-", self.at))
        {
            headers.insert(RANGE, range);
        }
        let name = format!("sha256:{}", blob.digest);
        let response = blob.connection.get(&format!("blobs/{name}"), &name, headers).await?;
        if response.status() == StatusCode::PARTIAL_CONTENT {
            if range_start(&response) != Some(self.at) {
                return Err(Fault::Passing(format!("the answer begins elsewhere than at byte {}", self.at)));
            }
            return Ok((response, 0));
        }
        match response.content_length() {
            Some(length) if length != blob.len() => Err(Fault::Final(self.wrong_size(length.to_string()))),
            _ => Ok((response, self.at)),
        }
    }

    /// Waits before the next attempt, or gives up.
    async fn pause(&mut self, reason: String) -> Result<(), RegistryError> {
        self.response = None;
        if self.at - self.failed_at >= PROGRESS {
            self.failures = 0;
        }
        self.failed_at = self.at;
        (self.waited, self.waited_since) = (Duration::ZERO, self.at);
        self.failures += 1;
        let (blob, patience) = (&self.blob, self.blob.connection.patience());
        if self.failures >= patience.attempts {
            return Err(RegistryError::Broken {
                registry: blob.connection.registry(),
                digest: blob.digest.to_string(),
                at: self.at,
                size: blob.len(),
                reason,
            });
        }
        log::info!("sha256:{} at {} of {} bytes: {reason}: once more", blob.digest, self.at, blob.size);
        let doubled = 1 << (self.failures - 1).min(16);
        tokio::time::sleep(patience.pause * doubled).await;
        Ok(())
    }

    fn verify(&mut self) -> Result<(), RegistryError> {
        let actual = ImageId::from_hasher(self.hasher.clone());
        self.verified = actual == self.blob.digest;
        if self.verified {
            return Ok(());
        }
        Err(RegistryError::WrongDigest {
            registry: self.blob.connection.registry(),
            what: "a blob",
            expected: self.blob.digest.to_string(),
            actual: actual.to_string(),
        })
    }

    fn wrong_size(&self, actual: String) -> RegistryError {
        RegistryError::WrongSize {
            registry: self.blob.connection.registry(),
            digest: self.blob.digest.to_string(),
            expected: self.blob.len(),
            actual,
        }
    }
}

/// Where a part begins, by `Content-Range: bytes START-END/SIZE`.
fn range_start(response: &Response) -> Option<u64> {
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}
