//! The data area: blocks are given out from the front to the back, around what is no file's, and written in that order.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::checksum::sum_of;
use crate::error::Reason;
use crate::geometry::{BLOCK, BLOCK_BYTES, Geometry, Run};
use crate::hole;

/// Writes of less than this are gathered.
const GATHER: usize = 128 << 10;
/// As much is gathered before it is written.
const BUFFER: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct Data {
    output: Output,
    /// What is not for files, in order; those before `next` lie behind the cursor.
    metadata: Vec<Run>,
    next: usize,
    /// All blocks before it are in use, but for `freed`.
    cursor: u64,
    end: u64,
    freed: Vec<Run>,
}

/// How far the data area was filled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    next: usize,
    cursor: u64,
}

impl Data {
    pub(crate) fn new(file: File, geometry: &Geometry) -> Self {
        Self {
            output: Output { file, buffer: Vec::with_capacity(BUFFER), buffer_at: 0, checksum: Some(0) },
            metadata: geometry.metadata.clone(),
            next: 0,
            cursor: 0,
            end: geometry.blocks,
            freed: Vec::new(),
        }
    }

    pub(crate) fn file(&self) -> &File {
        &self.output.file
    }

    /// The file, with all in it that was written.
    pub(crate) fn written(&mut self) -> io::Result<&File> {
        self.output.write_out()?;
        Ok(&self.output.file)
    }

    /// Takes up to `want` consecutive blocks, at least one.
    pub(crate) fn take(&mut self, want: u64) -> Result<Run, Reason> {
        let mut limit = self.end;
        while let Some(run) = self.metadata.get(self.next) {
            if self.cursor < run.start {
                limit = run.start;
                break;
            }
            self.cursor = self.cursor.max(run.end());
            self.next += 1;
        }
        let len = want.min(limit.saturating_sub(self.cursor));
        if len == 0 {
            return Err(Reason::Full(self.end * BLOCK_BYTES));
        }
        let start = self.cursor;
        self.cursor += len;
        Ok(Run { start, len })
    }

    pub(crate) fn take_one(&mut self) -> Result<u64, Reason> {
        Ok(self.take(1)?.start)
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { next: self.next, cursor: self.cursor }
    }

    /// Gives back all blocks taken since `mark`. What was written there meanwhile means nothing.
    pub(crate) fn reset(&mut self, mark: Mark) {
        if self.cursor != mark.cursor {
            self.output.checksum = None;
        }
        self.next = mark.next;
        self.cursor = mark.cursor;
    }

    /// Gives back blocks that are not the last.
    pub(crate) fn free(&mut self, blocks: Run) {
        self.freed.push(blocks);
    }

    /// Gives back blocks that were written, and makes them zero where that is cheap.
    pub(crate) fn discard(&mut self, blocks: Run) -> Result<(), Reason> {
        self.free(blocks);
        self.output.discard(blocks).map_err(Reason::Write)
    }

    /// Writes whole blocks from block number `block` on.
    pub(crate) fn write(&mut self, block: u64, bytes: &[u8]) -> Result<(), Reason> {
        self.output.write(block, bytes)
    }

    /// Writes a block that was written before.
    pub(crate) fn write_again(&mut self, block: u64, bytes: &[u8]) -> Result<(), Reason> {
        self.output.checksum = None;
        self.output.write(block, bytes)
    }

    /// Ends the giving out of blocks.
    pub(crate) fn into_used(mut self) -> (Output, Used) {
        self.freed.sort_unstable_by_key(|run| run.start);
        (self.output, Used { metadata: self.metadata, cursor: self.cursor, freed: self.freed })
    }
}

/// The file, behind a buffer that gathers small writes which follow each other.
#[derive(Debug)]
pub(crate) struct Output {
    file: File,
    /// Bytes that belong at `buffer_at` in the file.
    buffer: Vec<u8>,
    buffer_at: u64,
    /// The sum so far, as [`crate::checksum()`] has it; none once a block may have been written twice.
    checksum: Option<u64>,
}

