//! Messages over a blocking reader.

use std::io::{self, Read};

use crate::frame::{Decoder, Message, WireError};

/// What one read takes at most.
const READ_BYTES: usize = 64 * 1024;

/// Why no message could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The stream itself failed, by its read timeout for instance.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The other side broke the protocol.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// Reads messages off a stream.
#[derive(Debug)]
pub struct MessageReader<R, M> {
    inner: R,
    decoder: Decoder<M>,
    chunk: Vec<u8>,
}

impl<R: Read, M: Message> MessageReader<R, M> {
    /// A reader at the first byte of a connection.
    pub fn new(inner: R) -> Self {
        Self { inner, decoder: Decoder::new(), chunk: vec![0; READ_BYTES] }
    }

    /// The next message; `None` when the stream ended between two.
    pub fn message(&mut self) -> Result<Option<M>, ReadError> {
        loop {
            if let Some(message) = self.decoder.message()? {
                return Ok(Some(message));
            }
            match self.inner.read(&mut self.chunk) {
                Ok(0) => {
                    self.decoder.finish()?;
                    return Ok(None);
                }
                Ok(count) => self.decoder.push(&self.chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The stream, and what was read off it and is no message yet.
    pub fn into_parts(self) -> (R, Decoder<M>) {
        (self.inner, self.decoder)
    }

    /// The stream itself, to set its timeouts for instance.
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.inner
    }
}
