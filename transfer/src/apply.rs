//! Puts entries where they belong. What comes may be from a guest, and a guest may be hostile.
//!
//! - A file is under a temporary name, or none, until its last byte came; then it takes its place, and that of a file
//!   or link which was there. A directory is never replaced, nor does one take another thing's place.
//! - A directory that exists stays as it is. One that is made gets its mode and time when the copy has left it.
//! - Every path is taken apart and checked, and followed through directories only, never through a link.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use bottle_protocol::{Copied, Entry, EntryKind};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, chmodat, chownat, fchmod, fchown,
    futimens, linkat, mkdirat, statat, symlinkat, utimensat,
};
use rustix::io::Errno;

use crate::path::{self, split};
use crate::pending::{Pending, replace};
use crate::place::Place;
use crate::sys::{self, Special};
use crate::tree::{Tree, open_directory};
use crate::{Destination, TransferError};

/// Whose the files will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// Those of this process.
    Own,
    /// All the same one's.
    Fixed {
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// As the entries say.
    AsSent,
}

/// What may be made.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    owners: Owners,
    /// Pipes and devices too.
    special: bool,
    mode_mask: u32,
    /// After a power cut, a file is to be there as a whole or not at all.
    ordered: bool,
    /// Files and links that are there already stay as they are.
    keep: bool,
}

impl Rules {
    /// For files that come out of a guest. No pipes and devices, and no program that gives its rights to who runs it:
    /// where `bottle` is root, these would be ways out of the guest.
    pub fn host() -> Self {
        Self { owners: Owners::Own, special: false, mode_mask: 0o777, ordered: false, keep: false }
    }

    /// For files that go into one, whose VMM may be killed at any time.
    pub fn guest(owners: Owners) -> Self {
        Self { owners, special: true, mode_mask: 0o7777, ordered: true, keep: false }
    }

    /// The same, with `keep` for files and links that are there already: they stay as they are.
    #[must_use]
    pub fn keeping(self, keep: bool) -> Self {
        Self { keep, ..self }
    }
}

/// See the module. Dropping it before the end removes the file that is not complete, and leaves the others.
#[derive(Debug)]
pub struct Apply {
    destination: Destination,
    rules: Rules,
    root: RootState,
    /// Directories that were made and are not finished, each one below the one before.
    unfinished: Vec<Entry>,
    incoming: Option<Incoming>,
    copied: Copied,
}

#[derive(Debug)]
enum RootState {
    NotSeen,
    /// A directory, below which the others go, and where that is, for errors.
    Tree(Tree),
    /// Anything else, so that nothing can follow.
    Single,
}

/// A file whose content is not there in full.
#[derive(Debug)]
struct Incoming {
    pending: Pending,
    entry: Entry,
    name: Vec<u8>,
    left: u64,
    /// Its place is taken, by what is to stay: it only comes to its end.
    unwanted: bool,
}

impl Apply {
    /// Nothing is touched before the first entry comes.
    pub fn new(destination: Destination, rules: Rules) -> Self {
        Self {
            destination,
            rules,
            root: RootState::NotSeen,
            unfinished: Vec::new(),
            incoming: None,
            copied: Copied::default(),
        }
    }

    /// So far.
    pub fn copied(&self) -> Copied {
        self.copied
    }

    /// Takes the next entry. Without content, it is in its place when this returns.
    ///
    /// # Errors
    /// When it can't be put there, or makes no sense. The copy is over then.
    pub fn entry(&mut self, entry: Entry) -> Result<(), TransferError> {
        if self.incoming.is_some() {
            return Err(TransferError::OutOfOrder(
                "a file ended before it had as many bytes as it was to have",
            ));
        }
        path::check(&entry.path)?;
        if entry.mtime_ns >= 1_000_000_000 {
            return Err(TransferError::OutOfOrder("a second has a billion nanoseconds"));
        }
        // To the system, these numbers say to leave the owner as it is.
        if self.rules.owners == Owners::AsSent && (entry.uid == u32::MAX || entry.gid == u32::MAX) {
            return Err(TransferError::OutOfOrder("there is no owner or group 4294967295"));
        }
        self.finish_directories(Some(&entry.path))?;
        match (&mut self.root, entry.path.is_empty()) {
            (RootState::NotSeen, true) => self.root(entry)?,
            (RootState::Tree(_), false) => {
                let (directory, name) = split(&entry.path);
                let (directory, name) = (self.directory(directory, &entry)?, name.to_vec());
                self.put(directory, name, entry)?;
            }
            (RootState::NotSeen, false) => {
                return Err(TransferError::OutOfOrder("it does not begin at its root"));
            }
            (RootState::Tree(_), true) => return Err(TransferError::OutOfOrder("it has two roots")),
            (RootState::Single, _) => return Err(TransferError::OutOfOrder("something is below a file")),
        }
        self.copied.entries += 1;
        Ok(())
    }