impl Output {
    /// Writes whole blocks from block number `block` on.
    pub(crate) fn write(&mut self, block: u64, bytes: &[u8]) -> Result<(), Reason> {
        if let Some(sum) = &mut self.checksum {
            *sum = sum.wrapping_add(sum_of(block, bytes));
        }
        let at = block * BLOCK_BYTES;
        let follows = at == self.buffer_at + self.buffer.len() as u64;
        if !follows || self.buffer.len() + bytes.len() > BUFFER || bytes.len() >= GATHER {
            self.flush()?;
        }
        if bytes.len() >= GATHER {
            return self.file.write_all_at(bytes, at).map_err(Reason::Write);
        }
        if self.buffer.is_empty() {
            self.buffer_at = at;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn discard(&mut self, blocks: Run) -> io::Result<()> {
        self.write_out()?;
        let mut chunk = Run { len: 0, ..blocks };
        let mut bytes = Vec::new();
        let mut sum = self.checksum;
        while chunk.end() < blocks.end() {
            chunk = Run {
                start: chunk.end(),
                len: (blocks.end() - chunk.end()).min(BUFFER as u64 / BLOCK_BYTES),
            };
            bytes.resize((chunk.len * BLOCK_BYTES) as usize, 0);
            self.file.read_exact_at(&mut bytes, chunk.start * BLOCK_BYTES)?;
            sum = sum.map(|sum| sum.wrapping_sub(sum_of(chunk.start, &bytes)));
        }
        if hole::punch(&self.file, blocks.start * BLOCK_BYTES, blocks.len * BLOCK_BYTES)? {
            self.checksum = sum;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Reason> {
        self.write_out().map_err(Reason::Write)
    }

    fn write_out(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.file.write_all_at(&self.buffer, self.buffer_at)?;
            self.buffer.clear();
        }
        Ok(())
    }

    /// The file, with all that was written, and the sum of that.
    pub(crate) fn into_file(mut self) -> Result<(File, Option<u64>), Reason> {
        self.flush()?;
        Ok((self.file, self.checksum))
    }
}

/// Which blocks are in use in the end.
#[derive(Debug)]
pub(crate) struct Used {
    metadata: Vec<Run>,
    cursor: u64,
    freed: Vec<Run>,
}

impl Used {
    /// Whether files reach into a group.
    pub(crate) fn has_data(&self, group: Run) -> bool {
        self.cursor > group.start
    }

    /// The bitmap of a group, and how many blocks are free in it.
    pub(crate) fn bitmap(&self, group: Run) -> ([u8; BLOCK], u32) {
        let mut bitmap = [0; BLOCK];
        let data = Run { start: 0, len: self.cursor };
        let first = self.metadata.partition_point(|run| run.end() <= group.start);
        let metadata = self.metadata[first..].iter().take_while(|run| run.start < group.end());
        for run in std::iter::once(&data).chain(metadata) {
            let start = run.start.max(group.start);
            let end = run.end().min(group.end());
            if start < end {
                set_bits(&mut bitmap, (start - group.start) as usize, (end - group.start) as usize);
            }
        }
        let first = self.freed.partition_point(|run| run.end() <= group.start);
        for run in self.freed[first..].iter().take_while(|run| run.start < group.end()) {
            for block in run.start.max(group.start)..run.end().min(group.end()) {
                let bit = (block - group.start) as usize;
                bitmap[bit / 8] &= !(1 << (bit % 8));
            }
        }
        let used: u32 = bitmap.iter().map(|byte| byte.count_ones()).sum();
        // What lies beyond the end of the file system counts as used, but is not there.
        set_bits(&mut bitmap, group.len as usize, 8 * BLOCK);
        (bitmap, group.len as u32 - used)
    }
}

/// Sets the bits from `start` up to before `end`.
pub(crate) fn set_bits(bitmap: &mut [u8], start: usize, end: usize) {
    let mut bit = start;
    while bit < end {
        if bit.is_multiple_of(8) && end - bit >= 8 {
            let bytes = (end - bit) / 8;
            bitmap[bit / 8..bit / 8 + bytes].fill(0xff);
            bit += 8 * bytes;
        } else {
            bitmap[bit / 8] |= 1 << (bit % 8);
            bit += 1;
        }
    }
}
