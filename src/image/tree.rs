//! The merged file tree of all layers, in memory: what will be in the guest, with contents still lying in the layers.
//!
//! A layer is applied to what the layers below it left. Its whiteouts go first, whatever their place in the layer: by
//! the OCI image specification they hide what is *below*, never what the same layer brings. Then its entries go in
//! order, the later of two with one path winning, as a sequential `tar -x` would have it:
//!
//! - a directory over a directory keeps the content and takes the new owner, mode, time and xattrs;
//! - anything else replaces what was there, with all that was under it;
//! - a hard link is a second name of a node, also of one from a layer below, and outlives the first name;
//! - symlinks in the *parent* of a path are followed, within the image (`..` at its root stays there), so an upper
//!   layer's `bin/x` over a lower layer's `bin -> usr/bin` becomes `usr/bin/x`, as with containerd and umoci. The last
//!   component is never followed;
//! - parents that no layer mentions are made, `root:root 0755`, with the time of the entry that needed them.

use std::collections::BTreeMap;
use std::collections::VecDeque;

use super::layer::{Brought, Entries};
use super::tarball::{Entry, Kind};

/// The file system's limits on names; the kernel's on paths.
const MAX_NAME: usize = 255;
const MAX_PATH: usize = 4095;
/// As many as the kernel follows in one path.
const MAX_SYMLINKS: usize = 40;
/// As many steps may symlinks add to one path: no path that is in use has a hundred, and each entry's is walked.
const MAX_STEPS: usize = 4096;
/// Directories nested deeper than this have no path of at most `MAX_PATH` bytes.
const MAX_DEPTH: usize = MAX_PATH / 2;
/// Nodes in one image. A node takes some 250 bytes of memory here and again in the writer; the largest images in use have
/// a few hundred thousand.
const MAX_NODES: usize = 2_000_000;

/// Index of a node.
pub(crate) type NodeId = usize;

/// The root directory's.
pub(crate) const ROOT: NodeId = 0;

/// A file, directory, …, whatever its names.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) meta: Meta,
    pub(crate) body: Body,
}

/// What all kinds have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Permission bits with setuid, setgid and sticky.
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: (i64, u32),
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What kinds differ in.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Dir(BTreeMap<Box<[u8]>, NodeId>),
    /// The number of its content.
    File(usize),
    Symlink(Box<[u8]>),
    Char {
        major: u32,
        minor: u32,
    },
    Block {
        major: u32,
        minor: u32,
    },
    Fifo,
}

/// Why an entry was refused.
pub(crate) type Reason = String;

pub(crate) struct Tree {
    nodes: Vec<Node>,
}

impl Default for Tree {
    fn default() -> Self {
        Self { nodes: vec![Node { meta: implied((0, 0)), body: Body::Dir(BTreeMap::new()) }] }
    }
}

/// What a directory gets that no layer describes.
fn implied(mtime: (i64, u32)) -> Meta {
    Meta { mode: 0o755, mtime, ..Meta::default() }
}

/// What a whiteout hides.
#[derive(Clone, Debug)]
pub(crate) enum Whiteout {
    /// `.wh.NAME`: NAME beside it.
    Name(Box<[u8]>),
    /// `.wh..wh..opq`: all that layers below have in the directory that it lies in.
    Opaque,
    /// aufs' own records, which mean nothing to anyone else.
    Ignored,
}

/// Tells what kind of whiteout `name` is, if it is one.
pub(crate) fn whiteout(name: &[u8]) -> Result<Option<Whiteout>, Reason> {
    let Some(hidden) = name.strip_prefix(b".wh.") else { return Ok(None) };
    Ok(Some(match hidden {
        b".wh..opq" => Whiteout::Opaque,
        b"" | b"." | b".." => return Err("a whiteout that names nothing".into()),
        _ if hidden.starts_with(b".wh.") => Whiteout::Ignored,
        _ => Whiteout::Name(hidden.into()),
    }))
}

/// The components of an entry's path. Docker and tar take a leading `/` as relative, and so do we.
pub(crate) fn components(path: &[u8]) -> Result<Vec<&[u8]>, Reason> {
    if path.contains(&0) {
        return Err("a name with a NUL in it".into());
    }
    if path.len() > MAX_PATH {
        return Err(format!("a path of {} bytes, where {MAX_PATH} is the most", path.len()));
    }
    let parts: Vec<_> =
        path.split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    for part in &parts {
        if *part == b".." {
            return Err("a path with .. in it".into());
        }
        check_name(part)?;
    }
    Ok(parts)
}

fn check_name(name: &[u8]) -> Result<(), Reason> {
    if name.len() > MAX_NAME {
        return Err(format!("a name of {} bytes, where {MAX_NAME} is the most", name.len()));
    }
    Ok(())
}

