//! Out of the guest as a tar stream: ustar, with PAX records for what does not fit into its headers.

use std::io::{self, Write};

use bottle_protocol::{Copied, CopyPart, Entry, EntryKind};
use bottle_transfer::TransferError;
use tar::{EntryType, Header};

use super::channel::Channel;
use super::{CopyError, CopyOptions};

/// A tar file is made of blocks.
const BLOCK: u64 = 512;

/// The longest name, and link's target, in a header of its own.
const NAME_BYTES: usize = 100;

/// Writes all that comes. Names begin with `name`, or with `.` for the content of a directory.
pub(super) fn receive(
    channel: &mut Channel,
    name: Option<Vec<u8>>,
    tar: impl Write,
    options: &mut CopyOptions<'_>,
) -> Result<Copied, CopyError> {
    let mut out = TarWriter {
        tar,
        name: name.unwrap_or_else(|| b".".to_vec()),
        left: 0,
        padding: 0,
        copied: Copied::default(),
    };
    loop {
        match channel.next()? {
            CopyPart::Entry(entry) => out.entry(&entry)?,
            CopyPart::Content(data) => {
                out.content(&data)?;
                options.report(out.copied);
            }
            CopyPart::End => return out.finish(),
        }
    }
}

struct TarWriter<W> {
    tar: W,
    name: Vec<u8>,
    /// Of the last file's content.
    left: u64,
    padding: u64,
    copied: Copied,
}

impl<W: Write> TarWriter<W> {
    fn entry(&mut self, entry: &Entry) -> Result<(), CopyError> {
        let nonsense = |what| Err(CopyError::Host(TransferError::OutOfOrder(what)));
        if self.left > 0 {
            return nonsense("a file ended before it had as many bytes as it was to have");
        }
        if (self.copied.entries == 0) != entry.path.is_empty() {
            return nonsense("it does not begin at its root, or has two");
        }
        if entry.mtime_ns >= 1_000_000_000 {
            return nonsense("a second has a billion nanoseconds");
        }
        bottle_transfer::check_path(&entry.path)?;
        self.copied.entries += 1;
        if entry.kind == EntryKind::Socket {
            self.copied.sockets += 1;
            return Ok(());
        }
        if let EntryKind::HardLink { target } = &entry.kind {
            bottle_transfer::check_path(target)?;
        }
        self.write_entry(entry).map_err(CopyError::Output)?;
        if let EntryKind::File { size } = entry.kind {
            self.left = size;
            self.padding = (BLOCK - size % BLOCK) % BLOCK;
        }
        Ok(())
    }

    fn write_entry(&mut self, entry: &Entry) -> io::Result<()> {
        let mut header = Header::new_ustar();
        // What has no content has a size all the same: not all readers take an empty field for a number.
        header.set_size(0);
        let mut records = Vec::new();
        let mut path = self.path(&entry.path);
        let mut link = Vec::new();
        let kind = match &entry.kind {
            EntryKind::File { size } => {
                header.set_size(*size);
                EntryType::Regular
            }
            EntryKind::Directory => {
                path.push(b'/');
                EntryType::Directory
            }
            EntryKind::Symlink { target } => {
                link = target.to_vec();
                EntryType::Symlink
            }
            EntryKind::HardLink { target } => {
                link = self.path(target);
                EntryType::Link
            }
            EntryKind::Fifo | EntryKind::Socket => EntryType::Fifo,
            EntryKind::Character { major, minor } | EntryKind::Block { major, minor } => {
                header.set_device_major(*major)?;
                header.set_device_minor(*minor)?;
                let character = matches!(entry.kind, EntryKind::Character { .. });
                if character { EntryType::Char } else { EntryType::Block }
            }
        };
        header.set_entry_type(kind);
        header.set_mode(entry.mode & 0o7777);
        header.set_uid(entry.uid.into());
        header.set_gid(entry.gid.into());
        header.set_mtime(entry.mtime.try_into().unwrap_or(0));
        if entry.mtime < 0 || entry.mtime_ns > 0 {
            records.extend(record("mtime", time(entry).as_bytes()));
        }
        put_name(&mut header.as_mut_bytes()[..NAME_BYTES], "path", &path, &mut records);
        put_name(&mut header.as_mut_bytes()[157..157 + NAME_BYTES], "linkpath", &link, &mut records);
        header.set_cksum();
        if !records.is_empty() {
            let mut extended = Header::new_ustar();
            extended.set_entry_type(EntryType::XHeader);
            extended.set_size(records.len() as u64);
            extended.as_mut_bytes()[..NAME.len()].copy_from_slice(NAME);
            extended.set_mode(0o644);
            extended.set_cksum();
            records.resize(records.len().next_multiple_of(BLOCK as usize), 0);
            self.tar.write_all(extended.as_bytes())?;
            self.tar.write_all(&records)?;
        }
        self.tar.write_all(header.as_bytes())
    }

