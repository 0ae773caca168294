//! One layer: found out how it is compressed, made plain, its digest checked, its entries put into the tree.
//!
//! ```text
//! plain layer ──────────────────────► region of the archive ─┬─► headers ──► tree
//! gzip, zstd ──► unpacked into a file in the work directory ─┘
//!                                     └─► SHA-256 on another thread, compared when all is written
//! ```
//!
//! Headers are read before the digest is known, but they are taken for hostile anyway; nothing is kept of an image
//! whose digest turns out wrong.

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, ScopedJoinHandle};

use sha2::{Digest, Sha256};

use super::config::ImageId;
use super::error::ImageError;
use super::region::Region;
use super::store::stop_if;
use super::tarball::{Headers, TarError};
use super::tree::{Tree, Whiteout, components, whiteout};

/// What a layer may unpack to. It stops an archive that unpacks endlessly, long after any honest layer has ended.
const MAX_UNPACKED: u64 = 256 << 30;

/// How much is decompressed or hashed between two looks at the outside.
const CHUNK: usize = 256 << 10;

/// A layer as it lies in the archive.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    /// For messages: "layer 2 of 3 (sha256:…)".
    pub(crate) name: String,
    pub(crate) diff_id: ImageId,
    pub(crate) blob: Region,
}

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

impl Layer {
    fn fail(&self, reason: impl Into<String>) -> ImageError {
        ImageError::Layer { layer: self.name.clone(), reason: reason.into() }
    }

    fn entry_error(&self, path: &[u8], reason: String) -> ImageError {
        ImageError::Entry {
            layer: self.name.clone(),
            entry: format!("{:?}", String::from_utf8_lossy(path)),
            reason,
        }
    }

    fn tar_error(&self, error: TarError) -> ImageError {
        match error {
            TarError::Entry { path, reason } => {
                ImageError::Entry { layer: self.name.clone(), entry: format!("{path:?}"), reason }
            }
            other => self.fail(other.to_string()),
        }
    }

    /// The layer as a plain tar file. A compressed one is unpacked into a file in `work_dir` that has no name, and so
    /// can't be left behind. `progress` is told the number of bytes unpacked, and may stop it.
    pub(crate) fn plain(
        &self,
        work_dir: &Path,
        cache_dir: &Path,
        progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Region, ImageError> {
        let mut start = [0; 6];
        let n = self.blob.read_at(&mut start, 0).map_err(|error| self.fail(error.to_string()))?;
        let packed = self.blob.reader(CHUNK);
        let unpacked: Box<dyn Read> = match compression(&start[..n]) {
            Ok(Compression::None) => return Ok(self.blob.clone()),
            Ok(Compression::Gzip) => {
                Box::new(flate2::bufread::MultiGzDecoder::new(io::BufReader::new(packed)))
            }
            Ok(Compression::Zstd) => Box::new(
                zstd::stream::read::Decoder::new(packed).map_err(|error| self.fail(error.to_string()))?,
            ),
            Err(other) => return Err(self.fail(format!("compressed with {other}, which is not supported"))),
        };
        let io_error = |source| ImageError::io("unpack into", work_dir, cache_dir, source);
        let mut file = tempfile::tempfile_in(work_dir).map_err(io_error)?;
        self.unpack(unpacked, &mut file, io_error, progress)?;
        Region::whole(file).map_err(io_error)
    }

    fn unpack(
        &self,
        mut from: Box<dyn Read>,
        to: &mut File,
        io_error: impl Fn(io::Error) -> ImageError,
        progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<(), ImageError> {
        let mut buffer = vec![0; CHUNK];
        let mut total = 0;
        loop {
            let n = match from.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.fail(format!("can't be decompressed: {error}"))),
            };
            total += n as u64;
            if total > MAX_UNPACKED {
                return Err(self.fail(format!("unpacks to more than {} GiB", MAX_UNPACKED >> 30)));
            }
            to.write_all(&buffer[..n]).map_err(&io_error)?;
            stop_if(progress(total))?;
        }
    }

    /// Puts the entries of the layer, number `number` from the bottom, into `tree`.
    pub(crate) fn apply(&self, plain: &Region, number: usize, tree: &mut Tree) -> Result<(), ImageError> {
        let mut entries = Vec::new();
        let mut headers = Headers::new(plain.clone());
        while let Some(entry) = headers.next().map_err(|error| self.tar_error(error))? {
            let refuse = |reason| self.entry_error(&entry.path, reason);
            let parts = components(&entry.path).map_err(refuse)?;
            // aufs' records lie in directories of the root that are named so.
            if parts.first().is_some_and(|part| part.starts_with(b".wh..wh.") && *part != b".wh..wh..opq") {
                continue;
            }
            let Some((name, parents)) = parts.split_last() else {
                entries.push(entry);
                continue;
            };
            if parents.iter().any(|part| part.starts_with(b".wh.")) {
                return Err(refuse("in a directory that has the name of a whiteout".into()));
            }
            match whiteout(name).map_err(refuse)? {
                Some(Whiteout::Ignored) => {}
                Some(hidden) => tree.hide(parents, &hidden).map_err(refuse)?,
                None => entries.push(entry),
            }
        }
        for entry in entries {
            let refuse = |reason| self.entry_error(&entry.path, reason);
            super::ext4::check_entry(&entry).map_err(refuse)?;
            let parts = components(&entry.path).map_err(refuse)?;
            tree.put(number, &entry, &parts).map_err(refuse)?;
        }
        Ok(())
    }

    /// Starts to compute the digest of the unpacked layer. `stop` ends it early.
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

    /// Waits for the digest and compares it.
    pub(crate) fn check_hash(
        &self,
        hash: ScopedJoinHandle<'_, io::Result<ImageId>>,
    ) -> Result<(), ImageError> {
        let actual = hash
            .join()
            .map_err(|_| self.fail("hashing it failed"))?
            .map_err(|error| self.fail(format!("can't be read: {error}")))?;
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
