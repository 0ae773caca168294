//! A layer's bytes as they are stored, compressed or not: in a file, or in a registry.

use std::io::{self, Read};

use super::input::CHUNK;
use super::region::Region;
use super::registry::RemoteBlob;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) enum Blob {
    /// Part of an archive, or a file of a layout.
    Local(Region),
    /// Downloaded while it is read.
    Remote(RemoteBlob),
}

impl Blob {
    /// From front to back; may be called again, which downloads again. What is downloaded is checked against its digest
    /// before its last bytes are given out.
    pub(crate) fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Local(region) => Box::new(region.reader(CHUNK)),
            Self::Remote(blob) => Box::new(blob.open()),
        })
    }

    /// Its size in bytes, as it is stored.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Local(region) => region.len(),
            Self::Remote(blob) => blob.len(),
        }
    }
}
