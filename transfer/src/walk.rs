//! Reads a tree: an entry, its content, the next entry. A directory comes before what is in it, names in their order.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bottle_protocol::{Entry, EntryKind};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, major, minor, openat, readlinkat, statat,
};
use rustix::io::Errno;

use crate::path::{self, join};
use crate::tree::Tree;
use crate::{TransferError, sys};

/// Files up to this are read before their size is told: those that the kernel makes up have a size only then.
const SMALL_BYTES: usize = 64 * 1024;

/// See the module.
#[derive(Debug)]
pub struct Walk {
    /// The source as it was named, for errors.
    source: Vec<u8>,
    /// What the root is, until it was given out.
    root: Option<Root>,
    tree: Option<Tree>,
    /// The names that are still to be read, in each directory on the way down; the next one is the last.
    levels: Vec<Level>,
    /// Files with several names, by device and inode.
    names: HashMap<(u64, u64), Vec<u8>>,
    device: u64,
    content: Option<Content>,
}

#[derive(Debug)]
struct Root {
    stat: Stat,
    what: Opened,
}

#[derive(Debug)]
enum Opened {
    File(File),
    Directory(OwnedFd),
    Link(Vec<u8>),
    Other,
}

#[derive(Debug)]
struct Level {
    path: Vec<u8>,
    names: Vec<Vec<u8>>,
}

/// What is left of the file that came last.
#[derive(Debug)]
struct Content {
    path: Vec<u8>,
    /// The first bytes, read already, and how many of them were given out.
    read: Vec<u8>,
    given: usize,
    file: File,
    /// In the file, behind those.
    left: u64,
}

impl Walk {
    /// Opens the source. If it is a symbolic link, `follow` says whether it is copied itself or what it leads to.
    ///
    /// # Errors
    /// When it is not there, or may not be read.
    pub fn open(source: &Path, follow: bool) -> Result<Self, TransferError> {
        let bytes = source.as_os_str().as_bytes();
        let flags = if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
        let stat = statat(CWD, source, flags).map_err(TransferError::io("read", bytes))?;
        let (stat, what) = open_as(CWD, source.as_os_str().as_bytes(), &stat, follow, bytes)?;
        Ok(Self::new(bytes, stat, what))
    }

    fn new(source: &[u8], stat: Stat, what: Opened) -> Self {
        Self {
            source: source.to_vec(),
            device: device_of(&stat),
            root: Some(Root { stat, what }),
            tree: None,
            levels: Vec::new(),
            names: HashMap::new(),
            content: None,
        }
    }

