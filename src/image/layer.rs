//! One layer: unpacked on threads of its own, its digest computed beside that, its entries read as they come.
//!
//! ```text
//! blob ───► fetch ───► unpack ──┬──► entries, contents     (this thread)
//!          (thread)   (thread)  └──► SHA-256 (thread)
//! ```
//!
//! A plain layer in a file is not sent through there: its headers are read by seeking, its contents later, when it is known
//! which are wanted, and its digest is computed meanwhile.
//!
//! Entries are read before the digest is known, but they are taken for hostile anyway; nothing is kept of an image whose
//! digest turns out wrong.

use std::io::{self, BufRead};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{JoinHandle, Scope, ScopedJoinHandle};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::blob::Blob;
use super::config::ImageId;
use super::error::ImageError;
use super::input::{CHUNK, ChunkReader, Chunks, DEPTH, Input, Pieces, fetch_ahead};
use super::region::{READ_AHEAD, Region};
use super::report::{Awaited, Report};
use super::tarball::{Entry, Headers, Kind, TarError};
use super::tree::{Whiteout, components, whiteout};

/// After an error, so much of a layer is read on for its digest, which might be the better explanation.
const MAX_DRAINED: u64 = 1 << 30;

/// What the entries of an image, which are all held until they are merged, may have of memory: enough for two million.
const MAX_HEADERS: u64 = 768 << 20;
/// What an entry takes beside its names and attributes, and a part of a sparse file, in bytes.
const ENTRY: usize = 256;
const PART: usize = 16;

/// A layer as it lies in the archive.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    /// For messages: "layer 2 of 3 (sha256:…)".
    pub(crate) name: String,
    pub(crate) diff_id: ImageId,
    pub(crate) blob: Blob,
}

/// What a layer brings and takes away, in its order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entries {
    /// The path of each as it stands in the layer, and what it hides beside it.
    pub(crate) whiteouts: Vec<(Vec<u8>, Whiteout)>,
    pub(crate) entries: Vec<Brought>,
}

/// An entry that is no whiteout, and its content, if it is a file.
#[derive(Clone, Debug)]
pub(crate) struct Brought {
    pub(crate) entry: Entry,
    pub(crate) content: Option<usize>,
}

/// Is given each file of a layer, and what is stored of it. Returns the content's number.
pub(crate) type TakeContent<'a> = &'a mut dyn FnMut(&Entry, &mut dyn BufRead) -> Result<usize, ImageError>;

/// How a layer is compressed, by its first bytes: media types are not always right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Zstd,
}

fn compression(start: &[u8]) -> Result<Compression, &'static str> {
    match start {
        [0x1f, 0x8b, ..] => Ok(Compression::Gzip),
        // A zstd frame, or a skippable one before it.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Compression::Zstd),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Err("xz"),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Err("bzip2"),
        _ => Ok(Compression::None),
    }
}

/// So many characters of a path are shown in a message.
const MAX_SHOWN: usize = 400;

/// The beginning of a layer shows how it is compressed.
const MAGIC: usize = 6;

impl Layer {
    /// The layer's own file, if it is plain and lies in one.
    pub(crate) fn plain(&self) -> Result<Option<Region>, ImageError> {
        let Blob::Local(region) = &self.blob else { return Ok(None) };
        let mut start = [0; MAGIC];
        let len = region.read_at(&mut start, 0).map_err(|error| from_io(&self.name, error))?;
        let plain = matches!(compression(&start[..len]), Ok(Compression::None));
        Ok(plain.then(|| region.clone()))
    }

    /// The entries of a plain layer. `take` gets no contents.
    pub(crate) fn index(
        &self,
        plain: &Region,
        room: &Room,
        take: TakeContent<'_>,
    ) -> Result<Entries, ImageError> {
        read_entries(&self.name, &mut Headers::new(plain.reader(READ_AHEAD)), room, take)
    }

    /// Starts to unpack a layer, which may take from `room` what the others leave.
    pub(crate) fn start<'a>(
        &self,
        room: &Arc<Room>,
        reporter: &'a dyn Report,
    ) -> Result<Unpacked<'a>, ImageError> {
        let blob = self.blob.open().map_err(|error| from_io(&self.name, error))?;
        let blob = fetch_ahead(Pieces::of(blob)).map_err(|error| from_io(&self.name, error))?;
        Unpacked::start(self.name.clone(), Box::new(blob), room, reporter)
    }

    /// Starts to compute the digest of a plain layer. `stop` ends it early.
    pub(crate) fn start_hash<'scope>(
        &self,
        plain: &Region,
        stop: &'scope AtomicBool,
        scope: &'scope Scope<'scope, '_>,
    ) -> ScopedJoinHandle<'scope, io::Result<ImageId>> {
        let plain = plain.clone();
        scope.spawn(move || {
            let mut hasher = Sha256::new();
            let mut buffer = vec![0; CHUNK];
            let mut at = 0;
            while !stop.load(Ordering::Relaxed) {
                let n = plain.read_at(&mut buffer, at)?;
                if n == 0 {
                    return Ok(ImageId::from_hasher(hasher));
                }
                hasher.update(&buffer[..n]);
                at += n as u64;
            }
            Err(io::ErrorKind::Interrupted.into())
        })
    }

    /// Waits for the digest of a plain layer and compares it.
    pub(crate) fn check_hash(
        &self,
        hash: ScopedJoinHandle<'_, io::Result<ImageId>>,
    ) -> Result<(), ImageError> {
        let actual = hash
            .join()
            .map_err(|_| fail(&self.name, "hashing it failed"))?
            .map_err(|error| fail(&self.name, format!("can't be read: {error}")))?;
        self.check(actual)
    }

    /// Compares the digest.
    pub(crate) fn check(&self, actual: ImageId) -> Result<(), ImageError> {
        if actual == self.diff_id {
            return Ok(());
        }
        Err(ImageError::WrongDigest {
            what: self.name.clone(),
            expected: self.diff_id.to_string(),
            actual: actual.to_string(),
        })
    }
}

