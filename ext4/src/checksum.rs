//! CRC-32C as ext4 uses it: without the inversion at either end, so that a checksum is the seed of the next part.
//!
//! Each checksum begins with that of the file system's UUID; what belongs to an inode goes on with its number and
//! generation, so that a block written to a wrong place is noticed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::SeekFrom;

use crate::geometry::{BLOCK, BLOCK_BYTES};

/// As much is read at once.
const SUM_CHUNK: usize = 1 << 20;

/// The checksum of nothing.
pub(crate) const START: u32 = !0;

/// The checksum of what gave `seed`, followed by `bytes`.
pub(crate) fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    // The crate inverts before and after.
    !crc32c::crc32c_append(!seed, bytes)
}

/// The seeds of one file system's checksums.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed(u32);

impl Seed {
    pub(crate) fn of(uuid: &[u8; 16]) -> Self {
        Self(crc32c(START, uuid))
    }

    /// For what belongs to the file system as a whole.
    pub(crate) fn global(self) -> u32 {
        self.0
    }

    /// For what belongs to inode number `inode`. All generations are 0 here.
    pub(crate) fn inode(self, inode: u32) -> u32 {
        crc32c(crc32c(self.0, &inode.to_le_bytes()), &0u32.to_le_bytes())
    }
}

/// The checksum of a whole image, to notice that it was damaged: the sum (modulo 2^64) over all blocks of 4096 bytes that are
/// not zero of the CRC-32C of their number (64 bits, little-endian) and their bytes. Holes cost nothing.
/// [`Summary::checksum`](crate::Summary) is the one that an image has when it is made.
///
/// # Errors
///
/// When the file can't be read.
pub fn checksum(image: &File) -> io::Result<u64> {
    let len = image.metadata()?.len();
    let mut buffer = vec![0; SUM_CHUNK];
    let mut sum = 0_u64;
    let mut at = 0;
    while at < len {
        at = match rustix::fs::seek(image, SeekFrom::Data(at)) {
            // Holes end where any of it does, which need not be at a block.
            Ok(data) => data / BLOCK_BYTES * BLOCK_BYTES,
            Err(rustix::io::Errno::NXIO) => break,
            // A file system that does not tell holes from data.
            Err(_) => at,
        };
        let end = match rustix::fs::seek(image, SeekFrom::Hole(at)) {
            Ok(hole) => hole.next_multiple_of(BLOCK_BYTES).min(len),
            Err(_) => len,
        };
        while at < end {
            let want = (end - at).min(SUM_CHUNK as u64) as usize;
            image.read_exact_at(&mut buffer[..want], at)?;
            // What is behind the last whole block is no file system's.
            sum = sum.wrapping_add(sum_of(at / BLOCK_BYTES, &buffer[..want]));
            at += want as u64;
        }
    }
    Ok(sum)
}

/// The sum over whole blocks, from number `first` on.
pub(crate) fn sum_of(first: u64, bytes: &[u8]) -> u64 {
    let part = |(number, block): (u64, &[u8])| match is_zero(block) {
        true => 0,
        false => u64::from(crc32c(crc32c(START, &number.to_le_bytes()), block)),
    };
    (first..).zip(bytes.chunks_exact(BLOCK)).map(part).fold(0, u64::wrapping_add)
}

/// Whether a block has nothing but zeros.
pub(crate) fn is_zero(block: &[u8]) -> bool {
    // One call of memcmp, which ends at the first byte that differs: for most blocks at once.
    static ZEROS: [u8; BLOCK] = [0; BLOCK];
    block == ZEROS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_crc32c() {
        // RFC 3720's parameters give e3069283 for this string; ours is the inverse.
        assert_eq!(crc32c(START, b"123456789"), !0xe306_9283);
        assert_eq!(crc32c(crc32c(START, b"1234"), b"56789"), !0xe306_9283);
        assert_eq!(crc32c(7, b""), 7);
    }
}
