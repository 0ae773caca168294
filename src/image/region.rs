//! A part of a file that is read at will: a layer within an archive, a decompressed layer, a file's content.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::input::{Input, read_buffered};

/// How much is read at once while going from header to header of a tar file. Most files of an image are smaller, so a read
/// usually brings the next header as well.
pub(crate) const READ_AHEAD: usize = 16 << 10;

/// `len` bytes of a file from `start` on. Never reads outside them.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    file: Arc<File>,
    start: u64,
    len: u64,
}

impl Region {
    /// The whole of `file` as it is now.
    pub(crate) fn whole(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self { file: Arc::new(file), start: 0, len })
    }

    /// `len` bytes from `offset` on, if they are all in here.
    pub(crate) fn part(&self, offset: u64, len: u64) -> Option<Self> {
        let end = offset.checked_add(len)?;
        (end <= self.len).then(|| Self { file: Arc::clone(&self.file), start: self.start + offset, len })
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Reads at `offset` as far as there is something, up to the length of `buf`.
    pub(crate) fn read_at(&self, mut buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        if buf.len() > left {
            buf = &mut buf[..left];
        }
        let mut done = 0;
        while done < buf.len() {
            match self.file.read_at(&mut buf[done..], self.start + offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// All of it, for what is known to be small.
    pub(crate) fn read_all(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader(64 << 10).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// From start to end, with a buffer of `capacity` bytes. A file that became shorter meanwhile is an error.
    pub(crate) fn reader(&self, capacity: usize) -> RegionReader {
        let capacity = capacity.min(usize::try_from(self.len).unwrap_or(usize::MAX)).max(1);
        RegionReader { region: self.clone(), position: 0, buffer: vec![0; capacity], filled: 0, used: 0 }
    }
}

/// Reads a [`Region`] from start to end.
pub(crate) struct RegionReader {
    region: Region,
    position: u64,
    buffer: Vec<u8>,
    filled: usize,
    used: usize,
}

impl Read for RegionReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, out)
    }
}

impl BufRead for RegionReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used == self.filled && self.position < self.region.len {
            self.used = 0;
            self.filled = 0;
            self.filled = self.region.read_at(&mut self.buffer, self.position)?;
            if self.filled == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.position += self.filled as u64;
        }
        Ok(&self.buffer[self.used..self.filled])
    }

    fn consume(&mut self, count: usize) {
        self.used = self.filled.min(self.used + count);
    }
}

impl Input for RegionReader {
    fn skip(&mut self, count: u64) -> io::Result<u64> {
        let buffered = (self.filled - self.used) as u64;
        if count <= buffered {
            self.used += count as usize;
            return Ok(count);
        }
        self.used = self.filled;
        let beyond = (count - buffered).min(self.region.len - self.position);
        self.position += beyond;
        Ok(buffered + beyond)
    }

    fn left(&self) -> Option<u64> {
        Some((self.filled - self.used) as u64 + (self.region.len - self.position))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn a_part_ends_where_it_ends() {
        let region = Region::whole(file(b"0123456789")).unwrap();
        let part = region.part(2, 5).unwrap();
        assert_eq!(part.read_all().unwrap(), b"23456");
        assert_eq!(part.part(1, 4).unwrap().read_all().unwrap(), b"3456");
        assert!(part.part(1, 5).is_none());
        assert!(part.part(u64::MAX, 2).is_none());
        let mut out = Vec::new();
        part.reader(2).read_to_end(&mut out).unwrap();
        assert_eq!(out, b"23456");
        assert_eq!(part.read_at(&mut [0; 4], 9).unwrap(), 0);
    }

    #[test]
    fn a_file_that_shrinks_is_an_error() {
        let file = file(&[7; 100]);
        let other = file.try_clone().unwrap();
        let region = Region::whole(file).unwrap();
        other.set_len(50).unwrap();
        assert!(region.read_all().is_err());
    }
}