/// What the layers of an image may take.
#[derive(Debug)]
pub(crate) struct Room {
    /// Bytes that the compressed ones may unpack to.
    limit: u64,
    left: AtomicU64,
    /// Bytes of memory that the entries of all may still have.
    headers: AtomicU64,
}

impl Room {
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, left: AtomicU64::new(limit), headers: AtomicU64::new(MAX_HEADERS) })
    }

    /// Has memory for an entry.
    fn hold(&self, layer: &str, entry: &Entry) -> Result<(), ImageError> {
        let xattrs: usize = entry.xattrs.iter().map(|(name, value)| 64 + name.len() + value.len()).sum();
        let bytes = ENTRY + entry.path.len() + entry.link.len() + xattrs + PART * entry.shape.parts();
        let less = |left: u64| left.checked_sub(bytes as u64);
        match self.headers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            Ok(_) => Ok(()),
            Err(_) => {
                Err(fail(layer, format!("the image has more than {} MiB of entries", MAX_HEADERS >> 20)))
            }
        }
    }

    fn take(&self, layer: &str, bytes: usize) -> io::Result<()> {
        let less = |left: u64| left.checked_sub(bytes as u64);
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            Ok(_) => Ok(()),
            Err(_) => {
                Err(io::Error::other(ImageError::TooLarge { layer: layer.to_owned(), limit: self.limit }))
            }
        }
    }
}

/// A layer that is being unpacked.
pub(crate) struct Unpacked<'a> {
    name: String,
    headers: Headers<ChunkReader<Awaited<'a>>>,
    hash: JoinHandle<ImageId>,
    room: Arc<Room>,
    /// Bytes of the blob so far.
    read: Arc<AtomicU64>,
    /// Whether all of it was unpacked, and so went into the digest.
    whole: Arc<AtomicBool>,
}

impl<'a> Unpacked<'a> {
    pub(crate) fn start(
        name: String,
        source: Box<dyn Chunks + Send>,
        room: &Arc<Room>,
        reporter: &'a dyn Report,
    ) -> Result<Self, ImageError> {
        let (to_parser, plain) = sync_channel(DEPTH);
        let (to_hasher, hashed) = sync_channel::<Bytes>(DEPTH);
        let read = Arc::new(AtomicU64::new(0));
        let whole = Arc::new(AtomicBool::new(false));
        let spawned = |error| fail(&name, format!("can't be unpacked on a thread of its own: {error}"));
        let hash = std::thread::Builder::new().spawn(move || hash(&hashed)).map_err(spawned)?;
        let unpacker = {
            let (name, room) = (name.clone(), Arc::clone(room));
            let (read, whole) = (Arc::clone(&read), Arc::clone(&whole));
            move || {
                let source = Counted { chunks: source, read };
                let mut send = |chunk: Bytes| {
                    // Whoever is gone has no use for more.
                    to_hasher.send(chunk.clone()).is_ok() && to_parser.send(Ok(chunk)).is_ok()
                };
                match unpack(source, &name, &room, &mut send) {
                    // Before the hasher sees its end.
                    Ok(to_the_end) => whole.store(to_the_end, Ordering::Release),
                    Err(error) => drop(to_parser.send(Err(error))),
                }
            }
        };
        std::thread::Builder::new().spawn(unpacker).map_err(spawned)?;
        let headers = Headers::new(ChunkReader::new(Awaited::new(plain, reporter)));
        Ok(Self { name, headers, hash, room: Arc::clone(room), read, whole })
    }

    /// Bytes of the blob so far.
    pub(crate) fn read(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.read)
    }

    /// Reads the entries, and then to the end. Returns the digest too, if it got there.
    pub(crate) fn entries(mut self, take: TakeContent<'_>) -> (Result<Entries, ImageError>, Option<ImageId>) {
        let entries = read_entries(&self.name, &mut self.headers, &self.room, take);
        let most = match &entries {
            Ok(_) => u64::MAX,
            Err(ImageError::Stopped) => 0,
            Err(_) => MAX_DRAINED,
        };
        let mut rest = self.headers.into_input();
        let drained = rest.skip(most);
        drop(rest);
        // Who stopped us does not wait for what may still come from afar.
        let digest = if most > 0 { self.hash.join().ok() } else { None };
        let digest = digest.filter(|_| self.whole.load(Ordering::Acquire));
        match (entries, drained) {
            (Ok(_), Err(error)) => (Err(from_io(&self.name, error)), None),
            (entries, _) => (entries, digest),
        }
    }
}

