//! Reads the headers of a tar file that can be sought in: v7, ustar, GNU long names, PAX.
//!
//! Written for hostile input: names are bytes, nothing is allocated by a length that the file merely states, and what
//! is not understood is an error rather than skipped. Contents are left where they are; an entry says where that is.

use std::collections::BTreeMap;
use std::io;

use super::region::Region;

const BLOCK: u64 = 512;

/// The largest extended header (PAX records, a long name) that is read. Linux knows no path beyond 4 KiB, and an
/// xattr value is at most 64 KiB.
const MAX_EXTENDED: u64 = 1 << 20;

/// How much is read at once while going from header to header. Most files of an image are smaller, so a read
/// usually brings the next header as well.
const READ_AHEAD: usize = 16 << 10;

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
    /// Where the content lies in the tar file.
    pub(crate) offset: u64,
    pub(crate) size: u64,
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

/// Goes through the headers of a tar file.
pub(crate) struct Headers {
    region: Region,
    position: u64,
    buffer: Vec<u8>,
    buffer_start: u64,
    buffer_len: usize,
    globals: Pax,
}

type Pax = BTreeMap<Vec<u8>, Vec<u8>>;

impl Headers {
    pub(crate) fn new(region: Region) -> Self {
        Self {
            region,
            position: 0,
            buffer: vec![0; READ_AHEAD],
            buffer_start: 0,
            buffer_len: 0,
            globals: Pax::new(),
        }
    }

    /// How far the walk has come, in bytes.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The next entry, or `None` at the end: a block of zeros, or the end of the file at a header's place.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, TarError> {
        let mut pax = Pax::new();
        let mut long_name = None;
        let mut long_link = None;
        loop {
            let extended = !pax.is_empty() || long_name.is_some() || long_link.is_some();
            let at = self.position;
            let Some(header) = self.header()? else {
                return if extended { Err(TarError::Truncated(at)) } else { Ok(None) };
            };
            if header.iter().all(|&byte| byte == 0) {
                return if extended { Err(TarError::NoHeader(at)) } else { Ok(None) };
            }
            if !checksum_is_right(&header) {
                return Err(TarError::NoHeader(at));
            }
            self.position = at + BLOCK;
            let flag = header[156];
            match flag {
                b'L' => long_name = Some(until_nul(&self.extended(&header)?).to_vec()),
                b'K' => long_link = Some(until_nul(&self.extended(&header)?).to_vec()),
                b'x' => {
                    pax = records(&self.extended(&header)?).map_err(|reason| entry_error(&header, reason))?
                }
                b'g' => {
                    let more =
                        records(&self.extended(&header)?).map_err(|reason| entry_error(&header, reason))?;
                    self.globals.extend(more);
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
        let fail =
            |reason: String| TarError::Entry { path: String::from_utf8_lossy(&path).into_owned(), reason };
        if all.keys().any(|key| key.starts_with(b"GNU.sparse.")) {
            return Err(fail("sparse files are not supported yet".into()));
        }
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
            b'0' | 0 | b'7' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => device().map(|(major, minor)| Kind::Char { major, minor })?,
            b'4' => device().map(|(major, minor)| Kind::Block { major, minor })?,
            b'5' => Kind::Dir,
            b'6' => Kind::Fifo,
            b'S' => return Err(fail("sparse files are not supported yet".into())),
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
            offset: self.position,
            size: 0,
            kind,
            link,
            path: Vec::new(),
        };
        // Only files have content; what others state as their size is not followed by any (as Go's reader, and so
        // docker, has it).
        if entry.kind == Kind::File {
            let size = number("size", b"size", &header[124..136])?;
            entry.size = u64::try_from(size).map_err(|_| fail("negative size".into()))?;
            let end = entry.offset.checked_add(entry.size).filter(|end| *end <= self.region.len());
            let Some(end) = end else {
                return Err(fail(format!(
                    "its {} bytes go beyond the end, {} bytes on",
                    entry.size,
                    self.region.len() - entry.offset
                )));
            };
            // The padding after the last file may be missing.
            self.position = end.div_ceil(BLOCK).saturating_mul(BLOCK).min(self.region.len());
        }
        entry.path = path;
        Ok(entry)
    }

    /// The content of an extended header, whose own header is `header`.
    fn extended(&mut self, header: &[u8; 512]) -> Result<Vec<u8>, TarError> {
        let size = field_number(&header[124..136])
            .and_then(|size| u64::try_from(size).ok())
            .filter(|size| *size <= MAX_EXTENDED)
            .ok_or_else(|| {
                entry_error(header, format!("extended header of more than {MAX_EXTENDED} bytes"))
            })?;
        let Some(content) = self.region.part(self.position, size) else {
            return Err(TarError::Truncated(self.region.len()));
        };
        self.position = (self.position + size).div_ceil(BLOCK) * BLOCK;
        Ok(content.read_all()?)
    }

    /// The block at the current position, `None` at the end.
    fn header(&mut self) -> Result<Option<[u8; 512]>, TarError> {
        let at = self.position;
        if at >= self.region.len() {
            return Ok(None);
        }
        let inside = at >= self.buffer_start && at + BLOCK <= self.buffer_start + self.buffer_len as u64;
        if !inside {
            self.buffer_len = self.region.read_at(&mut self.buffer, at)?;
            self.buffer_start = at;
        }
        let start = (at - self.buffer_start) as usize;
        match self.buffer[..self.buffer_len].get(start..start + BLOCK as usize) {
            Some(block) => {
                let mut header = [0; 512];
                header.copy_from_slice(block);
                Ok(Some(header))
            }
            None => Err(TarError::Truncated(self.region.len())),
        }
    }
}

fn entry_error(header: &[u8; 512], reason: String) -> TarError {
    TarError::Entry { path: String::from_utf8_lossy(&short_name(header)).into_owned(), reason }
}

/// Sum of all bytes with the checksum's own eight taken as spaces. Some old writers summed signed bytes.
fn checksum_is_right(header: &[u8; 512]) -> bool {
    let Some(stated) = field_number(&header[148..156]) else { return false };
    let bytes =
        || header.iter().enumerate().map(|(i, &byte)| if (148..156).contains(&i) { b' ' } else { byte });
    let unsigned: i64 = bytes().map(i64::from).sum();
    let signed: i64 = bytes().map(|byte| i64::from(byte as i8)).sum();
    stated == unsigned || stated == signed
}

/// The name in the header itself; in ustar, what is before it is in a field of its own.
fn short_name(header: &[u8; 512]) -> Vec<u8> {
    let name = until_nul(&header[..100]);
    let prefix = until_nul(&header[345..500]);
    if &header[257..263] == b"ustar\0" && !prefix.is_empty() {
        [prefix, b"/", name].concat()
    } else {
        name.to_vec()
    }
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// A number in octal digits, or in base 256 when the first bit is set. An empty field is 0.
fn field_number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        // Two's complement over the whole field but for the marker bit; bit 6 is the sign.
        let negative = first & 0x40 != 0;
        let mut value: i64 = if negative { i64::from(first) - 256 } else { i64::from(first & 0x3f) };
        for &byte in &field[1..] {
            value = value.checked_mul(256)?.checked_add(i64::from(byte))?;
        }
        return Some(value);
    }
    let digits = until_nul(field).trim_ascii();
    let mut value: i64 = 0;
    for &digit in digits {
        if !(b'0'..=b'7').contains(&digit) {
            return None;
        }
        value = value.checked_mul(8)?.checked_add(i64::from(digit - b'0'))?;
    }
    Some(value)
}

