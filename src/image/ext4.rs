//! The merged tree becomes an ext4 image, written by [`bottle_ext4`] from front to back: every byte of a file once, and
//! nothing that an upper layer hides.
//!
//! The file system has at least [`NOMINAL_SIZE`], in a sparse file, and a journal, so that a guest's disk survives a power
//! cut. What depends on chance elsewhere (UUID, hash seed, times) comes from the image's ID: the same image gives the
//! same bytes.

use std::fs::OpenOptions;
use std::ops::ControlFlow;
use std::path::Path;

use bottle_ext4::{Device, InodeId, Options, Reason as Cause, Time, Writer};

use super::config::ImageId;
use super::error::ImageError;
use super::region::Region;
use super::store::stop_if;
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
/// How much of a file is read at once.
const CHUNK: usize = 256 << 10;

/// Refuses an entry that can't be expressed, for what can be told from it alone.
pub(crate) fn check_entry(entry: &Entry) -> Result<(), Reason> {
    if entry.uid == u32::MAX || entry.gid == u32::MAX {
        return Err("uid or gid 4294967295, which stands for none".into());
    }
    if entry.size > bottle_ext4::MAX_FILE {
        return Err(Cause::FileTooLarge(entry.size).to_string());
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

/// Bytes of all files of the tree, each counted once.
fn content_bytes(tree: &Tree) -> u64 {
    let mut seen = vec![false; tree.node_count()];
    let mut bytes = 0_u64;
    let mut todo = vec![ROOT];
    while let Some(id) = todo.pop() {
        if std::mem::replace(&mut seen[id], true) {
            continue;
        }
        match &tree.node(id).body {
            Body::Dir(children) => todo.extend(children.values()),
            Body::File { size, .. } => bytes = bytes.saturating_add(*size),
            _ => {}
        }
    }
    bytes
}

fn options(tree: &Tree, id: ImageId, bytes: u64) -> Options {
    // A size beyond ext4's own limits is refused by the writer.
    let size = bytes.saturating_add(bytes / 8).saturating_add(MIN_FREE).max(NOMINAL_SIZE);
    let size = size.checked_next_multiple_of(GROUP_SIZE).unwrap_or(u64::MAX);
    let inodes = (size / BYTES_PER_INODE).saturating_add(tree.node_count() as u64);
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

/// Writes `tree`, whose contents lie in `layers`, as an ext4 image at `path`. `progress` is told the bytes written, and
/// how many there will be, and may stop it.
pub(crate) fn write(
    tree: &Tree,
    id: ImageId,
    layers: &[Region],
    path: &Path,
    cache_dir: &Path,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<(), ImageError> {
    let failed = |error: bottle_ext4::Error| match error.reason {
        Cause::Write(source) => ImageError::io("write", path, cache_dir, source),
        reason => {
            let path = if error.path.is_empty() { "/".to_owned() } else { error.path };
            ImageError::Tree { path, reason: reason.to_string() }
        }
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(|source| ImageError::io("create", path, cache_dir, source))?;
    let total = content_bytes(tree);
    let mut writer = Writer::create(file, options(tree, id, total)).map_err(failed)?;
    let root = writer.root();
    writer.set_meta(root, &meta(&tree.node(ROOT).meta)).map_err(failed)?;
    let mut nodes = Nodes { tree, layers, written: vec![None; tree.node_count()] };
    let mut done = 0;
    let mut todo = vec![(ROOT, root)];
    while let Some((dir, parent)) = todo.pop() {
        let Body::Dir(children) = &tree.node(dir).body else { continue };
        for (name, child) in children {
            let inode = nodes.write(&mut writer, parent, name, *child).map_err(failed)?;
            match &tree.node(*child).body {
                Body::Dir(_) => todo.push((*child, inode)),
                Body::File { size, .. } => done += size,
                _ => {}
            }
            stop_if(progress(done, total))?;
        }
    }
    writer.finish().map(drop).map_err(failed)
}

/// What of the tree has its inode.
struct Nodes<'a> {
    tree: &'a Tree,
    layers: &'a [Region],
    written: Vec<Option<InodeId>>,
}

impl Nodes<'_> {
    /// Writes node `id`, or gives it a further name.
    fn write(
        &mut self,
        writer: &mut Writer,
        parent: InodeId,
        name: &[u8],
        id: NodeId,
    ) -> Result<InodeId, bottle_ext4::Error> {
        if let Some(inode) = self.written[id] {
            return writer.link(parent, name, inode).map(|()| inode);
        }
        let node = self.tree.node(id);
        let meta = meta(&node.meta);
        let inode = match &node.body {
            Body::Dir(_) => writer.dir(parent, name, &meta),
            Body::File { layer, offset, size } => {
                // An empty reader in place of a part that is not there is told of as a content that ends early.
                let content = self.layers.get(*layer).and_then(|layer| layer.part(*offset, *size));
                let mut content = content.map(|content| content.reader(CHUNK));
                let reader: &mut dyn std::io::Read = match &mut content {
                    Some(reader) => reader,
                    None => &mut std::io::empty(),
                };
                writer.file(parent, name, &meta, *size, reader)
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
        }?;
        self.written[id] = Some(inode);
        Ok(inode)
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
