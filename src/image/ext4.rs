//! The merged tree becomes an ext4 image, written by [`bottle_ext4`] from front to back: every byte of a file once, and
//! nothing that an upper layer hides.
//!
//! The file system has at least [`NOMINAL_SIZE`], in a sparse file, and a journal, so that a guest's disk survives a power
//! cut. What depends on chance elsewhere (UUID, hash seed, times) comes from the image's ID: the same image gives the
//! same bytes.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use bottle_ext4::{Device, InodeId, Options, Reason as Cause, Summary, Time, Writer};

use super::config::ImageId;
use super::contents::{self, Contents, Place};
use super::error::ImageError;
use super::report::{Progress, Report};
use super::sparse::CopyError;
use super::tarball::{Entry, Kind};
use super::tree::{Body, Meta, NodeId, ROOT, Reason, Tree};

/// The size of the file system in the guest: what an agent's work needs, while the file on the host takes only what is
/// written.
pub(crate) const NOMINAL_SIZE: u64 = 16 << 30;
/// At least so much is free in the guest, however large the image.
const MIN_FREE: u64 = 8 << 30;
/// The size is a multiple of it: that of a group of blocks.
const GROUP_SIZE: u64 = 128 << 20;
/// Beyond the image's own, there is an inode for each 16 KiB of the size, as with mke2fs.
const BYTES_PER_INODE: u64 = 16 << 10;
/// Of 4 KiB. The guest goes round in its journal, so all of it lands in the overlay sooner or later: enough for an agent's
/// work, and a quarter of what mke2fs would take.
const JOURNAL_BLOCKS: u32 = 4096;
/// Refuses an entry that can't be expressed, for what can be told from it alone.
pub(crate) fn check_entry(entry: &Entry) -> Result<(), Reason> {
    if entry.uid == u32::MAX || entry.gid == u32::MAX {
        return Err("uid or gid 4294967295, which stands for none".into());
    }
    if entry.shape.size > bottle_ext4::MAX_FILE {
        return Err(Cause::FileTooLarge(entry.shape.size).to_string());
    }
    match entry.kind {
        Kind::Char { major, minor } => Device::Char { major, minor }.check(),
        Kind::Block { major, minor } => Device::Block { major, minor }.check(),
        // Its metadata is that of the file it links to.
        Kind::HardLink => return Ok(()),
        _ => Ok(()),
    }
    .and_then(|()| bottle_ext4::Meta { xattrs: &entry.xattrs, ..Default::default() }.check())
    .map_err(|cause| cause.to_string())
}

/// How large a file system an image needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    /// Bytes of contents; an estimate will do, since what is not used costs nothing.
    pub(crate) bytes: u64,
    pub(crate) inodes: u64,
}

impl Need {
    fn options(self, id: ImageId) -> Options {
        let Self { bytes, inodes } = self;
        // A size beyond ext4's own limits is refused by the writer.
        let size = bytes.saturating_add(bytes / 8).saturating_add(MIN_FREE).max(NOMINAL_SIZE);
        let size = size.checked_next_multiple_of(GROUP_SIZE).unwrap_or(u64::MAX);
        let inodes = (size / BYTES_PER_INODE).saturating_add(inodes);
        let mut seed = [0; 16];
        seed.copy_from_slice(&id.bytes()[..16]);
        let mut options = Options::new(size, seed);
        options.label = b"bottle".to_vec();
        options.inodes = Some(u32::try_from(inodes).unwrap_or(u32::MAX));
        options.journal_blocks = Some(JOURNAL_BLOCKS);
        // An agent without root's rights is to have all of its disk.
        options.reserved_percent = 0;
        options
    }
}

/// Begins an ext4 image at `path` for the image with this ID.
pub(crate) fn create(path: &Path, id: ImageId, need: Need, disk: &Disk<'_>) -> Result<Writer, ImageError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .map_err(|source| disk.io("create", source))?;
    Writer::create(file, need.options(id)).map_err(|error| disk.error(error))
}

/// Where the image is written, for messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disk<'a> {
    pub(crate) path: &'a Path,
    pub(crate) cache_dir: &'a Path,
}

impl Disk<'_> {
    pub(crate) fn io(&self, action: &'static str, source: io::Error) -> ImageError {
        ImageError::io(action, self.path, self.cache_dir, source)
    }

    pub(crate) fn error(&self, error: bottle_ext4::Error) -> ImageError {
        match error.reason {
            Cause::Write(source) => self.io("write", source),
            Cause::Full(_) | Cause::NoInodes(_) => ImageError::DiskTooSmall,
            reason => {
                let path = if error.path.is_empty() { "/".to_owned() } else { error.path };
                ImageError::Tree { path, reason: reason.to_string() }
            }
        }
    }
}

