//! From layers to a finished `base.ext4`.
//!
//! ```text
//! plain layers, in a file    headers sought ─────────────────┐                ┌► contents still in layers, names
//! all others, from the top   unpacked, contents written, ────┴► merge, fixups ┤
//! down                       those left out that seem hidden                  └► left-out contents that are wanted
//! ```
//!
//! The merge goes from the bottom up ([`super::tree`]) and has headers only. What of the contents turns out hidden is given
//! back; what was left out and turns out visible is read again, which takes a hard link or symlinks that point across layers.

use std::collections::{BTreeMap, HashSet};
use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bottle_ext4::Writer;

use super::archive::Archived;
use super::config::ImageId;
use super::contents::{self, Contents, Place};
use super::error::ImageError;
use super::ext4::{self, Disk, Need};
use super::fixup;
use super::hidden::Hidden;
use super::layer::{Entries, Layer, Room, entry_error, from_io};
use super::region::Region;
use super::report::{Progress, Report};
use super::sparse::CopyError;
use super::tarball::Entry;
use super::tree::{Body, Tree};

/// What compressed layers are taken to unpack to at most. It is only an estimate: what it gives too much costs nothing, and if
/// it is too little, the import begins anew.
const EXPANSION: u64 = 4;
/// More than ext4 can have.
const TOO_LARGE: u64 = 16 << 40;

/// How an image is built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) fixups: bool,
    /// What the compressed layers may unpack to.
    pub(crate) max_unpacked: u64,
}

/// What was built.
#[derive(Debug)]
pub(crate) struct Built {
    /// A line for each change that was made.
    pub(crate) fixups: Vec<String>,
    /// As [`bottle_ext4::checksum`] has it.
    pub(crate) checksum: u64,
}

/// Builds the image of an archive, or of anything else whose layers can be read as often as need be.
pub(crate) fn build(
    image: &Archived,
    terms: Terms,
    disk: Disk<'_>,
    reporter: &dyn Report,
) -> Result<Built, ImageError> {
    let mut bytes = 0_u64;
    for layer in &image.layers {
        let times = if layer.plain()?.is_some() { 1 } else { EXPANSION };
        bytes = bytes.saturating_add(layer.blob.len().saturating_mul(times));
    }
    large_enough(bytes, |need| build_with(image, terms, disk, reporter, need))
}

/// Builds with a larger file system for as long as it turns out too small.
pub(crate) fn large_enough<T>(
    bytes: u64,
    mut build: impl FnMut(Need) -> Result<T, ImageError>,
) -> Result<T, ImageError> {
    let mut need = Need { bytes: bytes.min(TOO_LARGE / 2), inodes: 0 };
    loop {
        match build(need) {
            Err(ImageError::DiskTooSmall) if need.bytes < TOO_LARGE => {
                need = Need {
                    bytes: (2 * need.bytes).max(ext4::NOMINAL_SIZE),
                    inodes: 4 * need.inodes + (1 << 20),
                };
                log::info!("the image is larger than it seemed: once more, for {} GiB", need.bytes >> 30);
            }
            other => return other,
        }
    }
}

fn build_with(
    image: &Archived,
    terms: Terms,
    disk: Disk<'_>,
    reporter: &dyn Report,
    need: Need,
) -> Result<Built, ImageError> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut hashes = Vec::new();
        let built = (|| {
            let mut builder = Builder::new(image.id, need, terms, disk, reporter)?;
            let mut all: Vec<Option<Entries>> = Vec::new();
            for layer in &image.layers {
                let Some(plain) = layer.plain()? else {
                    all.push(None);
                    continue;
                };
                hashes.push((layer, layer.start_hash(&plain, &stop, scope)));
                let read = Arc::new(AtomicU64::new(plain.len()));
                reporter.watch(all.len() + 1, Some(image.layers.len()), plain.len(), read);
                all.push(Some(builder.index(layer, &plain)?));
            }
            let streamed = builder.stream(&image.layers, &mut all)?;
            let layers = image.layers.iter().map(|layer| layer.name.as_str());
            let mut tree = merge(layers.zip(all.into_iter().flatten()))?;
            let wanted = builder.settle(&mut tree)?;
            builder.restore(&image.layers, &streamed, &wanted)?;
            builder.finish(tree, image.config.user.as_deref())
        })();
        let built = match built {
            Ok(built) => built,
            Err(error) => {
                // A damaged layer is the cause of whatever follows from it, so it is what should be told. But a large
                // layer is not hashed to its end only for that.
                stop.store(true, Ordering::Relaxed);
                for (layer, hash) in hashes {
                    match layer.check_hash(hash) {
                        Err(wrong @ ImageError::WrongDigest { .. }) => return Err(wrong),
                        _ => continue,
                    }
                }
                return Err(error);
            }
        };
        if let Err(stopped) = reporter.tell(Progress::Verifying) {
            stop.store(true, Ordering::Relaxed);
            return Err(stopped);
        }
        hashes.into_iter().try_for_each(|(layer, hash)| layer.check_hash(hash))?;
        Ok(built)
    })
}