    /// Opens a directory by its real path. A link that has come to be in that path since it was resolved is not followed.
    ///
    /// # Errors
    /// When it is no directory, may not be read, or is not reached without a link.
    pub fn open_real(source: &Path) -> Result<Self, TransferError> {
        let bytes = source.as_os_str().as_bytes();
        let bad = |why| TransferError::bad_path(bytes, why);
        path::check(bytes.strip_prefix(b"/").ok_or_else(|| bad("its path is not absolute"))?)?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = |at: &OwnedFd, name: &[u8], access| {
            openat(at, name, flags | access, Mode::empty()).map_err(|error| match error {
                Errno::NOTDIR | Errno::LOOP | Errno::MLINK => {
                    TransferError::NotReal { path: crate::printable(bytes) }
                }
                error => TransferError::io("read", bytes)(error),
            })
        };
        let root = openat(CWD, "/", flags | sys::PASSING, Mode::empty());
        let mut directory = root.map_err(TransferError::io("read", bytes))?;
        for name in bytes.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            directory = open(&directory, name, sys::PASSING)?;
        }
        let directory = open(&directory, b".", OFlags::RDONLY)?;
        let stat = fstat(&directory).map_err(TransferError::io("read", bytes))?;
        Ok(Self::new(bytes, stat, Opened::Directory(directory)))
    }

    /// Is the source a directory? Only before the first entry was taken.
    pub fn is_directory(&self) -> bool {
        matches!(self.root, Some(Root { what: Opened::Directory(_), .. }))
    }

    /// The next entry; what was not read of a file is left out. `None` at the end.
    ///
    /// # Errors
    /// When something can't be read. What has vanished since its directory was read is left out.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Entry>, TransferError> {
        self.content = None;
        if let Some(Root { stat, what }) = self.root.take() {
            return self.entry(Vec::new(), &stat, what).map(Some);
        }
        loop {
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            let Some(name) = level.names.pop() else {
                self.levels.pop();
                continue;
            };
            let path = join(&level.path, &name);
            path::check(&path)?;
            let directory = level.path.clone();
            match self.open_below(&directory, &name, &path) {
                Ok((stat, what)) => return self.entry(path, &stat, what).map(Some),
                Err(error) if error.is_missing() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The next bytes of the file that came last; none at its end.
    ///
    /// # Errors
    /// When it can't be read, or has become shorter.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TransferError> {
        let Some(content) = &mut self.content else { return Ok(0) };
        let ready = &content.read[content.given..];
        if !ready.is_empty() {
            let count = ready.len().min(buffer.len());
            buffer[..count].copy_from_slice(&ready[..count]);
            content.given += count;
            return Ok(count);
        }
        let most = usize::try_from(content.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let path = shown(&self.source, &content.path);
        let count = read_once(&mut content.file, &mut buffer[..most]);
        match count.map_err(TransferError::io("read", &path))? {
            0 => {
                let path = crate::printable(&path);
                Err(TransferError::Changed { path, how: "became shorter while it was read" })
            }
            count => {
                content.left -= count as u64;
                Ok(count)
            }
        }
    }

    fn open_below(
        &mut self,
        directory: &[u8],
        name: &[u8],
        path: &[u8],
    ) -> Result<(Stat, Opened), TransferError> {
        let shown = shown(&self.source, path);
        let Some(tree) = &mut self.tree else { return Err(TransferError::OutOfOrder("no directory")) };
        let at = tree.directory(directory)?;
        let stat = statat(&at, name, AtFlags::SYMLINK_NOFOLLOW).map_err(TransferError::io("read", &shown))?;
        open_as(&*at, name, &stat, false, &shown)
    }

    fn entry(&mut self, path: Vec<u8>, stat: &Stat, what: Opened) -> Result<Entry, TransferError> {
        let kind = match what {
            Opened::File(file) => self.file(&path, stat, file)?,
            Opened::Directory(directory) => {
                self.directory(&path, stat, directory)?;
                EntryKind::Directory
            }
            Opened::Link(target) => EntryKind::Symlink { target: target.into() },
            Opened::Other => {
                let (major, minor) = (major(stat.st_rdev), minor(stat.st_rdev));
                match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Fifo => EntryKind::Fifo,
                    FileType::CharacterDevice => EntryKind::Character { major, minor },
                    FileType::BlockDevice => EntryKind::Block { major, minor },
                    _ => EntryKind::Socket,
                }
            }
        };
        Ok(Entry {
            path: path.into(),
            kind,
            mode: number::<u32>(stat.st_mode) & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: number(stat.st_mtime),
            mtime_ns: number(stat.st_mtime_nsec),
        })
    }

    fn file(&mut self, path: &[u8], stat: &Stat, mut file: File) -> Result<EntryKind, TransferError> {
        let identity = (device_of(stat), stat.st_ino);
        if number::<u64>(stat.st_nlink) > 1 && !path.is_empty() {
            if let Some(first) = self.names.get(&identity) {
                return Ok(EntryKind::HardLink { target: first.clone().into() });
            }
            self.names.insert(identity, path.to_vec());
        }
        let stated: u64 = number(stat.st_size);
        let mut read = Vec::new();
        if stated <= SMALL_BYTES as u64 {
            let shown = shown(&self.source, path);
            // One more than a small file has, to tell one that ends there from one that goes on.
            let mut start = file.by_ref().take(SMALL_BYTES as u64 + 1);
            start.read_to_end(&mut read).map_err(TransferError::io("read", &shown))?;
            if read.len() > SMALL_BYTES {
                let growing = stat.st_size > 0;
                if !growing {
                    let how =
                        "does not say how long it is, and is long: read it with `bottle exec SLUG -- cat`";
                    return Err(TransferError::Changed { path: crate::printable(&shown), how });
                }
                // It was small a moment ago, and is written to: as long as it was then.
                read.truncate(usize::try_from(stated).unwrap_or(SMALL_BYTES));
            }
        }
        let size = if stated <= SMALL_BYTES as u64 { read.len() as u64 } else { stated };
        let left = size - read.len() as u64;
        self.content = Some(Content { path: path.to_vec(), read, given: 0, file, left });
        Ok(EntryKind::File { size })
    }

    fn directory(&mut self, path: &[u8], stat: &Stat, directory: OwnedFd) -> Result<(), TransferError> {
        let mut names = Vec::new();
        if device_of(stat) == self.device || !sys::is_of_the_kernel(&directory) {
            let shown = shown(&self.source, path);
            let failed = || TransferError::io("read", &shown);
            for entry in Dir::read_from(&directory).map_err(failed())? {
                let name = entry.map_err(failed())?.file_name().to_bytes().to_vec();
                if !matches!(&name[..], b"." | b"..") {
                    names.push(name);
                }
            }
        }
        names.sort_unstable_by(|a, b| b.cmp(a));
        if path.is_empty() {
            self.tree = Some(Tree::new(directory));
        }
        self.levels.push(Level { path: path.to_vec(), names });
        Ok(())
    }
}