    /// Takes the next bytes of the file that came last. It is in its place when the last one has come.
    ///
    /// # Errors
    /// When they can't be written, or are more than the file was to have. The copy is over then.
    pub fn content(&mut self, data: &[u8]) -> Result<(), TransferError> {
        let Some(incoming) = &mut self.incoming else {
            return Err(TransferError::OutOfOrder("more content than a file was to have"));
        };
        let count = data.len() as u64;
        incoming.left = incoming
            .left
            .checked_sub(count)
            .ok_or(TransferError::OutOfOrder("more content than a file was to have"))?;
        let written = incoming.pending.file.write_all(data);
        written.map_err(TransferError::io("write", &incoming.name))?;
        self.copied.bytes = self.copied.bytes.saturating_add(count);
        if incoming.left == 0 { self.publish() } else { Ok(()) }
    }

    /// All came.
    ///
    /// # Errors
    /// When that can't be all.
    pub fn finish(mut self) -> Result<Copied, TransferError> {
        if self.incoming.is_some() {
            return Err(TransferError::OutOfOrder("it ended in the middle of a file"));
        }
        if matches!(self.root, RootState::NotSeen) {
            return Err(TransferError::OutOfOrder("it has nothing in it"));
        }
        self.finish_directories(None)?;
        Ok(self.copied)
    }

    fn root(&mut self, entry: Entry) -> Result<(), TransferError> {
        let is_directory = entry.kind == EntryKind::Directory;
        match self.destination.resolve(is_directory)? {
            Place::At(directory) => self.root = RootState::Tree(Tree::new(directory)),
            Place::In(parent, name) if is_directory => {
                let made = self.make_directory(&parent, &name, &entry, &name)?;
                self.root = RootState::Tree(Tree::new(open_directory(&parent, &name, &name)?));
                if made {
                    self.unfinished.push(entry);
                }
            }
            Place::In(parent, name) => {
                self.root = RootState::Single;
                self.put(Arc::new(parent), name, entry)?;
            }
        }
        Ok(())
    }

    /// A directory below the root; made, with what is above it, if the copy has left it out, as tar files may.
    fn directory(&mut self, path: &[u8], entry: &Entry) -> Result<Arc<OwnedFd>, TransferError> {
        match self.tree()?.directory(path) {
            Err(error) if error.is_missing() => {}
            found => return found,
        }
        let ends = (0..=path.len()).filter(|end| path.get(*end).is_none_or(|byte| *byte == b'/'));
        for end in ends {
            let here = &path[..end];
            let (above, name) = split(here);
            let above = self.tree()?.directory(above)?;
            if self.make_directory(&above, name, entry, here)? {
                let made = self.tree()?.directory(here)?;
                fchmod(&*made, Mode::from_raw_mode(0o755))
                    .map_err(TransferError::io("set the mode of", here))?;
            }
        }
        self.tree()?.directory(path)
    }

    fn tree(&mut self) -> Result<&mut Tree, TransferError> {
        match &mut self.root {
            RootState::Tree(tree) => Ok(tree),
            _ => Err(TransferError::OutOfOrder("something is below a file")),
        }
    }