/// The layers' merged tree. They come from the bottom up, each with its name.
pub(crate) fn merge<'n>(layers: impl Iterator<Item = (&'n str, Entries)>) -> Result<Tree, ImageError> {
    let mut tree = Tree::default();
    for (name, entries) in layers {
        tree.apply(entries).map_err(|(path, reason)| entry_error(name, &path, reason))?;
    }
    Ok(tree)
}

/// Does something with the content of each file of a layer. Returns its number.
type Take<'t, 'a> =
    &'t mut dyn FnMut(&mut Builder<'a>, &Entry, &mut dyn BufRead) -> Result<usize, ImageError>;

/// An image in the making.
pub(crate) struct Builder<'a> {
    writer: Writer,
    pub(crate) contents: Contents,
    terms: Terms,
    pub(crate) room: Arc<Room>,
    disk: Disk<'a>,
    pub(crate) reporter: &'a dyn Report,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(
        id: ImageId,
        need: Need,
        terms: Terms,
        disk: Disk<'a>,
        reporter: &'a dyn Report,
    ) -> Result<Self, ImageError> {
        let writer = ext4::create(disk.path, id, need, &disk)?;
        let room = Room::new(terms.max_unpacked);
        Ok(Self { writer, contents: Contents::default(), terms, room, disk, reporter })
    }

    /// Reads the headers of a plain layer; its contents stay where they are.
    pub(crate) fn index(&mut self, layer: &Layer, plain: &Region) -> Result<Entries, ImageError> {
        layer.index(plain, &Arc::clone(&self.room), &mut |entry, _| {
            self.reporter.again()?;
            let region = plain.part(entry.offset, entry.shape.stored);
            let cut = || entry_error(&layer.name, &entry.path, "it is cut off".into());
            let place = Place::Layer { region: region.ok_or_else(cut)?, shape: entry.shape.clone() };
            Ok(self.contents.add(place))
        })
    }

    /// Reads the layers that are not in `all` yet, from the top down. Returns the number of the first content of each that
    /// was read, by the layer's.
    pub(crate) fn stream(
        &mut self,
        layers: &[Layer],
        all: &mut [Option<Entries>],
    ) -> Result<BTreeMap<usize, usize>, ImageError> {
        let mut first = BTreeMap::new();
        let Some(lowest) = all.iter().position(Option::is_none) else { return Ok(first) };
        let mut hidden = Hidden::default();
        for (number, (layer, place)) in layers.iter().zip(all).enumerate().skip(lowest).rev() {
            let entries = match place.take() {
                Some(entries) => entries,
                None => {
                    first.insert(number, self.contents.len());
                    self.read_layer(layers, number, &mut |builder, entry, input| {
                        if hidden.hides(&entry.path) {
                            let left_out = Place::LeftOut { layer: number, size: entry.shape.size };
                            return Ok(builder.contents.add(left_out));
                        }
                        builder.take(&layer.name, entry, input)
                    })?
                }
            };
            if number > lowest {
                hidden.add(&entries);
            }
            *place = Some(entries);
        }
        Ok(first)
    }

    fn read_layer(
        &mut self,
        layers: &[Layer],
        number: usize,
        take: Take<'_, 'a>,
    ) -> Result<Entries, ImageError> {
        let Some(layer) = layers.get(number) else { return Ok(Entries::default()) };
        let unpacked = layer.start(&self.room, self.reporter)?;
        self.reporter.watch(number + 1, Some(layers.len()), layer.blob.len(), unpacked.read());
        let (entries, digest) = unpacked.entries(&mut |entry, input| take(self, entry, input));
        // Whatever else is wrong may follow from it.
        digest.map_or(Ok(()), |digest| layer.check(digest))?;
        entries
    }

    /// Writes a file's content. Returns its number.
    pub(crate) fn take(
        &mut self,
        layer: &str,
        entry: &Entry,
        input: &mut dyn BufRead,
    ) -> Result<usize, ImageError> {
        let content =
            contents::write(&mut self.writer, &entry.shape, input).map_err(|error| match error {
                CopyError::Read(error) => from_io(layer, error),
                CopyError::Short => {
                    let reason = format!("its {} bytes go beyond the end", entry.shape.stored);
                    entry_error(layer, &entry.path, reason)
                }
                CopyError::Sink(error) => self.disk.error(error),
            })?;
        Ok(self.contents.add(Place::Image(content)))
    }

    /// Gives back what nobody has, and lets no two files have one content. Returns those which are wanted and were left out.
    pub(crate) fn settle(&mut self, tree: &mut Tree) -> Result<HashSet<usize>, ImageError> {
        let mut held = vec![false; self.contents.len()];
        let mut wanted = HashSet::new();
        for id in tree.reachable() {
            let Body::File(number) = tree.node(id).body else { continue };
            if held.get(number).is_some_and(|held| *held) {
                let copy = self.copy(number)?;
                tree.node_mut(id).body = Body::File(copy);
                continue;
            }
            if let Some(held) = held.get_mut(number) {
                *held = true;
            }
            if matches!(self.contents.get(number), Place::LeftOut { .. }) {
                wanted.insert(number);
            }
        }
        for number in (0..held.len()).filter(|number| !held[*number]) {
            if let Place::Image(content) = self.contents.take(number) {
                self.writer.discard(content).map_err(|error| self.disk.error(error))?;
            }
        }
        Ok(wanted)
    }

    /// A second content like one that there is, for a layer that comes twice in an image.
    fn copy(&mut self, number: usize) -> Result<usize, ImageError> {
        let place = match self.contents.take(number) {
            Place::Image(content) => {
                let copied = self.writer.copy(&content);
                self.contents.set(number, Place::Image(content));
                Place::Image(copied.map_err(|error| self.disk.error(error))?)
            }
            Place::Layer { region, shape } => {
                self.contents.set(number, Place::Layer { region: region.clone(), shape: shape.clone() });
                Place::Layer { region, shape }
            }
            other => other,
        };
        Ok(self.contents.add(place))
    }

    /// Reads those layers again that have contents which are wanted and were left out.
    pub(crate) fn restore(
        &mut self,
        layers: &[Layer],
        first: &BTreeMap<usize, usize>,
        wanted: &HashSet<usize>,
    ) -> Result<(), ImageError> {
        let of = |number: &usize| match self.contents.get(*number) {
            Place::LeftOut { layer, .. } => Some(*layer),
            _ => None,
        };
        let again: HashSet<usize> = wanted.iter().filter_map(of).collect();
        for layer in again {
            let Some((first, at)) = first.get(&layer).zip(layers.get(layer)) else { continue };
            log::debug!("{}: once more, for contents that only seemed hidden", at.name);
            self.room = Room::new(self.terms.max_unpacked);
            let mut number = *first;
            self.read_layer(layers, layer, &mut |builder, entry, input| {
                if wanted.contains(&number) {
                    let taken = builder.take(&at.name, entry, input)?;
                    let place = builder.contents.take(taken);
                    builder.contents.set(number, place);
                }
                number += 1;
                Ok(number - 1)
            })?;
        }
        Ok(())
    }

    /// A content of at most `most` bytes.
    pub(crate) fn content(&mut self, number: usize, most: u64) -> Option<Vec<u8>> {
        contents::read(&mut self.writer, self.contents.get(number), most).unwrap_or_default()
    }

    /// Makes the changes that are to be made, and completes the image. `user` is the image's.
    pub(crate) fn finish(mut self, mut tree: Tree, user: Option<&str>) -> Result<Built, ImageError> {
        let fixups = match self.terms.fixups {
            true => fixup::apply(&mut tree, &mut |number| self.content(number, fixup::MAX_PASSWD), user)?,
            false => Vec::new(),
        };
        let summary = ext4::finish(self.writer, &tree, &mut self.contents, &self.disk, self.reporter)?;
        Ok(Built { fixups, checksum: summary.checksum })
    }
}
