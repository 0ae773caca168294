//! The writer: takes files one by one, writes their contents and inodes at once, and keeps names for the end.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;

use crate::MAX_LINKS;
use crate::checksum::Seed;
use crate::content::Content;
use crate::data::Data;
use crate::directory::{Directory, Found, Names};
use crate::error::{Error, Reason};
use crate::extents::{self, Extents};
use crate::geometry::{BLOCK_BYTES, Geometry, Run};
use crate::inode::{EXTENTS, Inode, Kind, encode_device, encode_time};
use crate::meta::{Device, Meta};
use crate::options::Options;
use crate::reserved;
use crate::table::InodeTable;
use crate::xattr::Xattrs;

pub(crate) const ROOT: u32 = 2;
/// The first that is a file's.
const FIRST: u32 = 11;
/// A path in an error is cut off at the front beyond this many bytes.
const MAX_SHOWN: usize = 4096;

/// A file of the image, whatever its names. Means something to the writer that it came from only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InodeId(pub(crate) u32);

impl InodeId {
    /// The inode number that the file will have.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }
}

/// Writes a file system. See [the crate](crate) for an example.
///
/// After an error other than [`Reason::Write`] the writer is as it was before the call, so that a caller may leave out what
/// can't be written; blocks that a failed call wrote to will be written again or stay unused.
#[derive(Debug)]
pub struct Writer {
    pub(crate) options: Options,
    pub(crate) geometry: Geometry,
    pub(crate) seed: Seed,
    pub(crate) data: Data,
    pub(crate) table: InodeTable,
    pub(crate) directories: BTreeMap<u32, Directory>,
    names: Names,
    /// Of the inodes from `FIRST` on.
    kinds: Vec<Kind>,
    /// Of files with more than one name.
    pub(crate) links: HashMap<u32, u32>,
    /// By group.
    pub(crate) directory_counts: Vec<u32>,
    pub(crate) journal: Inode,
    /// For reading, kept from file to file.
    pub(crate) buffer: Vec<u8>,
    /// The beginning of a block of the content that is being written.
    pub(crate) partial: Vec<u8>,
}

/// Where a new file goes: a free name in a directory.
struct Place<'a> {
    parent: u32,
    name: &'a [u8],
    /// Where the name is found later on.
    key: u64,
    record: u32,
}

impl Writer {
    /// Begins a file system in `file`, which is emptied first, and must be readable and writable.
    ///
    /// # Errors
    ///
    /// [`Reason::Options`] for options that make no sense, [`Reason::Full`] for a file system too small for its journal,
    /// [`Reason::Write`] when the file can't be written.
    pub fn create(file: File, options: Options) -> Result<Self, Error> {
        Self::begin(file, options).map_err(|reason| reason.at(""))
    }

    fn begin(file: File, options: Options) -> Result<Self, Reason> {
        let wrong = |text: &str| Err(Reason::Options(text.into()));
        if options.uuid == [0; 16] {
            return wrong("a UUID of zeros");
        }
        if options.label.len() > 16 || options.label.contains(&0) {
            return wrong("a label of more than 16 bytes, or with a NUL in it");
        }
        if options.reserved_percent > 50 {
            return wrong("more than half of the blocks reserved");
        }
        let geometry = Geometry::new(&options)?;
        // All that is not written has to read as zeros. A file that is empty is not emptied once more: Linux would take that for
        // one that is being replaced, and write all of it to the disk before it is closed.
        let old = file.metadata().map_err(Reason::Write)?.len();
        let emptied = if old > 0 { file.set_len(0) } else { Ok(()) };
        emptied.and_then(|()| file.set_len(geometry.bytes())).map_err(Reason::Write)?;
        let mut writer = Self {
            seed: Seed::of(&options.uuid),
            data: Data::new(file, &geometry),
            table: InodeTable::default(),
            directories: BTreeMap::from([(ROOT, Directory::new(ROOT, 0))]),
            names: Names::default(),
            kinds: Vec::new(),
            links: HashMap::new(),
            directory_counts: vec![0; geometry.groups() as usize],
            journal: Inode::new(0),
            buffer: Vec::new(),
            partial: Vec::new(),
            geometry,
            options,
        };
        writer.journal = reserved::write(&mut writer)?;
        let time = writer.options.time;
        let meta =
            Meta { mode: 0o755, mtime: crate::Time { seconds: time, nanoseconds: 0 }, ..Meta::default() };
        let mut root = Inode::new(Kind::Dir.mode());
        writer.apply(&mut root, &meta, Xattrs::encode(&[])?)?;
        writer.write_inode(ROOT, &root)?;
        writer.count_directory(ROOT);
        Ok(writer)
    }

