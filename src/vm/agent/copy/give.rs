//! Into the guest, for the bottle's user: what their programs are to find there. Only the guest knows who that is, and where
//! their home lies.

use bottle_protocol::{Base, CopyPart, DATA_LIMIT_BYTES, Entry, EntryKind, Owner, PutRequest};
use bottle_transfer::Walk;

use super::put::send_tree;
use super::{CopyError, CopyOptions};
use crate::vm::agent::Agent;
use crate::vm::clock::unix_ns;

const NS_PER_S: u64 = 1_000_000_000;

/// The mode of directories that are made on the way: they are the user's alone.
const ABOVE: u32 = 0o700;

/// Something that the bottle's user gets.
#[derive(Debug)]
pub(crate) enum Gift<'a> {
    /// A file, with these permissions.
    File { mode: u32, content: &'a [u8] },
    /// A directory of the host's, with what is in it.
    Directory(Box<Walk>),
}

/// Where they get it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Within {
    /// In their home, which is made if there is none.
    Home,
    /// In this directory, which must exist.
    Directory(&'static str),
}

impl Agent {
    /// Gives something to the bottle's user. `path` is relative; the directories above it that are not there yet are made. What is
    /// there already is replaced, or with `keep` left as it is; a directory stays, and gets what is new below it. No link within
    /// `path` is followed.
    ///
    /// # Errors
    /// As for [`Agent::put`].
    pub(crate) fn give(
        &self,
        gift: Gift<'_>,
        within: Within,
        path: &str,
        keep: bool,
    ) -> Result<(), CopyError> {
        let (base, at, must_exist) = match within {
            Within::Home => (Base::Home, "", false),
            Within::Directory(directory) => (Base::WorkingDir, directory, true),
        };
        let at = at.as_bytes().to_vec().into();
        let request = PutRequest { base, path: at, name: None, must_exist, owner: Owner::Default, keep };
        let mut options = CopyOptions::default();
        let mut channel = self.put_channel(request, &options)?;
        // The root of the copy is where it goes; then each directory on the way.
        let above = path.match_indices('/').map(|(end, _)| &path[..end]);
        for directory in [""].into_iter().chain(above) {
            channel.send(CopyPart::Entry(entry(directory, EntryKind::Directory, ABOVE)))?;
        }
        match gift {
            Gift::File { mode, content } => {
                let kind = EntryKind::File { size: content.len() as u64 };
                channel.send(CopyPart::Entry(entry(path, kind, mode)))?;
                for piece in content.chunks(DATA_LIMIT_BYTES) {
                    channel.send(CopyPart::Content(piece.to_vec()))?;
                }
            }
            Gift::Directory(mut walk) => send_tree(&mut channel, &mut walk, path.as_bytes(), &mut options)?,
        }
        channel.finish()?;
        Ok(())
    }
}

/// Whose it becomes is the request's to say.
fn entry(path: &str, kind: EntryKind, mode: u32) -> Entry {
    let mtime = i64::try_from(unix_ns() / NS_PER_S).unwrap_or_default();
    Entry { path: path.as_bytes().to_vec().into(), kind, mode, uid: 0, gid: 0, mtime, mtime_ns: 0 }
}
