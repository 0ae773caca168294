//! A file's content, from a reader to the data area.

use std::io::{ErrorKind, Read};

use crate::data::Data;
use crate::error::Reason;
use crate::extents::Extents;
use crate::geometry::{BLOCK, BLOCK_BYTES, Run};

/// As much is read at once.
const CHUNK: usize = 1 << 20;

/// Writes all of `content`, which must be of `size` bytes. Returns the inode's `i_block` and how many blocks were taken.
/// `seed` is the inode's checksum seed; `buffer` is kept from file to file.
pub(crate) fn write(
    data: &mut Data,
    buffer: &mut Vec<u8>,
    seed: u32,
    size: u64,
    content: &mut dyn Read,
) -> Result<([u8; 60], u64), Reason> {
    let mut extents = Extents::new(seed);
    let mut done = 0;
    while done < size {
        let want = (size - done).min(CHUNK as u64) as usize;
        let padded = want.next_multiple_of(BLOCK);
        if buffer.len() < padded {
            buffer.resize(padded, 0);
        }
        let got = fill(content, &mut buffer[..want])?;
        if got < want {
            return Err(Reason::ContentShort { got: done + got as u64, size });
        }
        buffer[want..padded].fill(0);
        write_chunk(data, &mut extents, done / BLOCK_BYTES, &buffer[..padded])?;
        done += want as u64;
    }
    if fill(content, &mut [0])? > 0 {
        return Err(Reason::ContentLong(size));
    }
    extents.finish(data)
}

/// Writes what is not zero of `chunk`, whole blocks from number `first` of the file on.
fn write_chunk(data: &mut Data, extents: &mut Extents, first: u64, chunk: &[u8]) -> Result<(), Reason> {
    let mut rest = chunk;
    let mut logical = first;
    while !rest.is_empty() {
        let holes = rest.chunks_exact(BLOCK).take_while(|block| is_zero(block)).count();
        rest = &rest[holes * BLOCK..];
        logical += holes as u64;
        let mut left = rest.chunks_exact(BLOCK).take_while(|block| !is_zero(block)).count() as u64;
        while left > 0 {
            let run: Run = data.take(left)?;
            let (now, later) = rest.split_at(run.len as usize * BLOCK);
            data.write(run.start, now)?;
            extents.push(logical, run, data)?;
            rest = later;
            logical += run.len;
            left -= run.len;
        }
    }
    Ok(())
}

fn is_zero(block: &[u8]) -> bool {
    // One call of memcmp, which ends at the first byte that differs: for most blocks at once.
    static ZEROS: [u8; BLOCK] = [0; BLOCK];
    block == ZEROS
}

/// Reads until `buffer` is full or the content ends.
fn fill(content: &mut dyn Read, buffer: &mut [u8]) -> Result<usize, Reason> {
    let mut got = 0;
    while got < buffer.len() {
        match content.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(count) if count > buffer.len() - got => {
                let lie = "the reader returned more than it was asked for";
                return Err(Reason::Read(std::io::Error::new(ErrorKind::InvalidData, lie)));
            }
            Ok(count) => got += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Reason::Read(error)),
        }
    }
    Ok(got)
}
