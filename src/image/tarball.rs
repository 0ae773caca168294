//! Reads a tar file from front to back: v7, ustar, GNU long names and sparse files, PAX.
//!
//! Written for hostile input: names are bytes, nothing is allocated by a length that the file merely states, and what
//! is not understood is an error rather than skipped. A content may be read when its entry has come, or later by its offset.

use std::io::{self, BufRead, Read};

use bytes::Bytes;

use super::header::{
    Pax, checksum_is_right, decimal, field_number, records, short_name, timestamp, until_nul,
};
use super::input::{Input, read_buffered};
use super::sparse::{self, MAX_PARTS, Part, Shape};

const BLOCK: u64 = 512;

/// The largest extended header (PAX records, a long name) that is read. Linux knows no path beyond 4 KiB, and an
/// xattr value is at most 64 KiB.
const MAX_EXTENDED: u64 = 1 << 20;

/// The most that extended headers for all entries (`g`) may say together: each entry has them worked in.
const MAX_GLOBAL: usize = 8 << 10;

/// The largest map of a sparse file before its content: [`MAX_PARTS`] pairs of numbers, in most files of few digits.
const MAX_MAP: u64 = 16 << 20;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Dir,
    Symlink,
    HardLink,
    Char { major: u32, minor: u32 },
    Block { major: u32, minor: u32 },
    Fifo,
}

/// One entry, with the extended headers before it worked in.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) path: Vec<u8>,
    /// Target of a symlink or hard link.
    pub(crate) link: Vec<u8>,
    /// Permission bits with setuid, setgid and sticky.
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds since 1970, and nanoseconds.
    pub(crate) mtime: (i64, u32),
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the stored bytes begin in the tar file.
    pub(crate) offset: u64,
    /// What they become.
    pub(crate) shape: Shape,
}

/// Why a tar file can't be read on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TarError {
    #[error("cut off at byte {0}")]
    Truncated(u64),
    #[error("not a tar header at byte {0}")]
    NoHeader(u64),
    #[error("{path}: {reason}")]
    Entry { path: String, reason: String },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Goes through a tar file.
pub(crate) struct Headers<I> {
    input: I,
    position: u64,
    /// Bytes of the last entry's content that were not read, and its path.
    content: u64,
    path: Vec<u8>,
    globals: Pax,
}

impl<I: Input> Headers<I> {
    pub(crate) fn new(input: I) -> Self {
        Self { input, position: 0, content: 0, path: Vec::new(), globals: Pax::new() }
    }