/// Sends on what a blob unpacks to. Returns whether that was all of it; otherwise it is not wanted any more.
fn unpack(
    source: Counted,
    layer: &str,
    room: &Room,
    send: &mut dyn FnMut(Bytes) -> bool,
) -> io::Result<bool> {
    let mut packed = ChunkReader::new(source);
    let unpacked: Box<dyn io::Read + Send> = match compression(packed.peek(MAGIC)?) {
        Ok(Compression::None) => {
            while let Some(chunk) = packed.next()? {
                if !send(chunk) {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        Ok(Compression::Gzip) => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
        Ok(Compression::Zstd) => Box::new(zstd::stream::read::Decoder::with_buffer(packed)?),
        Err(other) => {
            return Err(io::Error::other(format!("compressed with {other}, which is not supported")));
        }
    };
    let mut unpacked = Pieces::of(unpacked);
    loop {
        let chunk = unpacked.next().map_err(|error| match error.get_ref() {
            // Of the source's own, which say what they are.
            Some(inner) if inner.is::<ImageError>() => error,
            _ => io::Error::other(format!("can't be decompressed: {error}")),
        })?;
        let Some(chunk) = chunk else { return Ok(true) };
        room.take(layer, chunk.len())?;
        if !send(chunk) {
            return Ok(false);
        }
    }
}

fn hash(chunks: &Receiver<Bytes>) -> ImageId {
    let mut hasher = Sha256::new();
    while let Ok(chunk) = chunks.recv() {
        hasher.update(&chunk);
    }
    ImageId::from_hasher(hasher)
}

/// Counts the bytes that come through.
struct Counted {
    chunks: Box<dyn Chunks + Send>,
    read: Arc<AtomicU64>,
}

impl Chunks for Counted {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        let chunk = self.chunks.next()?;
        self.read.fetch_add(chunk.as_ref().map_or(0, Bytes::len) as u64, Ordering::Relaxed);
        Ok(chunk)
    }
}

/// Reads a layer's entries, and lets `take` have the content of each file.
fn read_entries<I: Input>(
    layer: &str,
    headers: &mut Headers<I>,
    room: &Room,
    take: TakeContent<'_>,
) -> Result<Entries, ImageError> {
    let mut all = Entries::default();
    while let Some(entry) = headers.next().map_err(|error| from_tar(layer, error))? {
        let refuse = |reason| entry_error(layer, &entry.path, reason);
        room.hold(layer, &entry)?;
        let parts = components(&entry.path).map_err(refuse)?;
        // aufs' records lie in directories of the root that are named so.
        if parts.first().is_some_and(|part| part.starts_with(b".wh..wh.") && *part != b".wh..wh..opq") {
            continue;
        }
        if let Some((name, parents)) = parts.split_last() {
            if parents.iter().any(|part| part.starts_with(b".wh.")) {
                return Err(refuse("in a directory that has the name of a whiteout".into()));
            }
            match whiteout(name).map_err(refuse)? {
                Some(Whiteout::Ignored) => continue,
                Some(hidden) => {
                    all.whiteouts.push((entry.path, hidden));
                    continue;
                }
                None => {}
            }
        }
        super::ext4::check_entry(&entry).map_err(refuse)?;
        let content = match entry.kind {
            Kind::File => Some(take(&entry, &mut headers.content())?),
            _ => None,
        };
        all.entries.push(Brought { entry, content });
    }
    Ok(all)
}

pub(crate) fn fail(layer: &str, reason: impl Into<String>) -> ImageError {
    ImageError::Layer { layer: layer.to_owned(), reason: reason.into() }
}

pub(crate) fn entry_error(layer: &str, path: &[u8], reason: String) -> ImageError {
    let entry = quoted(&String::from_utf8_lossy(path));
    ImageError::Entry { layer: layer.to_owned(), entry, reason }
}

/// A path for a message: nobody reads one of a megabyte.
fn quoted(path: &str) -> String {
    match path.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{:?}…", &path[..end]),
        None => format!("{path:?}"),
    }
}

fn from_tar(layer: &str, error: TarError) -> ImageError {
    match error {
        TarError::Entry { path, reason } => {
            ImageError::Entry { layer: layer.to_owned(), entry: quoted(&path), reason }
        }
        TarError::Io(error) => from_io(layer, error),
        other => fail(layer, other.to_string()),
    }
}

/// What went wrong on another thread may be said already.
pub(crate) fn from_io(layer: &str, error: io::Error) -> ImageError {
    error.downcast::<ImageError>().unwrap_or_else(|error| fail(layer, error.to_string()))
}
