//! The end: directories, link counts, bitmaps, group descriptors, and last the superblock, without which a file is no
//! file system.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::MAX_LINKS;
use crate::Time;
use crate::checksum::{crc32c, sum_of};
use crate::data::set_bits;
use crate::directory::Directory;
use crate::error::{Error, Reason};
use crate::extents::Extents;
use crate::field::get32;
use crate::geometry::{BLOCK, BLOCK_BYTES, INODES_PER_BLOCK, Run};
use crate::htree::{Blocks, Layout};
use crate::inode::{EXTENTS, INDEX, Kind};
use crate::meta::Meta;
use crate::superblock::{Counts, Group, SUPERBLOCK, descriptor, superblock};
use crate::writer::Writer;

const LOST_FOUND: &[u8] = b"lost+found";
/// The primary superblock leaves room for a boot loader before it.
const SUPERBLOCK_OFFSET: u64 = 1024;

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The size of the file system.
    pub size_bytes: u64,
    /// Bytes that no file has yet.
    pub free_bytes: u64,
    /// Inodes in all.
    pub inodes: u32,
    /// Inodes that no file has yet.
    pub free_inodes: u32,
    /// What [`checksum`](crate::checksum()) says of the image.
    pub checksum: u64,
}

impl Writer {
    /// Completes the file system. Adds `/lost+found` if it is not there. Returns the file, which is not synced.
    ///
    /// # Errors
    ///
    /// [`Reason::LostFound`], [`Reason::DirectoryTooLarge`], [`Reason::Full`],
    /// [`Reason::NoInodes`] and [`Reason::Write`].
    pub fn finish(mut self) -> Result<(File, Summary), Error> {
        match self.in_root(LOST_FOUND) {
            Some((_, Kind::Dir)) => {}
            Some(_) => return Err(Reason::LostFound.at("/lost+found")),
            None => {
                let mtime = Time { seconds: self.options.time, nanoseconds: 0 };
                self.dir(self.root(), LOST_FOUND, &Meta { mode: 0o700, mtime, ..Meta::default() })?;
            }
        }
        let numbers: Vec<_> = self.directories.keys().copied().collect();
        for number in numbers {
            self.write_directory(number).map_err(|reason| reason.at(self.path(number)))?;
        }
        self.write_links().and_then(|()| self.write_groups()).map_err(|reason| reason.at(""))
    }

    fn write_directory(&mut self, number: u32) -> Result<(), Reason> {
        let Some(directory) = self.directories.get(&number) else { return Ok(()) };
        let hash_seed = [0, 4, 8, 12].map(|at| get32(&self.options.hash_seed, at));
        let layout = Layout::of(directory, hash_seed)?;
        let seed = self.seed.inode(number);
        let of = Blocks { directory, inode: number, seed };
        let mut extents = Extents::new(seed);
        let mut block = [0; BLOCK];
        for index in 0..layout.blocks() {
            layout.fill(index, &of, &mut block);
            let run = self.data.take(1)?;
            self.data.write(run.start, &block)?;
            extents.push(index, run, &mut self.data)?;
        }
        let (content, taken) = extents.finish(&mut self.data)?;
        let links = link_count(directory);
        let mut inode = self.read_inode(number)?;
        inode.size = layout.blocks() * BLOCK_BYTES;
        inode.blocks += taken;
        inode.content = content;
        inode.links = links;
        inode.flags = EXTENTS | if layout.is_indexed() { INDEX } else { 0 };
        self.write_inode(number, &inode)
    }

    fn write_links(&mut self) -> Result<(), Reason> {
        let mut links: Vec<_> = std::mem::take(&mut self.links).into_iter().collect();
        links.sort_unstable();
        for (number, links) in links {
            let mut inode = self.read_inode(number)?;
            inode.links = links as u16;
            self.write_inode(number, &inode)?;
        }
        Ok(())
    }

