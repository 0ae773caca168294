//! Tar entries. Fields are where POSIX's ustar has them:
//!
//! ```text
//! 0 name 100 mode 108 uid 116 gid 124 size 136 mtime 148 checksum 156 type 157 link 257 magic 265 … 329 major 337 minor 345
//! ```

use std::ops::Range;

const BLOCK: usize = 512;
/// What a tar file ends with.
pub(crate) const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// One entry, with the extended headers before it.
#[derive(Clone)]
pub(crate) struct Entry {
    before: Vec<u8>,
    pax: Vec<(Vec<u8>, Vec<u8>)>,
    header: [u8; BLOCK],
    content: Vec<u8>,
}

impl Entry {
    /// `name` and `link` as far as they fit into the header: see [`Entry::long`] and [`Entry::pax`] for more.
    pub(crate) fn new(kind: u8, name: impl AsRef<[u8]>, link: impl AsRef<[u8]>) -> Self {
        let mut entry = Self { before: vec![], pax: vec![], header: [0; BLOCK], content: vec![] };
        entry.header[156] = kind;
        entry.put(0..100, name.as_ref());
        entry.put(157..257, link.as_ref());
        entry.put(257..265, b"ustar\x0000");
        let mode = if kind == b'5' { 0o755 } else { 0o644 };
        entry.mode(mode).owner(0, 0).mtime(1_000_000_000).size(0).device(0, 0)
    }

    pub(crate) fn file(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        Self::new(b'0', name, "").content(content.as_ref())
    }

    pub(crate) fn dir(name: impl AsRef<[u8]>) -> Self {
        Self::new(b'5', name, "")
    }

    pub(crate) fn symlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self::new(b'2', name, target)
    }

    pub(crate) fn hard_link(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self::new(b'1', name, target)
    }

    pub(crate) fn fifo(name: impl AsRef<[u8]>) -> Self {
        Self::new(b'6', name, "")
    }

    pub(crate) fn char(name: impl AsRef<[u8]>, major: u64, minor: u64) -> Self {
        Self::new(b'3', name, "").device(major, minor)
    }

    pub(crate) fn block(name: impl AsRef<[u8]>, major: u64, minor: u64) -> Self {
        Self::new(b'4', name, "").device(major, minor)
    }

    /// An entry of GNU's that gives the next one a name (`L`) or a link's target (`K`) of any length.
    pub(crate) fn long(kind: u8, name: impl AsRef<[u8]>) -> Self {
        Self::new(kind, "././@LongLink", "").content(&[name.as_ref(), b"\0"].concat())
    }

    /// A PAX header by itself, for the next entry (`x`) or all that follow (`g`), with this content.
    pub(crate) fn extended(kind: u8, content: &[u8]) -> Self {
        Self::new(kind, "PaxHeaders/x", "").content(content)
    }

    pub(crate) fn content(mut self, content: &[u8]) -> Self {
        self.content = content.to_vec();
        self.size(content.len() as u64)
    }

    pub(crate) fn mode(self, mode: u32) -> Self {
        self.number(100..108, mode.into())
    }

    pub(crate) fn owner(self, uid: u64, gid: u64) -> Self {
        self.number(108..116, uid).number(116..124, gid)
    }

    /// What the header says, whatever follows it.
    pub(crate) fn size(self, size: u64) -> Self {
        self.number(124..136, size)
    }

    pub(crate) fn mtime(self, seconds: u64) -> Self {
        self.number(136..148, seconds)
    }

    pub(crate) fn device(self, major: u64, minor: u64) -> Self {
        self.number(329..337, major).number(337..345, minor)
    }

    /// GNU's own form of a header: what ustar has from 345 on means something else.
    pub(crate) fn gnu(self) -> Self {
        self.field(257..265, b"ustar  \0")
    }

    /// A record in a PAX header before the entry.
    pub(crate) fn pax(mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.pax.push((key.as_ref().to_vec(), value.as_ref().to_vec()));
        self
    }

    /// Another entry before this one, and before its PAX header.
    pub(crate) fn after(mut self, other: &Self) -> Self {
        self.before.extend(other.bytes());
        self
    }

    /// These bytes in the header.
    pub(crate) fn field(mut self, at: Range<usize>, bytes: &[u8]) -> Self {
        self.header[at.clone()].fill(0);
        self.put(at, bytes);
        self
    }

    /// In octal digits, or in base 256 where they don't suffice.
    pub(crate) fn number(self, at: Range<usize>, value: u64) -> Self {
        let digits = at.len() - 1;
        if value < 1 << (3 * digits) {
            return self.field(at, format!("{value:0digits$o}").as_bytes());
        }
        let mut bytes = vec![0; at.len()];
        bytes[0] = 0x80;
        let low = value.to_be_bytes();
        let n = low.len().min(at.len() - 1);
        let start = at.len() - n;
        bytes[start..].copy_from_slice(&low[low.len() - n..]);
        self.field(at, &bytes)
    }

    fn put(&mut self, at: Range<usize>, bytes: &[u8]) {
        let field = &mut self.header[at];
        let n = bytes.len().min(field.len());
        field[..n].copy_from_slice(&bytes[..n]);
    }

    /// As it stands in a tar file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.before.clone();
        if !self.pax.is_empty() {
            bytes.extend(Self::extended(b'x', &pax_records(&self.pax)).bytes());
        }
        let mut header = self.header;
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        bytes.extend(header);
        bytes.extend(&self.content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }
}

/// `LENGTH KEY=VALUE\n`, one after the other.
pub(crate) fn pax_records<K: AsRef<[u8]>, V: AsRef<[u8]>>(records: &[(K, V)]) -> Vec<u8> {
    let mut all = Vec::new();
    for (key, value) in records {
        let (key, value) = (key.as_ref(), value.as_ref());
        let rest = key.len() + value.len() + 3;
        // The length counts its own digits.
        let length = (1..).map(|digits| rest + digits).find(|n| n.to_string().len() == n - rest).unwrap();
        all.extend(format!("{length} ").into_bytes());
        all.extend([key, b"=", value, b"\n"].concat());
    }
    all
}

/// A whole tar file.
pub(crate) fn tarball(entries: impl IntoIterator<Item = Entry>) -> Vec<u8> {
    let mut tar: Vec<u8> = entries.into_iter().flat_map(|entry| entry.bytes()).collect();
    tar.extend(END);
    tar
}