    /// The root directory: `root:root 0755` with the time of [`Options::time`] until [`Writer::set_meta`] says otherwise.
    #[must_use]
    pub fn root(&self) -> InodeId {
        InodeId(ROOT)
    }

    /// Changes a file's owner, permissions, time and attributes, as if it had been made with these.
    ///
    /// # Errors
    ///
    /// Those of [`Writer::dir`], but for the name's; the path in them is empty unless it is a directory's.
    pub fn set_meta(&mut self, id: InodeId, meta: &Meta<'_>) -> Result<(), Error> {
        let mark = self.data.mark();
        self.change(id, meta).map_err(|reason| {
            self.data.reset(mark);
            reason.at(self.path(id.0))
        })
    }

    fn change(&mut self, id: InodeId, meta: &Meta<'_>) -> Result<(), Reason> {
        if id.0 != ROOT {
            self.kind(id)?;
        }
        let xattrs = meta.encode()?;
        let mut inode = self.read_inode(id.0)?;
        self.apply(&mut inode, meta, xattrs)?;
        self.write_inode(id.0, &inode)
    }

    /// Makes a directory.
    ///
    /// # Errors
    ///
    /// For all that make something: [`Reason::Name`] or [`Reason::Exists`] for the name, [`Reason::NotADirectory`] for the
    /// parent, [`Reason::Mode`], [`Reason::Xattr`] or [`Reason::XattrSpace`] for the metadata, [`Reason::Full`] or
    /// [`Reason::NoInodes`] for want of room, [`Reason::Write`] when the image can't be written.
    pub fn dir(&mut self, parent: InodeId, name: &[u8], meta: &Meta<'_>) -> Result<InodeId, Error> {
        self.make(parent, name, meta, Kind::Dir, |_, _, _| Ok(()))
    }

    /// Makes a regular file of `size` bytes, which are read from `content` to its end. Blocks that are zero take no room.
    ///
    /// # Errors
    ///
    /// As [`Writer::dir`], and [`Reason::FileTooLarge`], [`Reason::ContentShort`], [`Reason::ContentLong`] and
    /// [`Reason::Read`].
    pub fn file(
        &mut self,
        parent: InodeId,
        name: &[u8],
        meta: &Meta<'_>,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<InodeId, Error> {
        self.make(parent, name, meta, Kind::File, |writer, number, inode| {
            let mut to = writer.begin_content(size)?;
            to.read_from(content)?;
            let content = to.end()?;
            writer.hold(&content, number, inode)
        })
    }

    /// Makes a regular file of what was written before.
    ///
    /// # Errors
    ///
    /// As [`Writer::dir`]. The content is discarded then.
    pub fn file_of(
        &mut self,
        parent: InodeId,
        name: &[u8],
        meta: &Meta<'_>,
        content: Content,
    ) -> Result<InodeId, Error> {
        let made = self.make(parent, name, meta, Kind::File, |writer, number, inode| {
            writer.hold(&content, number, inode)
        });
        if made.is_err() {
            self.discard(content)?;
        }
        made
    }

    /// Makes inode `number` that of a content.
    fn hold(&mut self, content: &Content, number: u32, inode: &mut Inode) -> Result<(), Reason> {
        inode.size = content.size();
        inode.flags = EXTENTS;
        let mut extents = Extents::new(self.seed.inode(number));
        for (logical, run) in content.runs() {
            extents.push(logical, run, &mut self.data)?;
        }
        (inode.content, inode.blocks) = extents.finish(&mut self.data)?;
        Ok(())
    }

    /// Makes a symbolic link. Its mode is what `meta` says; 0o777 is what Linux has for all of them.
    ///
    /// # Errors
    ///
    /// As [`Writer::dir`], and [`Reason::Symlink`] for a target that is empty, has a NUL in it, or more than 4095 bytes.
    pub fn symlink(
        &mut self,
        parent: InodeId,
        name: &[u8],
        meta: &Meta<'_>,
        target: &[u8],
    ) -> Result<InodeId, Error> {
        self.make(parent, name, meta, Kind::Symlink, |writer, number, inode| {
            match target.len() as u64 {
                0 => return Err(Reason::Symlink("a symlink to nothing")),
                BLOCK_BYTES.. => return Err(Reason::Symlink("a symlink to more than 4095 bytes")),
                _ if target.contains(&0) => return Err(Reason::Symlink("a symlink with a NUL in it")),
                size => inode.size = size,
            }
            if let Some(place) = inode.content[..59].get_mut(..target.len()) {
                place.copy_from_slice(target);
                return Ok(());
            }
            let mut to = writer.begin_content(inode.size)?;
            to.add(target)?;
            let content = to.end()?;
            writer.hold(&content, number, inode)
        })
    }

