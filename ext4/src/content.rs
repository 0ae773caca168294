//! A file's content, on its way to the data area. It may be written before it is known whose it is, or whether it will be
//! anyone's.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::MAX_FILE;
use crate::checksum::is_zero;
use crate::data::{Data, Mark};
use crate::error::{Error, Reason};
use crate::geometry::{BLOCK, BLOCK_BYTES, Run};
use crate::writer::Writer;

/// As much is read at once.
const CHUNK: usize = 1 << 20;

/// What was written by a [`ContentWriter`], to become one file's by [`Writer::file_of`] or nobody's by [`Writer::discard`].
/// Belongs to the writer that it comes from. If neither is done with it, its blocks count as used.
pub struct Content {
    size: u64,
    /// In the order of the file: which block of the file is the first of each run.
    runs: Box<[(u32, Run)]>,
}

impl Content {
    /// The size of the file, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Where in the image it lies, in bytes, in the order of the file; what is between is zero.
    pub fn ranges(&self) -> impl Iterator<Item = Range<u64>> {
        self.runs.iter().map(|(_, run)| run.start * BLOCK_BYTES..run.end() * BLOCK_BYTES)
    }

    pub(crate) fn runs(&self) -> impl Iterator<Item = (u64, Run)> {
        self.runs.iter().map(|(logical, run)| (u64::from(*logical), *run))
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} bytes in {} runs)", self.size, self.runs.len())
    }
}

/// Takes a content of a known size piece by piece. Dropped before [`ContentWriter::finish`], it gives back what it took.
#[derive(Debug)]
pub struct ContentWriter<'w> {
    writer: &'w mut Writer,
    size: u64,
    /// Bytes so far, those of a block that is not complete included.
    at: u64,
    runs: Vec<(u32, Run)>,
    /// Where to go back to.
    mark: Option<Mark>,
}

impl Writer {
    /// Begins a content of `size` bytes. Blocks that are zero take no room.
    ///
    /// # Errors
    ///
    /// [`Reason::FileTooLarge`].
    pub fn content(&mut self, size: u64) -> Result<ContentWriter<'_>, Error> {
        self.begin_content(size).map_err(|reason| reason.at(""))
    }

    pub(crate) fn begin_content(&mut self, size: u64) -> Result<ContentWriter<'_>, Reason> {
        if size > MAX_FILE {
            return Err(Reason::FileTooLarge(size));
        }
        self.partial.clear();
        let mark = Some(self.data.mark());
        Ok(ContentWriter { writer: self, size, at: 0, runs: Vec::new(), mark })
    }

    /// Reads a content back.
    ///
    /// # Errors
    ///
    /// When what was written can't be completed; the reader's own errors are those of the file.
    pub fn read<'a>(&'a mut self, content: &'a Content) -> io::Result<impl Read + 'a> {
        let file = self.data.written()?;
        Ok(ReadBack { file, content, run: 0, at: 0 })
    }

    /// Writes a content like one that there is, for another file.
    ///
    /// # Errors
    ///
    /// [`Reason::Full`] and [`Reason::Write`].
    pub fn copy(&mut self, content: &Content) -> Result<Content, Error> {
        let mut runs = Vec::new();
        let mark = self.data.mark();
        let copied = content.runs().try_for_each(|(logical, run)| self.copy_run(logical, run, &mut runs));
        copied.map_err(|reason| {
            self.data.reset(mark);
            reason.at("")
        })?;
        Ok(Content { size: content.size, runs: runs.into_boxed_slice() })
    }

    fn copy_run(&mut self, logical: u64, run: Run, runs: &mut Vec<(u32, Run)>) -> Result<(), Reason> {
        let blocks = (CHUNK / BLOCK) as u64;
        for start in (0..run.len).step_by(CHUNK / BLOCK) {
            let mut bytes = vec![0; (blocks.min(run.len - start) * BLOCK_BYTES) as usize];
            let file = self.data.written().map_err(Reason::Write)?;
            file.read_exact_at(&mut bytes, (run.start + start) * BLOCK_BYTES).map_err(Reason::Write)?;
            write_blocks(&mut self.data, runs, logical + start, &bytes)?;
        }
        Ok(())
    }

    /// Gives the room of a content back to the file system, and, where it can, to the host's.
    ///
    /// # Errors
    ///
    /// [`Reason::Write`].
    pub fn discard(&mut self, content: Content) -> Result<(), Error> {
        let done = content.runs.iter().try_for_each(|(_, run)| self.data.discard(*run));
        done.map_err(|reason| reason.at(""))
    }
}