    fn put(&mut self, directory: Arc<OwnedFd>, name: Vec<u8>, entry: Entry) -> Result<(), TransferError> {
        let shown = if entry.path.is_empty() { name.clone() } else { entry.path.to_vec() };
        let comes = described(&entry.kind);
        if entry.kind == EntryKind::Directory {
            if self.make_directory(&directory, &name, &entry, &shown)? {
                self.unfinished.push(entry);
            }
            return Ok(());
        }
        let unwanted = match statat(&*directory, &name[..], AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                return Err(TransferError::in_the_way(&shown, "a directory", comes));
            }
            Ok(_) => self.rules.keep,
            Err(Errno::NOENT) => false,
            Err(error) => return Err(TransferError::io("look at", &shown)(error)),
        };
        let failed = || TransferError::io("make", &shown);
        let special = match &entry.kind {
            EntryKind::File { size } => {
                let pending = Pending::create(directory).map_err(failed())?;
                let left = *size;
                self.incoming = Some(Incoming { pending, entry, name, left, unwanted });
                return if left == 0 { self.publish() } else { Ok(()) };
            }
            _ if unwanted => return Ok(()),
            EntryKind::HardLink { target } => {
                return self.hard_link(&directory, &name, target, &shown);
            }
            EntryKind::Symlink { target } => {
                let target = OsStr::from_bytes(target);
                let make = |at: &str| Ok(symlinkat(target, &*directory, at)?);
                return replace(&directory, &name, make, |at| self.finish_at(&directory, at, &entry, false))
                    .map_err(failed());
            }
            EntryKind::Socket => {
                self.copied.sockets += 1;
                return Ok(());
            }
            EntryKind::Fifo => Special::Fifo,
            EntryKind::Character { major, minor } => Special::Character(*major, *minor),
            EntryKind::Block { major, minor } => Special::Block(*major, *minor),
            EntryKind::Directory => return Ok(()),
        };
        if !self.rules.special {
            return Err(TransferError::NotHere { path: path::printable(&shown), what: comes });
        }
        let make = |at: &str| sys::make_special(&directory, at, special);
        replace(&directory, &name, make, |at| self.finish_at(&directory, at, &entry, true)).map_err(failed())
    }

    fn hard_link(
        &mut self,
        directory: &OwnedFd,
        name: &[u8],
        target: &[u8],
        shown: &[u8],
    ) -> Result<(), TransferError> {
        path::check(target)?;
        let (above, target_name) = split(target);
        if target_name.is_empty() {
            return Err(TransferError::bad_path(shown, "it is a link to the root"));
        }
        let from = self.tree()?.directory(above)?;
        let stat = statat(&*from, target_name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(TransferError::io("link to", target))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(TransferError::bad_path(shown, "it is a link to something that is no file"));
        }
        let make = |at: &str| Ok(linkat(&*from, target_name, directory, at, AtFlags::empty())?);
        replace(directory, name, make, |_| Ok(())).map_err(TransferError::io("make", shown))
    }

    /// Makes a directory; false if there is one.
    fn make_directory(
        &self,
        at: &OwnedFd,
        name: &[u8],
        entry: &Entry,
        shown: &[u8],
    ) -> Result<bool, TransferError> {
        // For its owner alone until it is finished.
        match mkdirat(at, name, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let stat = statat(at, name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(TransferError::io("look at", shown))?;
                let there = match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Directory => return Ok(false),
                    FileType::Symlink => "a symbolic link",
                    _ => "a file",
                };
                return Err(TransferError::in_the_way(shown, there, "a directory"));
            }
            Err(error) => return Err(TransferError::io("make", shown)(error)),
        }
        if let Some((uid, gid)) = self.owner(entry) {
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            chownat(at, name, Some(uid), Some(gid), flags)
                .map_err(TransferError::io("set the owner of", shown))?;
        }
        Ok(true)
    }

    /// Gives directories their mode and time, those that `next` is not below, or all.
    fn finish_directories(&mut self, next: Option<&[u8]>) -> Result<(), TransferError> {
        while let Some(last) = self.unfinished.last() {
            if next.is_some_and(|next| !next.is_empty() && path::below(next, &last.path).is_some()) {
                break;
            }
            let Some(entry) = self.unfinished.pop() else { break };
            let mode = self.mode(&entry);
            let directory = self.tree()?.directory(&entry.path)?;
            fchmod(&*directory, mode)
                .and_then(|()| futimens(&*directory, &times(&entry)))
                .map_err(TransferError::io("set mode and time of", &entry.path))?;
        }
        Ok(())
    }

    /// The file that is under way is complete.
    fn publish(&mut self) -> Result<(), TransferError> {
        let Some(Incoming { pending, entry, name, unwanted, .. }) = self.incoming.take() else {
            return Ok(());
        };
        if unwanted {
            return Ok(());
        }
        let file = &pending.file;
        let set = || {
            if let Some((uid, gid)) = self.owner(&entry) {
                fchown(file, Some(uid), Some(gid))?;
            }
            // Behind the owner, whose change takes setuid away.
            fchmod(file, self.mode(&entry))?;
            futimens(file, &times(&entry))
        };
        set().map_err(TransferError::io("set owner, mode and time of", &name))?;
        if self.rules.ordered {
            sys::begin_writing(file);
        }
        pending.publish(&name).map_err(TransferError::io("make", &name))
    }

    /// Owner, mode and time of something that has no content.
    fn finish_at(&self, at: &OwnedFd, name: &str, entry: &Entry, has_mode: bool) -> io::Result<()> {
        if let Some((uid, gid)) = self.owner(entry) {
            chownat(at, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if has_mode {
            chmodat(at, name, self.mode(entry), AtFlags::empty())?;
        }
        Ok(utimensat(at, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn owner(&self, entry: &Entry) -> Option<(Uid, Gid)> {
        let (uid, gid) = match self.rules.owners {
            Owners::Own => return None,
            Owners::Fixed { uid, gid } => (uid, gid),
            Owners::AsSent => (entry.uid, entry.gid),
        };
        Some((Uid::from_raw(uid), Gid::from_raw(gid)))
    }

    fn mode(&self, entry: &Entry) -> Mode {
        let mode = entry.mode & self.rules.mode_mask;
        Mode::from_raw_mode(rustix::fs::RawMode::try_from(mode).unwrap_or(0o600))
    }
}

fn times(entry: &Entry) -> Timestamps {
    let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let tv_nsec = entry.mtime_ns.into();
    Timestamps { last_access: omit, last_modification: Timespec { tv_sec: entry.mtime, tv_nsec } }
}

fn described(kind: &EntryKind) -> &'static str {
    match kind {
        EntryKind::File { .. } => "a file",
        EntryKind::Directory => "a directory",
        EntryKind::Symlink { .. } => "a symbolic link",
        EntryKind::HardLink { .. } => "a hard link",
        EntryKind::Fifo => "a named pipe",
        EntryKind::Socket => "a socket",
        EntryKind::Character { .. } | EntryKind::Block { .. } => "a device",
    }
}