    /// Makes a device.
    ///
    /// # Errors
    ///
    /// As [`Writer::dir`], and [`Reason::Device`].
    pub fn device(
        &mut self,
        parent: InodeId,
        name: &[u8],
        meta: &Meta<'_>,
        device: Device,
    ) -> Result<InodeId, Error> {
        let kind = match device {
            Device::Char { .. } => Kind::Char,
            Device::Block { .. } => Kind::Block,
        };
        self.make(parent, name, meta, kind, |_, _, inode| {
            inode.content = encode_device(device)?;
            Ok(())
        })
    }

    /// Makes a named pipe.
    ///
    /// # Errors
    ///
    /// As [`Writer::dir`].
    pub fn fifo(&mut self, parent: InodeId, name: &[u8], meta: &Meta<'_>) -> Result<InodeId, Error> {
        self.make(parent, name, meta, Kind::Fifo, |_, _, _| Ok(()))
    }

    /// Gives a file a further name.
    ///
    /// # Errors
    ///
    /// Those of [`Writer::dir`] for the name, [`Reason::NoSuchInode`], [`Reason::LinkToDirectory`] and
    /// [`Reason::TooManyLinks`].
    pub fn link(&mut self, parent: InodeId, name: &[u8], target: InodeId) -> Result<(), Error> {
        self.add_link(parent, name, target).map_err(|reason| self.reason_at(parent, name, reason))
    }

    fn add_link(&mut self, parent: InodeId, name: &[u8], target: InodeId) -> Result<(), Reason> {
        let place = self.place(parent, name)?;
        if target.0 == ROOT {
            return Err(Reason::LinkToDirectory);
        }
        let kind = self.kind(target)?;
        if kind == Kind::Dir {
            return Err(Reason::LinkToDirectory);
        }
        let links = self.links.entry(target.0).or_insert(1);
        if *links >= MAX_LINKS {
            return Err(Reason::TooManyLinks);
        }
        *links += 1;
        self.enter(&place, target.0, kind);
        Ok(())
    }

    /// What is the same for all that is made: `fill` completes the inode that it is given the number of.
    fn make(
        &mut self,
        parent: InodeId,
        name: &[u8],
        meta: &Meta<'_>,
        kind: Kind,
        fill: impl FnOnce(&mut Self, u32, &mut Inode) -> Result<(), Reason>,
    ) -> Result<InodeId, Error> {
        let mark = self.data.mark();
        self.try_make(parent, name, meta, kind, fill).map_err(|reason| {
            self.data.reset(mark);
            self.reason_at(parent, name, reason)
        })
    }

    fn try_make(
        &mut self,
        parent: InodeId,
        name: &[u8],
        meta: &Meta<'_>,
        kind: Kind,
        fill: impl FnOnce(&mut Self, u32, &mut Inode) -> Result<(), Reason>,
    ) -> Result<InodeId, Reason> {
        let place = self.place(parent, name)?;
        let xattrs = meta.encode()?;
        let number = self.next_inode();
        if number > self.geometry.inodes() {
            return Err(Reason::NoInodes(self.geometry.inodes()));
        }
        let mut inode = Inode::new(kind.mode());
        fill(self, number, &mut inode)?;
        self.apply(&mut inode, meta, xattrs)?;
        self.write_inode(number, &inode)?;
        self.kinds.push(kind);
        self.enter(&place, number, kind);
        if kind == Kind::Dir {
            self.directories.insert(number, Directory::new(parent.0, place.record));
            self.count_directory(number);
        }
        Ok(InodeId(number))
    }

    /// The number of the next inode; all below it are in use.
    pub(crate) fn next_inode(&self) -> u32 {
        // There are never more than the file system has.
        FIRST + self.kinds.len() as u32
    }

    fn kind(&self, id: InodeId) -> Result<Kind, Reason> {
        let index = id.0.checked_sub(FIRST).ok_or(Reason::NoSuchInode)?;
        self.kinds.get(index as usize).copied().ok_or(Reason::NoSuchInode)
    }

