//! Into the guest: a tar stream of the working tree and its repository, and a first commit of all of it there.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

use rustix::fs::{Mode, OFlags};

use super::base::Base;
use super::find::{self, Repository};
use super::{WorktreeError, config, guest};
use crate::plan::WORKSPACE;
use crate::vm::agent::{Agent, CopyOptions};

/// Of a repository, what is only of use here: other working trees, repositories within, what is just being written, and the
/// configuration, of which the guest gets a part.
const LEFT_OUT: [&str; 5] = ["config", "config.worktree", "modules", "worktrees", "gc.pid"];

/// Of a linked working tree, what is its own and not its repository's.
const OWN: [&str; 3] = ["HEAD", "index", "logs/HEAD"];

/// Puts the working tree into the guest, as this user's, and keeps in the bottle's directory what it was. The directories of it that are
/// `made` already become the user's as well.
pub(crate) fn put(
    agent: &Agent,
    top: &Path,
    user: &str,
    made: &[&Path],
    bottle: &Path,
) -> Result<(), WorktreeError> {
    let repository = Repository::of(top)?;
    let head = find::head(top)?;
    let files = find::files(top)?;
    let settings = config::for_guest(&find::settings(&repository)?);
    let (reader, writer) = io::pipe().map_err(WorktreeError::Thread)?;
    let owner = if user.is_empty() { "0" } else { user };
    let options = CopyOptions { owner: Some(owner.to_owned()), ..CopyOptions::default() };
    thread::scope(|scope| {
        let sending = thread::Builder::new().name("worktree".to_owned()).spawn_scoped(scope, || {
            let mut tree = Tree { tar: tar::Builder::new(io::BufWriter::new(writer)), made: BTreeSet::new() };
            tree.tar.sparse(false);
            let sent = tree.all(top, &files, &repository, &settings);
            // Without an end, the stream is not taken for a whole one.
            sent.and_then(|()| {
                let end = tree.tar.into_inner().and_then(|mut writer| writer.flush());
                end.map_err(WorktreeError::file("write", "the tar stream"))
            })
        });
        let sending = sending.map_err(WorktreeError::Thread)?;
        let put = agent.put_tar(reader, "/", options);
        let sent = match sending.join() {
            Ok(sent) => sent,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        match (put, sent) {
            // Who reads has gone, and knows why.
            (Err(error), Ok(()) | Err(WorktreeError::File { action: "write", .. })) => {
                Err(WorktreeError::Copy(Box::new(error)))
            }
            (_, sent) => sent,
        }
    })?;
    guest::give_to(agent, owner, made)?;
    let all = guest::snapshot(agent, &[])?;
    Base { top: top.to_owned(), head, all, pulled: None }.write(bottle)
}

/// The stream, and the directories that it has already.
struct Tree<W: Write> {
    tar: tar::Builder<W>,
    made: BTreeSet<PathBuf>,
}

impl<W: Write> Tree<W> {
    fn all(
        &mut self,
        top: &Path,
        files: &BTreeSet<PathBuf>,
        repository: &Repository,
        settings: &str,
    ) -> Result<(), WorktreeError> {
        let workspace = Path::new(WORKSPACE.trim_start_matches('/'));
        self.directory(top, workspace)?;
        for path in files {
            let from = top.join(path);
            // A tracked file may be gone, a directory stand in its place.
            let Some(meta) = metadata(&from)? else { continue };
            if meta.is_dir() {
                log::warn!("{} is a repository of its own, and was left out", from.display());
                continue;
            }
            if !self.directories_above(top, workspace, path)? {
                continue;
            }
            self.file(&from, &workspace.join(path), &meta)?;
        }
        let git = workspace.join(".git");
        self.directory(&repository.common, &git)?;
        self.below(&repository.common, &git, &|path| is_left_out(path, repository))?;
        if repository.own != repository.common {
            for name in OWN {
                if let Some(meta) = metadata(&repository.own.join(name))? {
                    self.file(&repository.own.join(name), &git.join(name), &meta)?;
                }
            }
        }
        let mut header = header(tar::EntryType::Regular, 0o644, 0);
        header.set_size(settings.len() as u64);
        let appended = self.tar.append_data(&mut header, git.join("config"), settings.as_bytes());
        appended.map_err(WorktreeError::file("write", "the tar stream"))
    }

    /// The directories that a file is in; not all are there if one of them is a link, which leads out of the tree.
    fn directories_above(&mut self, top: &Path, to: &Path, file: &Path) -> Result<bool, WorktreeError> {
        let (mut here, mut there) = (top.to_owned(), to.to_owned());
        for part in file.parent().into_iter().flat_map(Path::components) {
            here.push(part);
            there.push(part);
            if metadata(&here)?.is_none_or(|meta| !meta.is_dir()) {
                return Ok(false);
            }
            self.directory(&here, &there)?;
        }
        Ok(true)
    }

    /// All that is below a directory of the repository.
    fn below(
        &mut self,
        from: &Path,
        to: &Path,
        left_out: &dyn Fn(&Path) -> bool,
    ) -> Result<(), WorktreeError> {
        let failed = || WorktreeError::file("read", from);
        let mut entries: Vec<_> = fs::read_dir(from).and_then(Iterator::collect).map_err(failed())?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (path, to) = (entry.path(), to.join(entry.file_name()));
            // git works on while this is read: what it has just taken away is not there.
            let Some(meta) = metadata(&path)? else { continue };
            if left_out(&path) {
                continue;
            }
            if meta.is_dir() {
                self.directory(&path, &to)?;
                self.below(&path, &to, left_out)?;
            } else {
                self.file(&path, &to, &meta)?;
            }
        }
        Ok(())
    }

    fn directory(&mut self, from: &Path, to: &Path) -> Result<(), WorktreeError> {
        if !self.made.insert(to.to_owned()) {
            return Ok(());
        }
        let Some(meta) = metadata(from)? else { return Ok(()) };
        let mut header = header(tar::EntryType::Directory, meta.mode() & 0o777, meta.mtime());
        let appended = self.tar.append_data(&mut header, to, io::empty());
        appended.map_err(WorktreeError::file("write", "the tar stream"))
    }

    fn file(&mut self, from: &Path, to: &Path, meta: &fs::Metadata) -> Result<(), WorktreeError> {
        let failed = WorktreeError::file("write", "the tar stream");
        if meta.is_symlink() {
            let target = match fs::read_link(from) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                target => target.map_err(WorktreeError::file("read", from))?,
            };
            let mut header = header(tar::EntryType::Symlink, 0o777, meta.mtime());
            return self.tar.append_link(&mut header, to, target).map_err(failed);
        }
        // Sockets, such as that of a daemon that watches files.
        if !meta.is_file() {
            return Ok(());
        }
        // A link that has just come in its place is not followed.
        let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::open(from, flags, Mode::empty()).map_err(io::Error::from).map(File::from)
        {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file.map_err(WorktreeError::file("read", from))?,
        };
        // Its size now, and not a byte more, since it may grow.
        let size = file.metadata().map_err(WorktreeError::file("read", from))?.len();
        let mut header = header(tar::EntryType::Regular, meta.mode() & 0o777, meta.mtime());
        header.set_size(size);
        let content = io::Read::take(file, size);
        self.tar.append_data(&mut header, to, Exactly { content, left: size }).map_err(failed)
    }
}

/// A file's content in full: one that got shorter meanwhile is filled up, so that the stream stays right.
struct Exactly {
    content: io::Take<File>,
    left: u64,
}

impl io::Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match self.content.read(buffer)? {
            0 => {
                let count = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                buffer[..count].fill(0);
                count
            }
            count => count,
        };
        self.left -= count as u64;
        Ok(count)
    }
}

fn header(kind: tar::EntryType, mode: u32, mtime: i64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header.set_mtime(u64::try_from(mtime).unwrap_or_default());
    header
}

fn is_left_out(path: &Path, repository: &Repository) -> bool {
    let name = path.file_name().unwrap_or_default();
    let is_top = path.parent() == Some(&repository.common);
    let is_lock = path.extension().is_some_and(|extension| extension == "lock");
    let is_own =
        repository.own != repository.common && OWN.iter().any(|own| path == repository.common.join(own));
    is_lock || is_own || is_top && LEFT_OUT.iter().any(|left_out| name == *left_out)
}

/// Nothing if it is not there.
fn metadata(path: &Path) -> Result<Option<fs::Metadata>, WorktreeError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(None),
        meta => meta.map(Some).map_err(WorktreeError::file("read", path)),
    }
}