impl Tree {
    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    pub(crate) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id]
    }

    /// One more than the largest index of a node.
    pub(crate) fn node_count(&self) -> usize {
        self.nodes.len()
    }

    fn add(&mut self, node: Node) -> Result<NodeId, Reason> {
        if self.nodes.len() >= MAX_NODES {
            return Err(format!("more than {MAX_NODES} entries in the image"));
        }
        self.nodes.push(node);
        Ok(self.nodes.len() - 1)
    }

    pub(crate) fn child(&self, dir: NodeId, name: &[u8]) -> Option<NodeId> {
        match &self.nodes[dir].body {
            Body::Dir(children) => children.get(name).copied(),
            _ => None,
        }
    }

    fn insert(&mut self, dir: NodeId, name: &[u8], node: NodeId) {
        if let Body::Dir(children) = &mut self.nodes[dir].body {
            children.insert(name.into(), node);
        }
    }

    /// All nodes that have a name, each once.
    pub(crate) fn reachable(&self) -> Vec<NodeId> {
        let mut seen = vec![false; self.nodes.len()];
        let mut all = Vec::new();
        let mut todo = vec![ROOT];
        while let Some(id) = todo.pop() {
            if std::mem::replace(&mut seen[id], true) {
                continue;
            }
            if let Body::Dir(children) = &self.nodes[id].body {
                todo.extend(children.values());
            }
            all.push(id);
        }
        all
    }

    pub(crate) fn is_dir(&self, id: NodeId) -> bool {
        matches!(self.nodes[id].body, Body::Dir(_))
    }

    /// The directory that `parts` lead to from the root, symlinks followed within the image. With `make`, what is missing is
    /// made with that time, and what is no directory gives way to one.
    fn directory(&mut self, parts: &[&[u8]], make: Option<(i64, u32)>) -> Result<Option<NodeId>, Reason> {
        let mut stack = vec![ROOT];
        let mut todo: VecDeque<Vec<u8>> = parts.iter().map(|part| part.to_vec()).collect();
        let mut links = 0;
        let mut steps = 0;
        while let Some(name) = todo.pop_front() {
            let dir = *stack.last().unwrap_or(&ROOT);
            match &name[..] {
                b"" | b"." => continue,
                b".." => {
                    if stack.len() > 1 {
                        stack.pop();
                    }
                    continue;
                }
                _ => {}
            }
            let found = self.child(dir, &name);
            match found.map(|id| &self.nodes[id].body) {
                Some(Body::Dir(_)) => stack.extend(found),
                Some(Body::Symlink(target)) => {
                    links += 1;
                    if links > MAX_SYMLINKS {
                        return Err(format!("more than {MAX_SYMLINKS} symlinks in its path"));
                    }
                    if target.starts_with(b"/") {
                        stack.truncate(1);
                    }
                    for part in target.split(|&byte| byte == b'/').rev() {
                        todo.push_front(part.to_vec());
                        steps += 1;
                    }
                    if steps > MAX_STEPS {
                        return Err(format!("more than {MAX_STEPS} steps by the symlinks in its path"));
                    }
                }
                _ => {
                    let Some(mtime) = make else { return Ok(None) };
                    check_name(&name)?;
                    let id = self.add(Node { meta: implied(mtime), body: Body::Dir(BTreeMap::new()) })?;
                    self.insert(dir, &name, id);
                    stack.push(id);
                }
            }
            if stack.len() > MAX_DEPTH {
                return Err(format!("directories nested deeper than {MAX_DEPTH}"));
            }
        }
        Ok(stack.last().copied())
    }

    /// What is at `path`, symlinks followed within the image, also at its end.
    pub(crate) fn resolve(&mut self, path: &[u8]) -> Option<NodeId> {
        let mut path = path.to_vec();
        for _ in 0..MAX_SYMLINKS {
            let parts: Vec<&[u8]> =
                path.split(|&b| b == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
            let Some((name, parents)) = parts.split_last() else { return Some(ROOT) };
            if *name == b".." {
                return self.directory(&parts, None).ok()?;
            }
            let dir = self.directory(parents, None).ok()??;
            let id = self.child(dir, name)?;
            let Body::Symlink(target) = &self.nodes[id].body else { return Some(id) };
            path = if target.starts_with(b"/") {
                target.to_vec()
            } else {
                let mut joined = parents.join(&b'/');
                joined.push(b'/');
                joined.extend_from_slice(target);
                joined
            };
            if path.len() > 8 * MAX_PATH {
                return None;
            }
        }
        None
    }

    /// Makes `path` a directory where it is not one yet; an existing one is left as it is. `None` when something else is
    /// there.
    pub(crate) fn ensure_directory(&mut self, path: &[u8]) -> Option<NodeId> {
        let parts = components(path).ok()?;
        if let Some((name, parents)) = parts.split_last() {
            let parent = self.directory(parents, Some((0, 0))).ok()??;
            if let Some(id) = self.child(parent, name)
                && !matches!(self.nodes[id].body, Body::Dir(_) | Body::Symlink(_))
            {
                return None;
            }
        }
        self.directory(&parts, Some((0, 0))).ok()?
    }

    /// Takes away what a whiteout hides.
    fn hide(&mut self, parents: &[&[u8]], whiteout: &Whiteout) -> Result<(), Reason> {
        // What is not there need not be hidden.
        let Some(dir) = self.directory(parents, None)? else { return Ok(()) };
        if let Body::Dir(children) = &mut self.nodes[dir].body {
            match whiteout {
                Whiteout::Name(name) => drop(children.remove(name)),
                Whiteout::Opaque => children.clear(),
                Whiteout::Ignored => {}
            }
        }
        Ok(())
    }

    /// Merges a layer into what the layers below it left. An error names the entry.
    pub(crate) fn apply(&mut self, layer: Entries) -> Result<(), (Vec<u8>, Reason)> {
        for (path, whiteout) in layer.whiteouts {
            let hidden = components(&path).and_then(|parts| {
                self.hide(parts.split_last().map_or(&[], |(_, parents)| parents), &whiteout)
            });
            hidden.map_err(|reason| (path, reason))?;
        }
        for Brought { mut entry, content } in layer.entries {
            let path = std::mem::take(&mut entry.path);
            let put = components(&path).and_then(|parts| self.put(entry, content, &parts));
            put.map_err(|reason| (path, reason))?;
        }
        Ok(())
    }

    /// Puts in an entry whose path is `parts`.
    fn put(&mut self, entry: Entry, content: Option<usize>, parts: &[&[u8]]) -> Result<(), Reason> {
        let meta = Meta {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            xattrs: entry.xattrs,
        };
        let Some((name, parents)) = parts.split_last() else {
            // "./" describes the root directory; nothing else may stand in its place.
            if entry.kind != Kind::Dir {
                return Err("the root is not a directory".into());
            }
            self.nodes[ROOT].meta = meta;
            return Ok(());
        };
        let link = match entry.kind {
            Kind::HardLink => Some(self.link_target(&entry.link)?),
            _ => None,
        };
        let Some(dir) = self.directory(parents, Some(entry.mtime))? else {
            return Err("its directory can't be made".into());
        };
        let old = self.child(dir, name);
        let body = match entry.kind {
            Kind::HardLink => {
                let target = link.unwrap_or(ROOT);
                // Linking a file to itself changes nothing.
                if old != Some(target) {
                    self.insert(dir, name, target);
                }
                return Ok(());
            }
            Kind::Dir => {
                if let Some(old) = old.filter(|old| self.is_dir(*old)) {
                    self.nodes[old].meta = meta;
                    return Ok(());
                }
                Body::Dir(BTreeMap::new())
            }
            Kind::File => Body::File(content.ok_or("a file without a content")?),
            Kind::Symlink => Body::Symlink(symlink_target(&entry.link)?),
            Kind::Char { major, minor } => Body::Char { major, minor },
            Kind::Block { major, minor } => Body::Block { major, minor },
            Kind::Fifo => Body::Fifo,
        };
        let id = self.add(Node { meta, body })?;
        self.insert(dir, name, id);
        Ok(())
    }

    fn link_target(&mut self, path: &[u8]) -> Result<NodeId, Reason> {
        let shown = String::from_utf8_lossy(path).into_owned();
        let parts = components(path).map_err(|reason| format!("hard link to {shown:?}: {reason}"))?;
        let missing = || format!("hard link to {shown:?}, which does not exist");
        let (name, parents) = parts.split_last().ok_or_else(missing)?;
        let dir = self.directory(parents, None)?.ok_or_else(missing)?;
        let id = self.child(dir, name).ok_or_else(missing)?;
        if self.is_dir(id) {
            return Err(format!("hard link to {shown:?}, which is a directory"));
        }
        Ok(id)
    }
}

fn symlink_target(target: &[u8]) -> Result<Box<[u8]>, Reason> {
    if target.is_empty() {
        return Err("a symlink to nothing".into());
    }
    if target.contains(&0) {
        return Err("a symlink with a NUL in it".into());
    }
    if target.len() > MAX_PATH {
        return Err(format!("a symlink to {} bytes, where {MAX_PATH} is the most", target.len()));
    }
    Ok(target.into())
}