struct ReadBack<'a> {
    file: &'a File,
    content: &'a Content,
    /// The run that `at` lies in or before.
    run: usize,
    /// The place in the content.
    at: u64,
}

impl Read for ReadBack<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.content.size - self.at;
        let out_len = usize::try_from(left).unwrap_or(usize::MAX).min(out.len());
        let out = &mut out[..out_len];
        let (hole_end, run) = loop {
            match self.content.runs.get(self.run) {
                None => break (self.content.size, None),
                Some((logical, run)) => {
                    let start = u64::from(*logical) * BLOCK_BYTES;
                    let end = start + run.len * BLOCK_BYTES;
                    if self.at < end {
                        break (start, Some((start, end, run.start * BLOCK_BYTES)));
                    }
                    self.run += 1;
                }
            }
        };
        let got = match run {
            Some((start, end, place)) if self.at >= start => {
                let most = usize::try_from(end - self.at).unwrap_or(usize::MAX).min(out.len());
                self.file.read_at(&mut out[..most], place + (self.at - start))?
            }
            _ => {
                let most = usize::try_from(hole_end - self.at).unwrap_or(usize::MAX).min(out.len());
                out[..most].fill(0);
                most
            }
        };
        self.at += got as u64;
        Ok(got)
    }
}

impl ContentWriter<'_> {
    /// Adds bytes.
    ///
    /// # Errors
    ///
    /// [`Reason::ContentLong`], [`Reason::Full`] and [`Reason::Write`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.add(bytes).map_err(|reason| reason.at(""))
    }

    /// Adds as many zeros, at no cost.
    ///
    /// # Errors
    ///
    /// As [`ContentWriter::write`].
    pub fn skip(&mut self, count: u64) -> Result<(), Error> {
        self.add_zeros(count).map_err(|reason| reason.at(""))
    }

    /// Ends the content.
    ///
    /// # Errors
    ///
    /// [`Reason::ContentShort`] when there are fewer bytes than announced, [`Reason::Full`] and [`Reason::Write`].
    pub fn finish(self) -> Result<Content, Error> {
        self.end().map_err(|reason| reason.at(""))
    }

    pub(crate) fn add(&mut self, mut bytes: &[u8]) -> Result<(), Reason> {
        if bytes.len() as u64 > self.size - self.at {
            return Err(Reason::ContentLong(self.size));
        }
        if !self.writer.partial.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - self.writer.partial.len()));
            self.writer.partial.extend_from_slice(now);
            self.at += now.len() as u64;
            bytes = later;
            if self.writer.partial.len() == BLOCK {
                self.write_partial()?;
            }
        }
        let (whole, rest) = bytes.split_at(bytes.len() / BLOCK * BLOCK);
        if !whole.is_empty() {
            write_blocks(&mut self.writer.data, &mut self.runs, self.at / BLOCK_BYTES, whole)?;
        }
        self.writer.partial.extend_from_slice(rest);
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn add_zeros(&mut self, count: u64) -> Result<(), Reason> {
        if count > self.size - self.at {
            return Err(Reason::ContentLong(self.size));
        }
        let mut left = count;
        if !self.writer.partial.is_empty() {
            let here = left.min((BLOCK - self.writer.partial.len()) as u64);
            let len = self.writer.partial.len() + here as usize;
            self.writer.partial.resize(len, 0);
            self.at += here;
            left -= here;
            if len == BLOCK {
                self.write_partial()?;
            }
        }
        self.at += left;
        self.writer.partial.resize(self.writer.partial.len() + (left % BLOCK_BYTES) as usize, 0);
        Ok(())
    }

    pub(crate) fn end(mut self) -> Result<Content, Reason> {
        if self.at < self.size {
            return Err(Reason::ContentShort { got: self.at, size: self.size });
        }
        if !self.writer.partial.is_empty() {
            self.writer.partial.resize(BLOCK, 0);
            self.at = self.at.next_multiple_of(BLOCK_BYTES);
            self.write_partial()?;
        }
        self.mark = None;
        Ok(Content { size: self.size, runs: std::mem::take(&mut self.runs).into_boxed_slice() })
    }

    /// Writes the gathered block, which ends at `at`.
    fn write_partial(&mut self) -> Result<(), Reason> {
        let logical = self.at / BLOCK_BYTES - 1;
        write_blocks(&mut self.writer.data, &mut self.runs, logical, &self.writer.partial)?;
        self.writer.partial.clear();
        Ok(())
    }

    /// All of `content`, which must end where the announced size does.
    pub(crate) fn read_from(&mut self, content: &mut dyn Read) -> Result<(), Reason> {
        let mut buffer = std::mem::take(&mut self.writer.buffer);
        let done = self.copy(content, &mut buffer);
        self.writer.buffer = buffer;
        done
    }

    fn copy(&mut self, content: &mut dyn Read, buffer: &mut Vec<u8>) -> Result<(), Reason> {
        while self.at < self.size {
            let want = (self.size - self.at).min(CHUNK as u64) as usize;
            if buffer.len() < want {
                buffer.resize(want, 0);
            }
            let got = fill(content, &mut buffer[..want])?;
            if got < want {
                return Err(Reason::ContentShort { got: self.at + got as u64, size: self.size });
            }
            self.add(&buffer[..want])?;
        }
        if fill(content, &mut [0])? > 0 {
            return Err(Reason::ContentLong(self.size));
        }
        Ok(())
    }
}

