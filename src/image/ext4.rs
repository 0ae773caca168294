//! The merged tree becomes an ext4 image, by `arcbox-ext4`: each surviving file is written once, in an order in which
//! parents come before their children and a hard link after what it links to.
//!
//! What the writer would get wrong is refused before the first byte is written. Its limits, found by reading it and by
//! trying, and what is done about each:
//!
//! | limit | here |
//! | --- | --- |
//! | names are `&str` | names that are not UTF-8 are refused |
//! | at most 65,000 links to a file (a `u16` that wraps), subdirectories likewise | refused |
//! | looking a name up is linear, so a directory takes quadratic time | refused beyond [`MAX_LOOKUPS`] |
//! | xattrs beside the inode are not counted in `i_blocks`; a made-up `system.data` is added | written by [`inode`] into the inode; refused where they do not fit |
//! | no devices and fifos; times of `/` are the clock's | set by [`inode`] afterwards |
//! | `/lost+found` is always there | it stays, with the image's metadata if the image has one; refused where it is no directory |
//! | 128 GiB a file | refused |
//! | no journal, no indexed directories, no checksums | as it is |
//!
//! The file system has [`NOMINAL_SIZE`], in a sparse file: beyond the image's own content it takes 8 KiB for each 128 MiB
//! group, about 1 MiB in all.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::Path;

use arcbox_ext4::constants::{file_mode, make_mode};
use arcbox_ext4::error::FormatError;
use arcbox_ext4::{FileTimestamps, Formatter};

use super::error::ImageError;
use super::inode::{self, Patch};
use super::region::Region;
use super::store::stop_if;
use super::tarball::{Entry, Kind};
use super::tree::{Body, Meta, NodeId, ROOT, Reason, Tree};

/// The size of the file system in the guest: what an agent's work needs, while the file on the host takes only what is
/// written.
pub(crate) const NOMINAL_SIZE: u64 = 16 << 30;
/// At least so much is free in the guest, however large the image.
const MIN_FREE: u64 = 8 << 30;
/// The writer has room for the descriptors of 4,096 groups of 128 MiB.
const MAX_SIZE: u64 = 512 << 30;
const GROUP_SIZE: u64 = 128 << 20;
/// The writer's own limit.
const MAX_FILE: u64 = 128 << 30;
/// ext4 allows 65,000 links. A directory's own two and some headroom are kept.
const MAX_LINKS: u32 = 65_000;
const MAX_SUBDIRS: usize = 64_990;
/// The name comparisons that an image may cost the writer: half a minute, or one directory of some 60,000 files.
const MAX_LOOKUPS: u64 = 4_000_000_000;
/// How much of a file is read at once.
const CHUNK: usize = 256 << 10;

/// Refuses an entry that can't be expressed, for what can be told from it alone.
pub(crate) fn check_entry(entry: &Entry) -> Result<(), Reason> {
    if entry.uid == u32::MAX || entry.gid == u32::MAX {
        return Err("uid or gid 4294967295, which stands for none".into());
    }
    if entry.size > MAX_FILE {
        return Err(format!("a file of {} bytes, where {MAX_FILE} is the most", entry.size));
    }
    if let Kind::Char { major, minor } | Kind::Block { major, minor } = entry.kind {
        inode::device_blocks(major, minor)?;
    }
    if entry.kind == Kind::HardLink {
        return Ok(());
    }
    inode::xattr_space(&entry.xattrs).map(drop)
}

/// What a look over the whole tree tells.
struct Survey {
    /// Names of each node.
    links: Vec<u32>,
    /// Bytes of all files, each counted once.
    bytes: u64,
}

fn refuse(path: &str, reason: impl Into<String>) -> ImageError {
    let path = if path.is_empty() { "/".to_owned() } else { path.to_owned() };
    ImageError::Tree { path, reason: reason.into() }
}