    fn place<'a>(&self, parent: InodeId, name: &'a [u8]) -> Result<Place<'a>, Reason> {
        match name {
            b"" => return Err(Reason::Name("an empty name")),
            b"." | b".." => return Err(Reason::Name("a name that each directory has")),
            _ if name.len() > 255 => return Err(Reason::Name("a name of more than 255 bytes")),
            _ if name.contains(&b'/') => return Err(Reason::Name("a name with a slash in it")),
            _ if name.contains(&0) => return Err(Reason::Name("a name with a NUL in it")),
            _ => {}
        }
        let directory = self.directories.get(&parent.0).ok_or(Reason::NotADirectory)?;
        match self.find(parent.0, directory, name) {
            Found::At(_) => Err(Reason::Exists),
            Found::Free(key) => Ok(Place { parent: parent.0, name, key, record: directory.next_record()? }),
        }
    }

    fn find(&self, number: u32, directory: &Directory, name: &[u8]) -> Found {
        let has = |record| directory.entry(record).is_some_and(|entry| entry.name == name);
        self.names.find(number, name, has)
    }

    /// The inode number and kind of a name in the root directory.
    pub(crate) fn in_root(&self, name: &[u8]) -> Option<(u32, Kind)> {
        let directory = self.directories.get(&ROOT)?;
        let Found::At(record) = self.find(ROOT, directory, name) else { return None };
        let inode = directory.entry(record)?.inode;
        Some((inode, self.kind(InodeId(inode)).ok()?))
    }

    fn enter(&mut self, place: &Place<'_>, inode: u32, kind: Kind) {
        if let Some(directory) = self.directories.get_mut(&place.parent) {
            directory.push(inode, kind, place.name);
            self.names.insert(place.key, place.parent, place.record);
        }
    }

    fn count_directory(&mut self, inode: u32) {
        self.directory_counts[((inode - 1) / self.geometry.inodes_per_group) as usize] += 1;
    }

    /// Puts metadata into an inode, and its attributes to where they belong.
    fn apply(&mut self, inode: &mut Inode, meta: &Meta<'_>, xattrs: Xattrs) -> Result<(), Reason> {
        let old = inode.xattr_block;
        inode.mode = inode.mode & 0o170_000 | meta.mode;
        (inode.uid, inode.gid) = (meta.uid, meta.gid);
        inode.time = encode_time(meta.mtime);
        inode.xattrs = xattrs.inline;
        match (old, xattrs.needs_block()) {
            (0, true) => {
                inode.xattr_block = self.data.take_one()?;
                inode.blocks += 1;
            }
            (1.., false) => {
                self.data.free(Run { start: old, len: 1 });
                inode.xattr_block = 0;
                inode.blocks -= 1;
            }
            _ => {}
        }
        match xattrs.into_block(inode.xattr_block, self.seed) {
            Some(block) if old != 0 => self.data.write_again(old, &block[..])?,
            Some(block) => self.data.write(inode.xattr_block, &block[..])?,
            None => {}
        }
        if inode.mode & 0o170_000 == Kind::Dir.mode() {
            // Its content comes in the end.
            inode.flags = EXTENTS;
            inode.content = extents::empty();
        }
        Ok(())
    }

    pub(crate) fn read_inode(&mut self, number: u32) -> Result<Inode, Reason> {
        let raw = self.table.read(self.data.file(), &self.geometry, number).map_err(Reason::Write)?;
        Ok(Inode::decode(&raw))
    }

    pub(crate) fn write_inode(&mut self, number: u32, inode: &Inode) -> Result<(), Reason> {
        let raw = inode.encode(number, self.seed);
        self.table.write(self.data.file(), &self.geometry, number, &raw).map_err(Reason::Write)
    }

    fn reason_at(&self, parent: InodeId, name: &[u8], reason: Reason) -> Error {
        // A name may be too long as well.
        let shown = &name[..name.len().min(MAX_SHOWN)];
        reason.at(format!("{}/{}", self.path(parent.0), String::from_utf8_lossy(shown)))
    }

    /// The path of a directory, without a slash at its end; empty for the root and for what is no directory.
    pub(crate) fn path(&self, directory: u32) -> String {
        let mut names = Vec::new();
        let mut len = 0;
        let mut number = directory;
        while number != ROOT {
            let Some(inner) = self.directories.get(&number) else { break };
            let outer = self.directories.get(&inner.parent);
            let Some(entry) = outer.and_then(|outer| outer.entry(inner.record)) else { break };
            len += entry.name.len() + 1;
            if len > MAX_SHOWN {
                names.push("…".into());
                break;
            }
            names.push(String::from_utf8_lossy(entry.name));
            number = inner.parent;
        }
        names.iter().rev().flat_map(|name| ["/", name]).collect()
    }
}