impl Drop for ContentWriter<'_> {
    fn drop(&mut self) {
        if let Some(mark) = self.mark.take() {
            self.writer.data.reset(mark);
        }
    }
}

/// Writes what is not zero of `bytes`, whole blocks from number `first` of the file on.
fn write_blocks(data: &mut Data, runs: &mut Vec<(u32, Run)>, first: u64, bytes: &[u8]) -> Result<(), Reason> {
    let mut rest = bytes;
    let mut logical = first;
    while !rest.is_empty() {
        let holes = rest.chunks_exact(BLOCK).take_while(|block| is_zero(block)).count();
        rest = &rest[holes * BLOCK..];
        logical += holes as u64;
        let mut left = rest.chunks_exact(BLOCK).take_while(|block| !is_zero(block)).count() as u64;
        while left > 0 {
            let run = data.take(left)?;
            let (now, later) = rest.split_at(run.len as usize * BLOCK);
            data.write(run.start, now)?;
            match runs.last_mut() {
                Some((start, last)) if u64::from(*start) + last.len == logical && last.end() == run.start => {
                    last.len += run.len;
                }
                // A file has fewer blocks than 32 bits can count.
                _ => runs.push((logical as u32, run)),
            }
            rest = later;
            logical += run.len;
            left -= run.len;
        }
    }
    Ok(())
}

/// Reads until `buffer` is full or the content ends.
fn fill(content: &mut dyn Read, buffer: &mut [u8]) -> Result<usize, Reason> {
    let mut got = 0;
    while got < buffer.len() {
        match content.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(count) if count > buffer.len() - got => {
                let lie = "the reader returned more than it was asked for";
                return Err(Reason::Read(io::Error::new(ErrorKind::InvalidData, lie)));
            }
            Ok(count) => got += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Reason::Read(error)),
        }
    }
    Ok(got)
}
