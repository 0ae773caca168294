//! A tree of files as the kernel shows it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sha2::{Digest, Sha256};

/// Paths from the root, without a slash before them, and what is there.
pub(crate) type Listing = BTreeMap<Vec<u8>, Node>;

/// All that can be told of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// Type and permissions, as in `st_mode`.
    pub(crate) mode: String,
    pub(crate) owner: (u32, u32),
    /// Not of directories: each file system has its own.
    pub(crate) size: u64,
    /// Of a device: major and minor.
    pub(crate) device: (u32, u32),
    pub(crate) mtime: (i64, i64),
    /// Of a regular file: SHA-256. Of a symlink: where it leads.
    pub(crate) content: String,
    /// The other names of the file, in order.
    pub(crate) links: Vec<String>,
    /// How many names it has by its own words; not of directories.
    pub(crate) nlink: u64,
    pub(crate) xattrs: BTreeMap<String, Vec<u8>>,
}

/// Everything below `root` on the same file system; where another is mounted, nothing.
pub(crate) fn list(root: &Path) -> Listing {
    let device = fs::metadata(root).unwrap().dev();
    let mut listing = Listing::new();
    let mut inodes: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
    let mut todo = vec![Vec::new()];
    while let Some(path) = todo.pop() {
        let full = root.join(OsStr::from_bytes(&path));
        let meta = fs::symlink_metadata(&full).unwrap();
        if meta.dev() != device {
            continue;
        }
        if meta.is_dir() {
            for entry in fs::read_dir(&full).unwrap() {
                let name = entry.unwrap().file_name().into_vec();
                todo.push(if path.is_empty() { name } else { [&path[..], b"/", &name].concat() });
            }
        } else {
            inodes.entry(meta.ino()).or_default().push(path.clone());
        }
        listing.insert(path, node(&full, &meta));
    }
    for names in inodes.values().filter(|names| names.len() > 1) {
        for name in names {
            let mut others: Vec<_> =
                names.iter().filter(|other| *other != name).map(|other| text(other)).collect();
            others.sort();
            listing.get_mut(name).unwrap().links = others;
        }
    }
    listing
}

fn node(path: &Path, meta: &Metadata) -> Node {
    let kind = meta.file_type();
    let content = if kind.is_file() {
        hash(path)
    } else if kind.is_symlink() {
        text(fs::read_link(path).unwrap().as_os_str().as_bytes())
    } else {
        String::new()
    };
    let device = rustix::fs::major(meta.rdev());
    Node {
        mode: format!("{:06o}", meta.mode()),
        owner: (meta.uid(), meta.gid()),
        size: if kind.is_dir() { 0 } else { meta.size() },
        device: (device, rustix::fs::minor(meta.rdev())),
        mtime: (meta.mtime(), meta.mtime_nsec()),
        content,
        links: Vec::new(),
        nlink: if kind.is_dir() { 0 } else { meta.nlink() },
        xattrs: xattrs(path),
    }
}

fn hash(path: &Path) -> String {
    let mut file = File::open(path).unwrap();
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => break,
            n => hash.update(&buffer[..n]),
        }
    }
    hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 64 << 10];
    let n = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let names = names[..n].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; 64 << 10];
            let n = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            value.truncate(n);
            (text(name), value)
        })
        .collect()
}

/// Bytes that are no text are shown as `\xff`.
pub(crate) fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// The differences between what we made and a reference's, of paths that `ignored` does not name; each a few lines.
pub(crate) fn differences(ours: &Listing, theirs: &Listing, ignored: impl Fn(&str) -> bool) -> Vec<String> {
    let mut paths: Vec<_> = ours.keys().chain(theirs.keys()).collect();
    paths.sort();
    paths.dedup();
    paths
        .into_iter()
        .filter(|path| ours.get(*path) != theirs.get(*path) && !ignored(&text(path)))
        .map(|path| {
            let shown = |listing: &Listing| match listing.get(path) {
                Some(node) => format!("{node:?}"),
                None => "nothing".into(),
            };
            format!("{}\n  ours   {}\n  theirs {}", text(path), shown(ours), shown(theirs))
        })
        .collect()
}