    fn write_groups(mut self) -> Result<(File, Summary), Reason> {
        let used_inodes = self.next_inode() - 1;
        self.table.flush(self.data.file()).map_err(Reason::Write)?;
        let geometry = &self.geometry;
        let (mut data, used) = self.data.into_used();
        let mut free_blocks = 0;
        let mut descriptors = Vec::new();
        let mut tables_in_use = vec![Run { start: 0, len: 1 }];
        for (group, (&tables, &directories)) in
            (0u32..).zip(geometry.tables.iter().zip(&self.directory_counts))
        {
            let blocks = geometry.group(group);
            let (bitmap, free) = used.bitmap(blocks);
            free_blocks += u64::from(free);
            // The kernel can tell what is used in a group which has its head only, but that checkers want the last one's.
            let plain = blocks.len - u64::from(free) == geometry.head(group) && group + 1 < geometry.groups();
            let mut state = Group {
                tables,
                free_blocks: free,
                free_inodes: geometry.inodes_per_group,
                unused_inodes: geometry.inodes_per_group,
                directories,
                block_bitmap: None,
                inode_bitmap: None,
            };
            if !plain || used.has_data(blocks) {
                data.write(tables.block_bitmap, &bitmap)?;
                state.block_bitmap = Some(crc32c(self.seed.global(), &bitmap));
            }
            let before = group * geometry.inodes_per_group;
            let here = used_inodes.saturating_sub(before).min(geometry.inodes_per_group);
            if here > 0 {
                let len = u64::from(here.div_ceil(INODES_PER_BLOCK));
                tables_in_use.push(Run { start: tables.inode_table, len });
                let mut bitmap = [0; BLOCK];
                set_bits(&mut bitmap, 0, here as usize);
                set_bits(&mut bitmap, geometry.inodes_per_group as usize, 8 * BLOCK);
                data.write(tables.inode_bitmap, &bitmap)?;
                let part = &bitmap[..geometry.inodes_per_group as usize / 8];
                state.inode_bitmap = Some(crc32c(self.seed.global(), part));
                state.free_inodes -= here;
                state.unused_inodes -= here;
            }
            descriptors.extend_from_slice(&descriptor(&state, group, self.seed));
        }
        descriptors.resize(descriptors.len().next_multiple_of(BLOCK), 0);
        let metadata: u64 = geometry.metadata.iter().map(|run| run.len).sum();
        let counts = Counts {
            free_blocks,
            free_inodes: geometry.inodes() - used_inodes,
            overhead: metadata + self.journal.blocks,
            bytes_written: (geometry.blocks - free_blocks - metadata) * BLOCK_BYTES,
        };
        let of = |group| superblock(&self.options, geometry, &self.journal, &counts, group);
        for group in geometry.copies() {
            let start = geometry.group(group).start;
            let mut block = [0; BLOCK];
            block[..SUPERBLOCK].copy_from_slice(&of(group));
            data.write(start, &block)?;
            data.write(start + 1, &descriptors)?;
        }
        data.write(1, &descriptors)?;
        let (file, sum) = data.into_file()?;
        file.write_all_at(&of(0), SUPERBLOCK_OFFSET).map_err(Reason::Write)?;
        let checksum = match sum {
            // What was not written by way of `data`: the superblock, and the inodes.
            Some(sum) => tables_in_use
                .iter()
                .map(|run| sum_in(&file, *run))
                .try_fold(sum, |sum, part| Ok(sum.wrapping_add(part?))),
            None => crate::checksum(&file),
        }
        .map_err(Reason::Write)?;
        let summary = Summary {
            size_bytes: geometry.bytes(),
            free_bytes: free_blocks * BLOCK_BYTES,
            inodes: geometry.inodes(),
            free_inodes: counts.free_inodes,
            checksum,
        };
        Ok((file, summary))
    }
}

/// The part of the checksum that some blocks have.
fn sum_in(file: &File, run: Run) -> std::io::Result<u64> {
    let mut bytes = vec![0; (run.len * BLOCK_BYTES) as usize];
    file.read_exact_at(&mut bytes, run.start * BLOCK_BYTES)?;
    Ok(sum_of(run.start, &bytes))
}

/// `.` in itself, its name in its parent, `..` in each subdirectory; 1 where that is more than can be counted
/// (`dir_nlink`).
fn link_count(directory: &Directory) -> u16 {
    match directory.subdirectories.saturating_add(2) {
        links if links > MAX_LINKS => 1,
        links => links as u16,
    }
}
