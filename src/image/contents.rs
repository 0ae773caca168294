//! The contents of an image's files: each has a number, and is somewhere.

use std::io::{self, BufRead, Read};

use bottle_ext4::{Content, ContentWriter, Writer};

use super::region::Region;
use super::sparse::{CopyError, Shape, Sink};

/// How much of a file in a plain layer is read at once.
const CHUNK: usize = 256 << 10;

/// Where a content is.
#[derive(Debug)]
pub(crate) enum Place {
    /// In a plain layer.
    Layer { region: Region, shape: Shape },
    /// In the ext4 image already.
    Image(Content),
    /// Left out of layer number `layer`, since a layer above it seems to hide it.
    LeftOut { layer: usize, size: u64 },
    /// A file has it, or nobody.
    Gone,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Contents(Vec<Place>);

impl Contents {
    pub(crate) fn add(&mut self, place: Place) -> usize {
        self.0.push(place);
        self.0.len() - 1
    }

    pub(crate) fn get(&self, number: usize) -> &Place {
        self.0.get(number).unwrap_or(&Place::Gone)
    }

    pub(crate) fn set(&mut self, number: usize, place: Place) {
        if let Some(old) = self.0.get_mut(number) {
            *old = place;
        }
    }

    pub(crate) fn take(&mut self, number: usize) -> Place {
        self.0.get_mut(number).map_or(Place::Gone, |place| std::mem::replace(place, Place::Gone))
    }

    /// How many there are: the number that the next one gets.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Place {
    /// The size of the file.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Layer { shape, .. } => shape.size,
            Self::Image(content) => content.size(),
            Self::LeftOut { size, .. } => *size,
            Self::Gone => 0,
        }
    }
}

/// Writes what `input` has next as a content.
pub(crate) fn write(
    writer: &mut Writer,
    shape: &Shape,
    input: &mut dyn BufRead,
) -> Result<Content, CopyError<bottle_ext4::Error>> {
    let mut to = ToImage(writer.content(shape.size).map_err(CopyError::Sink)?);
    shape.copy(input, &mut to)?;
    to.0.finish().map_err(CopyError::Sink)
}

/// Writes a content that lies in a plain layer.
pub(crate) fn write_region(
    writer: &mut Writer,
    shape: &Shape,
    region: &Region,
) -> Result<Content, CopyError<bottle_ext4::Error>> {
    write(writer, shape, &mut region.reader(CHUNK))
}

/// A small content, wherever it is. `None` if it is not small.
pub(crate) fn read(writer: &mut Writer, place: &Place, most: u64) -> io::Result<Option<Vec<u8>>> {
    if place.size() > most {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    match place {
        Place::Layer { region, shape } => {
            let copied = shape.copy(&mut region.reader(CHUNK), &mut ToMemory(&mut bytes));
            copied.map_err(|error| match error {
                CopyError::Read(error) => error,
                _ => io::ErrorKind::UnexpectedEof.into(),
            })?;
        }
        Place::Image(content) => drop(writer.read(content)?.read_to_end(&mut bytes)?),
        Place::LeftOut { .. } | Place::Gone => return Ok(None),
    }
    Ok(Some(bytes))
}

struct ToImage<'w>(ContentWriter<'w>);

impl Sink for ToImage<'_> {
    type Error = bottle_ext4::Error;

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), bottle_ext4::Error> {
        self.0.write(bytes)
    }

    fn zeros(&mut self, count: u64) -> Result<(), bottle_ext4::Error> {
        self.0.skip(count)
    }
}

struct ToMemory<'a>(&'a mut Vec<u8>);

impl Sink for ToMemory<'_> {
    type Error = io::Error;

    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn zeros(&mut self, count: u64) -> io::Result<()> {
        let len = usize::try_from(count).ok().and_then(|count| self.0.len().checked_add(count));
        self.0.resize(len.ok_or(io::ErrorKind::InvalidData)?, 0);
        Ok(())
    }
}