/// Completes the image: gives the files of `tree` their names, and writes those contents that still lie in layers.
/// `progress` is told the bytes of these, and how many there will be, and may stop it.
pub(crate) fn finish(
    mut writer: Writer,
    tree: &Tree,
    contents: &mut Contents,
    disk: &Disk<'_>,
    reporter: &dyn Report,
) -> Result<Summary, ImageError> {
    let root = writer.root();
    writer.set_meta(root, &meta(&tree.node(ROOT).meta)).map_err(|error| disk.error(error))?;
    let files = tree.reachable().into_iter().filter_map(|id| match tree.node(id).body {
        Body::File(content) => Some(contents.get(content)),
        _ => None,
    });
    let mut left = files.filter(|place| matches!(place, Place::Layer { .. })).map(Place::size);
    let total = left.by_ref().fold(0, u64::saturating_add);
    let mut names =
        Names { tree, contents, disk, reporter, done: 0, total, made: vec![None; tree.node_count()] };
    let mut todo = vec![(ROOT, root)];
    while let Some((dir, parent)) = todo.pop() {
        let Body::Dir(children) = &tree.node(dir).body else { continue };
        for (name, child) in children {
            let inode = names.write(&mut writer, parent, name, *child)?;
            if tree.is_dir(*child) {
                todo.push((*child, inode));
            }
        }
    }
    let (_, summary) = writer.finish().map_err(|error| disk.error(error))?;
    Ok(summary)
}

struct Names<'a> {
    tree: &'a Tree,
    contents: &'a mut Contents,
    disk: &'a Disk<'a>,
    reporter: &'a dyn Report,
    done: u64,
    total: u64,
    /// By node.
    made: Vec<Option<InodeId>>,
}

impl Names<'_> {
    /// Makes node `id`, or gives it a further name.
    fn write(
        &mut self,
        writer: &mut Writer,
        parent: InodeId,
        name: &[u8],
        id: NodeId,
    ) -> Result<InodeId, ImageError> {
        let failed = |error| self.disk.error(error);
        if let Some(inode) = self.made[id] {
            return writer.link(parent, name, inode).map(|()| inode).map_err(failed);
        }
        let node = self.tree.node(id);
        let meta = meta(&node.meta);
        let inode = match &node.body {
            Body::Dir(_) => writer.dir(parent, name, &meta),
            Body::File(content) => {
                let content = self.content(writer, *content, name)?;
                writer.file_of(parent, name, &meta, content)
            }
            Body::Symlink(target) => {
                let meta = bottle_ext4::Meta { mode: 0o777, ..meta };
                writer.symlink(parent, name, &meta, target)
            }
            Body::Char { major, minor } => {
                writer.device(parent, name, &meta, Device::Char { major: *major, minor: *minor })
            }
            Body::Block { major, minor } => {
                writer.device(parent, name, &meta, Device::Block { major: *major, minor: *minor })
            }
            Body::Fifo => writer.fifo(parent, name, &meta),
        };
        let inode = inode.map_err(|error| self.disk.error(error))?;
        self.made[id] = Some(inode);
        Ok(inode)
    }

    fn content(
        &mut self,
        writer: &mut Writer,
        number: usize,
        name: &[u8],
    ) -> Result<bottle_ext4::Content, ImageError> {
        let unreadable = |reason: String| ImageError::Tree {
            path: String::from_utf8_lossy(name).into_owned(),
            reason: format!("its content can't be read: {reason}"),
        };
        match self.contents.take(number) {
            Place::Image(content) => Ok(content),
            Place::Layer { region, shape } => {
                self.done = self.done.saturating_add(shape.size);
                self.reporter.tell(Progress::Writing { bytes: self.done, total: self.total })?;
                contents::write_region(writer, &shape, &region).map_err(|error| match error {
                    CopyError::Sink(error) => self.disk.error(error),
                    CopyError::Read(error) => unreadable(error.to_string()),
                    CopyError::Short => unreadable("it ends early".into()),
                })
            }
            Place::LeftOut { .. } | Place::Gone => Err(unreadable("it was not kept".into())),
        }
    }
}

fn meta(meta: &Meta) -> bottle_ext4::Meta<'_> {
    bottle_ext4::Meta {
        mode: meta.mode,
        uid: meta.uid,
        gid: meta.gid,
        mtime: Time { seconds: meta.mtime.0, nanoseconds: meta.mtime.1 },
        xattrs: &meta.xattrs,
    }
}