/// The records of a PAX header: `LENGTH KEY=VALUE\n`, the length counting the whole record.
fn records(mut content: &[u8]) -> Result<Pax, String> {
    let bad = || "malformed PAX header".to_owned();
    let mut records = Pax::new();
    while content.first().is_some_and(|&byte| byte != 0) {
        let space = content.iter().position(|&byte| byte == b' ').ok_or_else(bad)?;
        let length = decimal(&content[..space]).and_then(|n| usize::try_from(n).ok()).ok_or_else(bad)?;
        let record = content.get(space + 1..length).ok_or_else(bad)?;
        let record = record.strip_suffix(b"\n").ok_or_else(bad)?;
        let equals = record.iter().position(|&byte| byte == b'=').ok_or_else(bad)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        if matches!(key, b"path" | b"linkpath") && value.contains(&0) {
            return Err("a name with a NUL in it".to_owned());
        }
        records.insert(key.to_vec(), value.to_vec());
        content = &content[length..];
    }
    Ok(records)
}

fn decimal(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A PAX time: seconds since 1970, perhaps with a fraction, perhaps negative.
fn timestamp(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let negative = whole.starts_with('-');
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let nanos: u32 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    if negative && nanos > 0 {
        Some((seconds.checked_sub(1)?, 1_000_000_000 - nanos))
    } else {
        Some((seconds, nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn region(bytes: &[u8]) -> Region {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Region::whole(file).unwrap()
    }

    fn walk(bytes: &[u8]) -> Result<Vec<Entry>, TarError> {
        let mut headers = Headers::new(region(bytes));
        let mut entries = Vec::new();
        while let Some(entry) = headers.next()? {
            entries.push(entry);
        }
        Ok(entries)
    }

    #[test]
    fn numbers_are_octal_or_base_256() {
        assert_eq!(field_number(b"0000644\0"), Some(0o644));
        assert_eq!(field_number(b"   644 \0"), Some(0o644));
        assert_eq!(field_number(b"\0\0\0\0"), Some(0));
        assert_eq!(field_number(b"0008\0"), None);
        assert_eq!(field_number(&[0x80, 0, 0, 0, 0, 0, 1, 0]), Some(256));
        assert_eq!(field_number(&[0xff; 8]), Some(-1));
        assert_eq!(field_number(&[0xbf; 12]), None, "more than 64 bits");
        assert_eq!(
            field_number(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe]),
            Some(-2)
        );
    }

    #[test]
    fn times_have_fractions_and_signs() {
        assert_eq!(timestamp(b"12"), Some((12, 0)));
        assert_eq!(timestamp(b"12.5"), Some((12, 500_000_000)));
        assert_eq!(timestamp(b"12.0000000019"), Some((12, 1)));
        assert_eq!(timestamp(b"-0.25"), Some((-1, 750_000_000)));
        assert_eq!(timestamp(b"-2"), Some((-2, 0)));
        for bad in [&b""[..], b"x", b"1.x", b"1.-5", "1.5\u{e9}".as_bytes(), b"99999999999999999999"] {
            assert_eq!(timestamp(bad), None);
        }
    }

    #[test]
    fn pax_records_are_counted() {
        let good = records(b"12 path=abc\n18 SCHILY.x=a=b\nc\n").unwrap();
        assert_eq!(good[&b"path"[..]], b"abc");
        assert_eq!(good[&b"SCHILY.x"[..]], b"a=b\nc");
        for bad in [
            &b"12 path=abc"[..],
            b"4 a=\n",
            b"x a=b\n",
            b"99 a=b\n",
            b"2 a",
            b"6 ab=\0",
            b"0 a=b\n",
            b"-1 a=b\n",
        ] {
            assert!(records(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
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
        assert_eq!((entries[0].size, entries[0].mode, entries[0].uid), (3, 0o4755, 70_000));
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