fn survey(tree: &Tree) -> Result<Survey, ImageError> {
    let mut survey = Survey { links: vec![0; tree.node_count()], bytes: 0 };
    // Directory, path, and what it costs the writer to find it.
    let mut todo = vec![(ROOT, String::new(), 0u64)];
    let mut lookups = 0u64;
    while let Some((dir, path, cost)) = todo.pop() {
        let mut subdirs = 0;
        for (position, (id, name)) in ordered(tree, dir).into_iter().enumerate() {
            let position = position as u64;
            // The entry itself is looked for, and its parent twice.
            lookups = lookups.saturating_add(3 * cost + position);
            if lookups > MAX_LOOKUPS {
                return Err(refuse(
                    &path,
                    "the image has more or larger directories than can be written yet",
                ));
            }
            let child = format!("{path}/{name}");
            if child.len() > 4095 {
                return Err(refuse(&child, "a path of more than 4095 bytes"));
            }
            survey.links[id] += 1;
            match &tree.node(id).body {
                Body::Dir(_) => {
                    subdirs += 1;
                    if subdirs > MAX_SUBDIRS {
                        return Err(refuse(&path, format!("more than {MAX_SUBDIRS} subdirectories")));
                    }
                    todo.push((id, child, cost + position + 1));
                }
                _ if path.is_empty() && name == "lost+found" => {
                    return Err(refuse(&child, "not a directory, as a file system needs it to be"));
                }
                Body::File { size, .. } if survey.links[id] == 1 => survey.bytes += size,
                _ if survey.links[id] > MAX_LINKS => {
                    return Err(refuse(&child, format!("more than {MAX_LINKS} hard links to one file")));
                }
                _ => {}
            }
        }
    }
    Ok(survey)
}

/// The children of a directory, subdirectories first: what comes first is found fastest by the writer, and directories
/// are looked up again for each thing in them.
fn ordered(tree: &Tree, dir: NodeId) -> Vec<(NodeId, &str)> {
    let Body::Dir(children) = &tree.node(dir).body else { return Vec::new() };
    // Names were checked to be UTF-8 when they came into the tree.
    let mut all: Vec<_> =
        children.iter().filter_map(|(name, id)| Some((*id, std::str::from_utf8(name).ok()?))).collect();
    all.sort_by_key(|(id, _)| !tree.is_dir(*id));
    all
}

/// Writes `tree`, whose contents lie in `layers`, as an ext4 image at `path`. `progress` is told the bytes written, and
/// how many there will be, and may stop it.
pub(crate) fn write(
    tree: &Tree,
    layers: &[Region],
    path: &Path,
    cache_dir: &Path,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<(), ImageError> {
    let survey = survey(tree)?;
    let size = NOMINAL_SIZE.max((survey.bytes + survey.bytes / 8 + MIN_FREE).next_multiple_of(GROUP_SIZE));
    if size > MAX_SIZE {
        return Err(refuse(
            "",
            format!("{} GiB of files are more than can be written yet", survey.bytes >> 30),
        ));
    }
    let failed = |at: &str, error: FormatError| match error {
        FormatError::Io(error) => ImageError::io("write", path, cache_dir, error),
        other => refuse(at, other.to_string()),
    };
    let formatter = Formatter::new(path, 4096, size).map_err(|error| failed("", error))?;
    let mut writer = Writer {
        tree,
        layers,
        formatter,
        first_names: vec![None; if survey.links.iter().any(|&n| n > 1) { tree.node_count() } else { 0 }],
        links: survey.links,
        last_inode: LOST_FOUND_INODE,
        patches: Vec::new(),
    };
    let mut done = 0;
    writer.root().map_err(|error| failed("", error))?;
    let mut todo = vec![(ROOT, String::new())];
    while let Some((dir, path)) = todo.pop() {
        for (id, name) in ordered(tree, dir) {
            let child = format!("{path}/{name}");
            done += writer.create(id, &child).map_err(|error| failed(&child, error))?;
            stop_if(progress(done, survey.bytes))?;
            if tree.is_dir(id) {
                todo.push((id, child));
            }
        }
    }
    let Writer { formatter, patches, .. } = writer;
    formatter.close().map_err(|error| failed("", error))?;
    let patched = OpenOptions::new().read(true).write(true).open(path).and_then(|file: File| {
        inode::apply(&file, &patches)?;
        file.metadata()
    });
    patched.map(drop).map_err(|error| ImageError::io("write", path, cache_dir, error))
}

const ROOT_INODE: u32 = 2;
const LOST_FOUND_INODE: u32 = 11;

struct Writer<'a> {
    tree: &'a Tree,
    layers: &'a [Region],
    formatter: Formatter,
    links: Vec<u32>,
    /// By node, the path that it was created at, for nodes with more than one name.
    first_names: Vec<Option<String>>,
    last_inode: u32,
    patches: Vec<Patch>,
}

