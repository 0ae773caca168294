//! A tar stream into the guest, read by the reader that images are read with: front to back, and nothing of it believed.

use std::io::Read;

use bottle_protocol::{Copied, CopyPart, DATA_LIMIT_BYTES, Entry, EntryKind};
use bottle_transfer::printable;

use super::channel::Channel;
use super::{CopyError, CopyOptions};
use crate::image::input::{ChunkReader, Pieces};
use crate::image::sparse::{self, Sink};
use crate::image::tarball::{self, Headers, Kind};
use crate::vm::agent::AgentError;

static ZEROS: [u8; DATA_LIMIT_BYTES] = [0; DATA_LIMIT_BYTES];

/// Sends all of the stream, below a root that is there.
pub(super) fn send(
    channel: &mut Channel,
    tar: impl Read,
    options: &mut CopyOptions<'_>,
) -> Result<Copied, CopyError> {
    let mut headers = Headers::new(ChunkReader::new(Pieces::of(tar)));
    let root = Entry {
        path: Vec::new().into(),
        kind: EntryKind::Directory,
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: 0,
        mtime_ns: 0,
    };
    channel.send(CopyPart::Entry(root))?;
    let mut so_far = Copied::default();
    while let Some(header) = headers.next()? {
        let Some(entry) = entry(&header)? else { continue };
        channel.send(CopyPart::Entry(entry))?;
        so_far.entries += 1;
        if header.kind == Kind::File {
            let mut content = Sender { channel: &mut *channel, so_far: &mut so_far, options: &mut *options };
            header.shape.copy(&mut headers.content(), &mut content).map_err(|error| match error {
                sparse::CopyError::Read(error) => CopyError::Tar(error.to_string()),
                sparse::CopyError::Short => {
                    CopyError::Tar(format!("it ends inside {}", printable(&header.path)))
                }
                sparse::CopyError::Sink(error) => error.into(),
            })?;
        }
    }
    Ok(channel.finish()?)
}

/// The entry as the guest takes it; none for the directory that all others are in.
fn entry(header: &tarball::Entry) -> Result<Option<Entry>, CopyError> {
    let path = plain(&header.path)?;
    if path.is_empty() {
        return Ok(None);
    }
    let kind = match header.kind {
        Kind::File => EntryKind::File { size: header.shape.size },
        Kind::Dir => EntryKind::Directory,
        Kind::Symlink => EntryKind::Symlink { target: header.link.clone().into() },
        Kind::HardLink => EntryKind::HardLink { target: plain(&header.link)?.into() },
        Kind::Char { major, minor } => EntryKind::Character { major, minor },
        Kind::Block { major, minor } => EntryKind::Block { major, minor },
        Kind::Fifo => EntryKind::Fifo,
    };
    let (mtime, mtime_ns) = header.mtime;
    Ok(Some(Entry {
        path: path.into(),
        kind,
        mode: u32::from(header.mode),
        uid: header.uid,
        gid: header.gid,
        mtime,
        mtime_ns,
    }))
}

/// A path as it is below the root: tar writes `./a`, `/a` and `a/` as well. One that leads out of it is refused.
fn plain(path: &[u8]) -> Result<Vec<u8>, CopyError> {
    let names: Vec<&[u8]> =
        path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")).collect();
    if names.contains(&&b".."[..]) {
        return Err(CopyError::Tar(format!(
            "refused `{}`: its path leaves the destination",
            printable(path)
        )));
    }
    Ok(names.join(&b'/'))
}

/// Sends a file's content in pieces that fit a frame.
struct Sender<'a, 'b> {
    channel: &'a mut Channel,
    so_far: &'a mut Copied,
    options: &'a mut CopyOptions<'b>,
}

impl Sink for Sender<'_, '_> {
    type Error = AgentError;

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), AgentError> {
        for piece in bytes.chunks(DATA_LIMIT_BYTES) {
            self.channel.send(CopyPart::Content(piece.to_vec()))?;
            self.so_far.bytes += piece.len() as u64;
            self.options.report(*self.so_far);
        }
        Ok(())
    }

    fn zeros(&mut self, mut count: u64) -> Result<(), AgentError> {
        while count > 0 {
            let now = usize::try_from(count).unwrap_or(usize::MAX).min(ZEROS.len());
            self.bytes(&ZEROS[..now])?;
            count -= now as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_below_the_root_or_not_at_all() {
        for (path, below) in
            [("./a/b", "a/b"), ("/a", "a"), ("a/", "a"), ("./", ""), ("a//./b", "a/b"), ("..a", "..a")]
        {
            assert_eq!(plain(path.as_bytes()).unwrap(), below.as_bytes(), "{path}");
        }
        for path in ["..", "../a", "a/../..", "/..", "a/.."] {
            assert!(plain(path.as_bytes()).is_err(), "{path}");
        }
    }
}