    /// How far the walk has come, in bytes.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The stored bytes of the entry that came last.
    pub(crate) fn content(&mut self) -> Content<'_, I> {
        Content(self)
    }

    /// The next of the stored bytes; none at their end.
    pub(crate) fn piece(&mut self) -> io::Result<Bytes> {
        let most = usize::try_from(self.content).unwrap_or(usize::MAX);
        if most == 0 {
            return Ok(Bytes::new());
        }
        let piece = self.input.piece(most)?;
        self.content -= piece.len() as u64;
        self.position += piece.len() as u64;
        Ok(piece)
    }

    /// What it was reading from.
    pub(crate) fn into_input(self) -> I {
        self.input
    }

    /// The next entry, or `None` at the end: a block of zeros, or the end of the file at a header's place.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, TarError> {
        self.end_content()?;
        let mut pax = Pax::new();
        let mut long_name = None;
        let mut long_link = None;
        loop {
            let extended = !pax.is_empty() || long_name.is_some() || long_link.is_some();
            let at = self.position;
            let Some(header) = self.block()? else {
                return if extended { Err(TarError::Truncated(at)) } else { Ok(None) };
            };
            if header.iter().all(|&byte| byte == 0) {
                return if extended { Err(TarError::NoHeader(at)) } else { Ok(None) };
            }
            if !checksum_is_right(&header) {
                return Err(TarError::NoHeader(at));
            }
            let fail = |reason| entry_error(&header, reason);
            match header[156] {
                b'L' => long_name = Some(until_nul(&self.extended(&header)?).to_vec()),
                b'K' => long_link = Some(until_nul(&self.extended(&header)?).to_vec()),
                b'x' => pax = records(&self.extended(&header)?).map_err(fail)?,
                b'g' => {
                    let more = records(&self.extended(&header)?).map_err(fail)?;
                    self.globals.extend(more.into_iter().filter(|(key, _)| means_something(key)));
                    let bytes: usize = self.globals.iter().map(|(key, value)| key.len() + value.len()).sum();
                    if bytes > MAX_GLOBAL {
                        return Err(fail(format!("global headers of more than {MAX_GLOBAL} bytes")));
                    }
                }
                _ => return self.entry(&header, pax, long_name, long_link).map(Some),
            }
        }
    }

    fn entry(
        &mut self,
        header: &[u8; 512],
        pax: Pax,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<Entry, TarError> {
        let mut all = self.globals.clone();
        all.extend(pax);
        // An empty value takes a global record back.
        all.retain(|_, value| !value.is_empty());

        let path = all.remove(&b"path"[..]).or(long_name).unwrap_or_else(|| short_name(header));
        // A sparse file's header has a name for those who don't know of such.
        let path = all.remove(&b"GNU.sparse.name"[..]).unwrap_or(path);
        let fail =
            |reason: String| TarError::Entry { path: String::from_utf8_lossy(&path).into_owned(), reason };
        let link = all
            .remove(&b"linkpath"[..])
            .or(long_link)
            .unwrap_or_else(|| until_nul(&header[157..257]).to_vec());
        let number = |what: &str, key: &[u8], field: &[u8]| {
            let value = match all.get(key) {
                Some(text) => decimal(text),
                None => field_number(field),
            };
            value.ok_or_else(|| fail(format!("unreadable {what}")))
        };
        let id = |what: &str, key: &[u8], field: &[u8]| {
            u32::try_from(number(what, key, field)?).map_err(|_| fail(format!("{what} out of range")))
        };
        let device = || -> Result<(u32, u32), TarError> {
            Ok((
                id("device number", b"SCHILY.devmajor", &header[329..337])?,
                id("device number", b"SCHILY.devminor", &header[337..345])?,
            ))
        };
        let kind = match header[156] {
            // In v7 archives a directory is a file whose name ends so.
            b'0' | 0 if path.ends_with(b"/") => Kind::Dir,
            b'0' | 0 | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => device().map(|(major, minor)| Kind::Char { major, minor })?,
            b'4' => device().map(|(major, minor)| Kind::Block { major, minor })?,
            b'5' => Kind::Dir,
            b'6' => Kind::Fifo,
            other => {
                return Err(fail(format!("tar entries of type {:?} are not supported", char::from(other))));
            }
        };
        let mode = field_number(&header[100..108]).ok_or_else(|| fail("unreadable mode".into()))?;
        let mtime = match all.get(&b"mtime"[..]) {
            Some(text) => timestamp(text),
            None => field_number(&header[136..148]).map(|seconds| (seconds, 0)),
        };
        let mut entry = Entry {
            mode: (mode & 0o7777) as u16,
            uid: id("uid", b"uid", &header[108..116])?,
            gid: id("gid", b"gid", &header[116..124])?,
            mtime: mtime.ok_or_else(|| fail("unreadable modification time".into()))?,
            xattrs: all
                .iter()
                .filter_map(|(key, value)| {
                    Some((key.strip_prefix(b"SCHILY.xattr.")?.to_vec(), value.clone()))
                })
                .collect(),
            offset: 0,
            shape: Shape::default(),
            kind,
            link,
            path: Vec::new(),
        };
        // Only files have content; what others state as their size is not followed by any (as Go's reader, and so
        // docker, has it).
        if entry.kind == Kind::File {
            let size = number("size", b"size", &header[124..136])?;
            let size = u64::try_from(size).map_err(|_| fail("negative size".into()))?;
            self.path.clone_from(&path);
            entry.shape = match header[156] {
                b'S' => self.gnu_sparse(header, size)?,
                _ if all.keys().any(|key| key.starts_with(b"GNU.sparse.")) => self.pax_sparse(&all, size)?,
                _ => Shape::whole(size),
            };
            entry.offset = self.position;
            if let Some(left) = self.input.left().filter(|left| *left < entry.shape.stored) {
                return Err(self.content_error(entry.shape.stored, left));
            }
            self.content = entry.shape.stored;
        }
        entry.path = path;
        Ok(entry)
    }

    /// The shape of a file whose map is in the header, and in blocks behind it: numbers of 12 bytes each.
    fn gnu_sparse(&mut self, header: &[u8; 512], stored: u64) -> Result<Shape, TarError> {
        let bad = |path: &[u8]| named(path, "an unreadable sparse map".into());
        let value = |field: &[u8]| field_number(field).and_then(|value| u64::try_from(value).ok());
        let size = value(&header[483..495]).ok_or_else(|| bad(&self.path))?;
        let mut parts: Vec<Part> = Vec::new();
        let mut fields = header[386..482].to_vec();
        let mut more = header[482] != 0;
        loop {
            // The last may be followed by empty ones.
            for pair in fields.chunks_exact(24).take_while(|pair| pair[0] != 0) {
                let part = value(&pair[..12]).zip(value(&pair[12..]));
                parts.push(part.ok_or_else(|| bad(&self.path))?);
            }
            if !more {
                break;
            }
            if parts.len() > MAX_PARTS {
                return Err(named(&self.path, format!("a sparse map of more than {MAX_PARTS} parts")));
            }
            let block = self.block()?.ok_or(TarError::Truncated(self.position))?;
            fields = block[..504].to_vec();
            more = block[504] != 0;
        }
        Shape::sparse(size, stored, parts).map_err(|reason| named(&self.path, reason))
    }

    /// The shape of a file whose map is in PAX records, or before its content.
    fn pax_sparse(&mut self, pax: &Pax, stored: u64) -> Result<Shape, TarError> {
        let record = |key: &str| pax.get(key.as_bytes());
        let bad = |path: &[u8]| named(path, "an unreadable sparse map".into());
        let value = |key: &str| record(key).and_then(|text| sparse::number(text));
        let (parts, size, stored) =
            match (record("GNU.sparse.major").map(Vec::as_slice), record("GNU.sparse.map")) {
                (Some(b"1"), _) => {
                    let before = self.position;
                    let parts = self.map_before_content(stored)?;
                    let left = stored.checked_sub(self.position - before).ok_or_else(|| bad(&self.path))?;
                    (parts, value("GNU.sparse.realsize"), left)
                }
                (None | Some(b"0"), map) => {
                    let map = map.map(Vec::as_slice).unwrap_or_default();
                    let parts = sparse::parse_map(map).map_err(|reason| named(&self.path, reason))?;
                    (parts, value("GNU.sparse.size"), stored)
                }
                _ => return Err(named(&self.path, "a sparse file of an unknown version".into())),
            };
        let size = size.ok_or_else(|| bad(&self.path))?;
        Shape::sparse(size, stored, parts).map_err(|reason| named(&self.path, reason))
    }

    /// A map in lines of one number each: how many parts, then offset and length of each, up to the end of a block.
    fn map_before_content(&mut self, stored: u64) -> Result<Vec<Part>, TarError> {
        let bad = |path: &[u8]| named(path, "an unreadable sparse map".into());
        let mut numbers = Vec::new();
        let mut digits = Vec::new();
        let mut wanted = 1;
        let mut read = 0;
        while numbers.len() < wanted {
            read += BLOCK;
            if read > stored.min(MAX_MAP) {
                return Err(bad(&self.path));
            }
            let block = self.block()?.ok_or(TarError::Truncated(self.position))?;
            for byte in block {
                if byte != b'\n' {
                    digits.push(byte);
                    continue;
                }
                let number = sparse::number(&digits).ok_or_else(|| bad(&self.path))?;
                if numbers.is_empty() {
                    let parts = usize::try_from(number).ok().filter(|parts| *parts <= MAX_PARTS);
                    wanted = 1 + 2 * parts.ok_or_else(|| bad(&self.path))?;
                }
                numbers.push(number);
                digits.clear();
                if numbers.len() == wanted {
                    break;
                }
            }
            if digits.len() > 20 {
                return Err(bad(&self.path));
            }
        }
        Ok(numbers[1..].chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
    }

    /// Leaves out what was not read of the last entry's content, and what fills its last block.
    fn end_content(&mut self) -> Result<(), TarError> {
        let skipped = self.input.skip(self.content)?;
        self.position += skipped;
        if skipped < self.content {
            return Err(self.content_error(self.content, skipped));
        }
        self.content = 0;
        // The padding after the last file may be missing.
        let padding = self.position.next_multiple_of(BLOCK) - self.position;
        self.position += self.input.skip(padding)?;
        Ok(())
    }

    fn content_error(&self, stored: u64, there: u64) -> TarError {
        let reason = format!("its {stored} bytes go beyond the end, {there} bytes on");
        named(&self.path, reason)
    }

    /// The content of an extended header, whose own header is `header`.
    fn extended(&mut self, header: &[u8; 512]) -> Result<Vec<u8>, TarError> {
        let size = field_number(&header[124..136])
            .and_then(|size| u64::try_from(size).ok())
            .filter(|size| *size <= MAX_EXTENDED)
            .ok_or_else(|| {
                entry_error(header, format!("extended header of more than {MAX_EXTENDED} bytes"))
            })?;
        let mut content = Vec::new();
        (&mut self.input).take(size).read_to_end(&mut content)?;
        self.position += content.len() as u64;
        if (content.len() as u64) < size {
            return Err(TarError::Truncated(self.position));
        }
        let padding = self.position.next_multiple_of(BLOCK) - self.position;
        self.position += self.input.skip(padding)?;
        Ok(content)
    }

    /// The next block, `None` at the end.
    fn block(&mut self) -> Result<Option<[u8; 512]>, TarError> {
        let mut block = [0; 512];
        let mut len = 0;
        while len < block.len() {
            match super::input::read(&mut self.input, &mut block[len..])? {
                0 => break,
                more => len += more,
            }
        }
        self.position += len as u64;
        match len {
            0 => Ok(None),
            512 => Ok(Some(block)),
            _ => Err(TarError::Truncated(self.position)),
        }
    }
}

/// What is left of an entry's stored bytes.
pub(crate) struct Content<'a, I>(&'a mut Headers<I>);

