//! The inode tables. Inodes are numbered in the order in which they are made, so that a window of some that follow each
//! other gathers most writes; what lies elsewhere is read into it again.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::geometry::{BLOCK_BYTES, Geometry, INODE_SIZE};

/// Inodes in the window.
const WINDOW: u32 = 256;

#[derive(Debug, Default)]
pub(crate) struct InodeTable {
    /// Number of the window's first inode less one; nothing is in the window while it is empty.
    first: u32,
    window: Vec<u8>,
    /// Where the window belongs in the file.
    offset: u64,
    /// Bytes of the window that are to be written.
    dirty: Range<usize>,
}

impl InodeTable {
    pub(crate) fn read(
        &mut self,
        file: &File,
        geometry: &Geometry,
        inode: u32,
    ) -> io::Result<[u8; INODE_SIZE]> {
        let at = self.find(file, geometry, inode)?;
        let mut raw = [0; INODE_SIZE];
        raw.copy_from_slice(&self.window[at..at + INODE_SIZE]);
        Ok(raw)
    }

    pub(crate) fn write(
        &mut self,
        file: &File,
        geometry: &Geometry,
        inode: u32,
        raw: &[u8; INODE_SIZE],
    ) -> io::Result<()> {
        let at = self.find(file, geometry, inode)?;
        self.window[at..at + INODE_SIZE].copy_from_slice(raw);
        self.dirty = match self.dirty.is_empty() {
            true => at..at + INODE_SIZE,
            false => self.dirty.start.min(at)..self.dirty.end.max(at + INODE_SIZE),
        };
        Ok(())
    }

    /// Offset in the window of an inode, which is brought into it.
    fn find(&mut self, file: &File, geometry: &Geometry, inode: u32) -> io::Result<usize> {
        let index = inode - 1;
        let held = (self.window.len() / INODE_SIZE) as u32;
        if index < self.first || index - self.first >= held {
            self.flush(file)?;
            let (group, within) = (index / geometry.inodes_per_group, index % geometry.inodes_per_group);
            let start = within / WINDOW * WINDOW;
            let count = WINDOW.min(geometry.inodes_per_group - start);
            self.offset = geometry.tables[group as usize].inode_table * BLOCK_BYTES
                + u64::from(start) * INODE_SIZE as u64;
            // Empty until it is read, should that fail.
            let mut window = std::mem::take(&mut self.window);
            window.resize(count as usize * INODE_SIZE, 0);
            file.read_exact_at(&mut window, self.offset)?;
            self.window = window;
            self.first = index - (within - start);
        }
        Ok((index - self.first) as usize * INODE_SIZE)
    }

    pub(crate) fn flush(&mut self, file: &File) -> io::Result<()> {
        if !self.dirty.is_empty() {
            file.write_all_at(&self.window[self.dirty.clone()], self.offset + self.dirty.start as u64)?;
            self.dirty = 0..0;
        }
        Ok(())
    }
}