impl Writer<'_> {
    fn root(&mut self) -> Result<(), FormatError> {
        let meta = &self.tree.node(ROOT).meta;
        let mode = make_mode(file_mode::S_IFDIR, meta.mode);
        self.formatter.create("/", mode, None, None, None, Some(meta.uid), Some(meta.gid), None)?;
        self.patch(ROOT_INODE, ROOT, true)
    }

    fn patch(&mut self, inode: u32, id: NodeId, times: bool) -> Result<(), FormatError> {
        // Every node was checked when it came in.
        let patch = Patch::of(inode, self.tree.node(id), times).map_err(io::Error::other)?;
        self.patches.extend(patch);
        Ok(())
    }

    /// Creates node `id` at `path`, or a further name of it. Returns the bytes of content written.
    fn create(&mut self, id: NodeId, path: &str) -> Result<u64, FormatError> {
        if self.links[id] > 1 {
            match &mut self.first_names[id] {
                Some(first) => return self.formatter.link(path, first).map(|()| 0),
                none => *none = Some(path.to_owned()),
            }
        }
        let node = self.tree.node(id);
        let mode = node.meta.mode;
        let mut size = 0;
        match &node.body {
            Body::Dir(_) => self.add(path, make_mode(file_mode::S_IFDIR, mode), None, None, &node.meta)?,
            Body::File { layer, offset, size: length } => {
                size = *length;
                let content = self.layers.get(*layer).and_then(|layer| layer.part(*offset, size));
                let mut reader =
                    content.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?.reader(CHUNK);
                self.add(path, make_mode(file_mode::S_IFREG, mode), None, Some(&mut reader), &node.meta)?;
            }
            Body::Symlink(target) => {
                let target = std::str::from_utf8(target).map_err(io::Error::other)?;
                self.add(path, make_mode(file_mode::S_IFLNK, 0o777), Some(target), None, &node.meta)?;
            }
            // The writer takes anything with a target for a symlink, and keeps the type that it is given: an empty target
            // leaves an inode without content, which the patch completes.
            Body::Char { .. } => self.add(path, file_mode::S_IFCHR, Some(""), None, &node.meta)?,
            Body::Block { .. } => self.add(path, file_mode::S_IFBLK, Some(""), None, &node.meta)?,
            Body::Fifo => self.add(path, file_mode::S_IFIFO, Some(""), None, &node.meta)?,
        }
        if path == "/lost+found" {
            self.patch(LOST_FOUND_INODE, id, true)?;
        } else {
            self.last_inode += 1;
            self.patch(self.last_inode, id, false)?;
        }
        Ok(size)
    }

    fn add(
        &mut self,
        path: &str,
        mode: u16,
        target: Option<&str>,
        content: Option<&mut dyn Read>,
        meta: &Meta,
    ) -> Result<(), FormatError> {
        let (low, extra) = inode::time(meta.mtime);
        let times = FileTimestamps {
            access_lo: low,
            access_hi: extra,
            modification_lo: low,
            modification_hi: extra,
            creation_lo: low,
            creation_hi: extra,
            now_lo: low,
            now_hi: extra,
        };
        self.formatter.create(path, mode, target, Some(times), content, Some(meta.uid), Some(meta.gid), None)
    }
}
