//! The framing, without I/O: bytes in, messages out. The peer is taken for hostile: lengths are checked against the
//! kind's limit before a byte of payload is kept, and at most one frame and one read are ever buffered.

use std::marker::PhantomData;

use crate::VERSION;

/// First bytes of every connection.
const MAGIC: [u8; 6] = *b"BOTTLE";

/// Length of the greeting: magic and version.
pub const HELLO_BYTES: usize = 8;

/// Kind and length.
const HEADER_BYTES: usize = 5;

/// The most a frame of stream data carries.
pub const DATA_LIMIT_BYTES: usize = 64 * 1024;

/// The most a request carries; argv and environment of an exec fit several times over.
pub const CONTROL_LIMIT_BYTES: usize = 1024 * 1024;

/// The greeting of this version.
pub fn hello() -> [u8; HELLO_BYTES] {
    let mut bytes = [0; HELLO_BYTES];
    bytes[..6].copy_from_slice(&MAGIC);
    bytes[6..].copy_from_slice(&VERSION.to_le_bytes());
    bytes
}

/// Whether `bytes` is the greeting of this version.
pub(crate) fn check_hello(bytes: &[u8]) -> Result<(), WireError> {
    let &[a, b, c, d, e, f, low, high] = bytes else { return Err(WireError::Truncated) };
    let magic = [a, b, c, d, e, f];
    if magic != MAGIC {
        return Err(WireError::WrongMagic(magic));
    }
    let theirs = u16::from_le_bytes([low, high]);
    if theirs != VERSION {
        return Err(WireError::VersionMismatch { ours: VERSION, theirs });
    }
    Ok(())
}

/// What can be wrong with what the other side sends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The first bytes are not ours.
    #[error("the other side does not speak bottle's protocol (it began with {0:02x?})")]
    WrongMagic([u8; 6]),
    /// The greeting is ours, the version is another.
    #[error("the other side speaks version {theirs} of bottle's protocol, this side version {ours}")]
    VersionMismatch {
        /// Ours.
        ours: u16,
        /// Theirs.
        theirs: u16,
    },
    /// A kind that this side does not take.
    #[error("unknown frame kind {0:#04x}")]
    UnknownKind(u8),
    /// A length outside of what the kind allows.
    #[error("frame of kind {kind:#04x} has {length} bytes, where {least} to {most} are allowed")]
    BadLength {
        /// The frame's kind.
        kind: u8,
        /// What it says.
        length: usize,
        /// The least allowed.
        least: usize,
        /// The most allowed.
        most: usize,
    },
    /// A payload that does not decode.
    #[error("malformed payload in a frame of kind {0:#04x}")]
    BadPayload(u8),
    /// The stream ended inside the greeting or a frame.
    #[error("the connection ended in the middle of a frame")]
    Truncated,
}

/// The payload lengths that a kind allows, both inclusive.
#[derive(Debug, Clone, Copy)]
pub struct Lengths {
    pub(crate) least: usize,
    pub(crate) most: usize,
}

/// A set of frames that one side sends.
pub trait Message: Sized {
    /// What lengths `kind` allows; `None` if this side does not take it.
    fn lengths(kind: u8) -> Option<Lengths>;
    /// Decodes a payload whose length was checked.
    fn decode(kind: u8, payload: &[u8]) -> Result<Self, WireError>;
    /// Appends the frame to `out`; `out` is as before on an error.
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), WireError>;
}

/// Appends one frame, checked against the limits that the other side will check.
pub(crate) fn put_frame<M: Message>(out: &mut Vec<u8>, kind: u8, payload: &[u8]) -> Result<(), WireError> {
    check_length::<M>(kind, payload.len())?;
    let length = u32::try_from(payload.len()).map_err(|_| WireError::BadPayload(kind))?;
    out.reserve(HEADER_BYTES + payload.len());
    out.push(kind);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(payload);
    Ok(())
}

fn check_length<M: Message>(kind: u8, length: usize) -> Result<(), WireError> {
    let Lengths { least, most } = M::lengths(kind).ok_or(WireError::UnknownKind(kind))?;
    if (least..=most).contains(&length) {
        Ok(())
    } else {
        Err(WireError::BadLength { kind, length, least, most })
    }
}

/// Turns the bytes of one connection into messages, the greeting included. After an error it stays in error: nothing
/// behind a malformed frame can be trusted.
#[derive(Debug)]
pub struct Decoder<M> {
    buffer: Vec<u8>,
    consumed: usize,
    greeted: bool,
    failed: Option<WireError>,
    messages: PhantomData<fn() -> M>,
}

impl<M: Message> Default for Decoder<M> {
    fn default() -> Self {
        Self { buffer: Vec::new(), consumed: 0, greeted: false, failed: None, messages: PhantomData }
    }
}

impl<M: Message> Decoder<M> {
    /// A decoder at the first byte of a connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what was read. Call [`Decoder::message`] until it answers `None` before the next one.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.consumed);
        self.consumed = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message, or `None` if more bytes are needed.
    pub fn message(&mut self) -> Result<Option<M>, WireError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.advance().inspect_err(|error| self.failed = Some(error.clone()))
    }

    fn advance(&mut self) -> Result<Option<M>, WireError> {
        if !self.greeted && !self.greeting()? {
            return Ok(None);
        }
        let rest = &self.buffer[self.consumed..];
        let Some((&[kind, a, b, c, d], body)) = rest.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        check_length::<M>(kind, length)?;
        let Some(payload) = body.get(..length) else { return Ok(None) };
        let message = M::decode(kind, payload)?;
        self.consumed += HEADER_BYTES + length;
        Ok(Some(message))
    }

    fn greeting(&mut self) -> Result<bool, WireError> {
        let Some(hello) = self.buffer[self.consumed..].get(..HELLO_BYTES) else { return Ok(false) };
        check_hello(hello)?;
        self.consumed += HELLO_BYTES;
        self.greeted = true;
        Ok(true)
    }

    /// To be called when the stream has ended: an error if that was in the middle of something.
    pub fn finish(&self) -> Result<(), WireError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.buffer.len() == self.consumed { Ok(()) } else { Err(WireError::Truncated) }
    }
}