    fn path(&self, below: &[u8]) -> Vec<u8> {
        if below.is_empty() { self.name.clone() } else { [&self.name, &b"/"[..], below].concat() }
    }

    fn content(&mut self, data: &[u8]) -> Result<(), CopyError> {
        const TOO_MUCH: TransferError = TransferError::OutOfOrder("more content than a file was to have");
        self.left = self.left.checked_sub(data.len() as u64).ok_or(TOO_MUCH)?;
        self.tar.write_all(data).map_err(CopyError::Output)?;
        self.copied.bytes = self.copied.bytes.saturating_add(data.len() as u64);
        if self.left == 0 {
            self.zeros(self.padding).map_err(CopyError::Output)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Copied, CopyError> {
        if self.left > 0 || self.copied.entries == 0 {
            return Err(TransferError::OutOfOrder("it ended before its end").into());
        }
        self.zeros(2 * BLOCK).and_then(|()| self.tar.flush()).map_err(CopyError::Output)?;
        Ok(self.copied)
    }

    fn zeros(&mut self, count: u64) -> io::Result<()> {
        let zeros = [0; 2 * BLOCK as usize];
        self.tar.write_all(zeros.get(..count as usize).unwrap_or(&zeros))
    }
}

/// What an extended header is called; nobody reads it.
const NAME: &[u8] = b"PaxHeaders/0";

/// Puts a name into its field, or what fits of it, and all of it into a record.
fn put_name(field: &mut [u8], key: &str, name: &[u8], records: &mut Vec<u8>) {
    if name.len() > field.len() {
        records.extend(record(key, name));
    }
    let length = name.len().min(field.len());
    field[..length].copy_from_slice(&name[..length]);
}

/// Seconds since 1970, to the nanosecond. Before 1970, the fraction counts away from zero.
fn time(entry: &Entry) -> String {
    match (entry.mtime, entry.mtime_ns) {
        (seconds, 0) => seconds.to_string(),
        (seconds @ 0.., nanos) => format!("{seconds}.{nanos:09}"),
        (seconds, nanos) => format!("-{}.{:09}", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanos),
    }
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself as well.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_count_themselves() {
        assert_eq!(record("path", b"a"), b"9 path=a\n");
        assert_eq!(record("path", b"ab"), b"11 path=ab\n");
        for length in 80..1100 {
            let record = record("path", &vec![b'a'; length]);
            let stated = record.split(|byte| *byte == b' ').next().unwrap();
            assert_eq!(std::str::from_utf8(stated).unwrap().parse(), Ok(record.len()));
        }
    }

    #[test]
    fn times_have_a_sign_and_a_fraction() {
        let at = |mtime, mtime_ns| {
            let kind = EntryKind::Fifo;
            time(&Entry { path: Vec::new().into(), kind, mode: 0, uid: 0, gid: 0, mtime, mtime_ns })
        };
        assert_eq!(at(12, 500_000_000), "12.500000000");
        assert_eq!(at(-1, 750_000_000), "-0.250000000");
        assert_eq!(at(-2, 0), "-2");
        assert_eq!(at(i64::MIN, 1), "-9223372036854775807.999999999");
    }
}