impl<I: Input> Read for Content<'_, I> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, out)
    }
}

impl<I: Input> BufRead for Content<'_, I> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let most = usize::try_from(self.0.content).unwrap_or(usize::MAX);
        if most == 0 {
            return Ok(&[]);
        }
        let buffer = self.0.input.fill_buf()?;
        Ok(&buffer[..buffer.len().min(most)])
    }

    fn consume(&mut self, count: usize) {
        self.0.input.consume(count);
        self.0.content -= count as u64;
        self.0.position += count as u64;
    }
}

fn named(path: &[u8], reason: String) -> TarError {
    TarError::Entry { path: String::from_utf8_lossy(path).into_owned(), reason }
}

/// Whether anything here goes by records of this key.
fn means_something(key: &[u8]) -> bool {
    [&b"SCHILY."[..], b"GNU.sparse."].iter().any(|prefix| key.starts_with(prefix))
        || [&b"path"[..], b"linkpath", b"size", b"uid", b"gid", b"mtime"].contains(&key)
}

fn entry_error(header: &[u8; 512], reason: String) -> TarError {
    named(&short_name(header), reason)
}

#[cfg(test)]
mod tests {
    use super::super::region::{READ_AHEAD, Region};
    use super::*;
    use std::io::Write;

    fn region(bytes: &[u8]) -> Region {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Region::whole(file).unwrap()
    }

