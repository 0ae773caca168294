//! A layer's bytes as they are stored.

use std::io::{self, Read};

use super::input::CHUNK;
use super::region::Region;

/// Where a layer lies, compressed or not.
#[derive(Clone, Debug)]
pub(crate) enum Blob {
    /// In a file here.
    Local(Region),
}

impl Blob {
    /// The blob from front to back. It may be read more than once.
    pub(crate) fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        match self {
            Self::Local(region) => Ok(Box::new(region.reader(CHUNK))),
        }
    }

    /// Its size in bytes.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Local(region) => region.len(),
        }
    }
}