/// Opens what `stat` found, and makes sure that it still is that.
fn open_as(
    at: impl std::os::fd::AsFd,
    name: &[u8],
    stat: &Stat,
    follow: bool,
    shown: &[u8],
) -> Result<(Stat, Opened), TransferError> {
    let failed = || TransferError::io("read", shown);
    let kind = FileType::from_raw_mode(stat.st_mode);
    let more = match kind {
        // A pipe in the file's place would be waited for.
        FileType::RegularFile => OFlags::NONBLOCK,
        FileType::Directory => OFlags::DIRECTORY,
        FileType::Symlink => {
            let target = readlinkat(&at, name, Vec::new()).map_err(failed())?;
            return Ok((*stat, Opened::Link(target.into_bytes())));
        }
        _ => return Ok((*stat, Opened::Other)),
    };
    let nofollow = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | more | nofollow;
    let changed = |how| TransferError::Changed { path: crate::printable(shown), how };
    const REPLACED: &str = "became something else while it was read";
    let opened = openat(&at, name, flags, Mode::empty()).map_err(|error| match error {
        Errno::LOOP | Errno::MLINK | Errno::NOTDIR => changed(REPLACED),
        error => failed()(error),
    })?;
    let stat = fstat(&opened).map_err(failed())?;
    if FileType::from_raw_mode(stat.st_mode) != kind {
        return Err(changed(REPLACED));
    }
    let what = match kind {
        FileType::Directory => Opened::Directory(opened),
        _ => Opened::File(opened.into()),
    };
    Ok((stat, what))
}

fn read_once(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match file.read(buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// The path of an entry as the user would name it.
fn shown(source: &[u8], path: &[u8]) -> Vec<u8> {
    match path {
        b"" => source.to_vec(),
        path if source.ends_with(b"/") => [source, path].concat(),
        path => [source, b"/", path].concat(),
    }
}

/// The fields of a stat have other types on other systems; one that is out of range can't be.
fn number<N: Default>(field: impl TryInto<N>) -> N {
    field.try_into().unwrap_or_default()
}

fn device_of(stat: &Stat) -> u64 {
    // Only ever compared. It is signed on macOS.
    number::<i64>(stat.st_dev).unsigned_abs()
}