    fn walk(bytes: &[u8]) -> Result<Vec<Entry>, TarError> {
        let streamed = collect(Headers::new(Stream(bytes)));
        let sought = collect(Headers::new(region(bytes).reader(READ_AHEAD)));
        // By either way the same comes out.
        assert_eq!(streamed.is_ok(), sought.is_ok(), "{streamed:?} {sought:?}");
        if let (Ok(one), Ok(other)) = (&streamed, &sought) {
            assert_eq!(format!("{one:?}"), format!("{other:?}"));
        }
        sought
    }

    struct Stream<'a>(&'a [u8]);

    impl Read for Stream<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            // A few bytes at once, as they may come.
            let len = out.len().min(7);
            self.0.read(&mut out[..len])
        }
    }

    impl BufRead for Stream<'_> {
        fn fill_buf(&mut self) -> io::Result<&[u8]> {
            Ok(self.0)
        }

        fn consume(&mut self, count: usize) {
            self.0.consume(count);
        }
    }

    impl Input for Stream<'_> {}

    fn collect(mut headers: Headers<impl Input>) -> Result<Vec<Entry>, TarError> {
        let mut entries = Vec::new();
        while let Some(entry) = headers.next()? {
            entries.push(entry);
        }
        Ok(entries)
    }

    #[test]
    fn long_names_sizes_and_links_come_through() {
        let long = "d/".repeat(80) + "file";
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        header.set_mode(0o4755);
        header.set_uid(70_000);
        builder.append_data(&mut header, &long, &b"abc"[..]).unwrap();
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        builder.append_link(&mut link, "s", &long).unwrap();
        builder.append_pax_extensions([("mtime", b"5.25".as_slice()), ("path", b"p\xff")]).unwrap();
        let mut plain = tar::Header::new_ustar();
        plain.set_size(0);
        builder.append_data(&mut plain, "hidden-by-pax", &b""[..]).unwrap();
        let entries = walk(&builder.into_inner().unwrap()).unwrap();
        assert_eq!(entries.len(), 3);
        assert_eq!(entries[0].path, long.as_bytes());
        assert_eq!((entries[0].shape.size, entries[0].mode, entries[0].uid), (3, 0o4755, 70_000));
        assert_eq!((&entries[1].kind, &entries[1].link[..]), (&Kind::Symlink, long.as_bytes()));
        assert_eq!((&entries[2].path[..], entries[2].mtime), (&b"p\xff"[..], (5, 250_000_000)));
    }

    #[test]
    fn lies_and_damage_are_errors() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(600);
        builder.append_data(&mut header, "a", &[1u8; 600][..]).unwrap();
        let good = builder.into_inner().unwrap();
        assert_eq!(walk(&good).unwrap().len(), 1);
        assert!(matches!(walk(&good[..1000]), Err(TarError::Entry { .. })));
        assert!(matches!(walk(&good[..300]), Err(TarError::Truncated(_))));
        let mut flipped = good.clone();
        flipped[0] ^= 1;
        assert!(matches!(walk(&flipped), Err(TarError::NoHeader(0))));
        let mut liar = tar::Header::new_gnu();
        liar.as_old_mut().name[0] = b'x';
        liar.set_entry_type(tar::EntryType::GNULongName);
        liar.set_size(1 << 40);
        liar.set_cksum();
        assert!(matches!(walk(liar.as_bytes()), Err(TarError::Entry { .. })));
        assert!(walk(b"not a tar file at all").is_err());
        assert!(walk(b"").unwrap().is_empty());
    }
}
