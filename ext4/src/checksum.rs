//! CRC-32C as ext4 uses it: without the inversion at either end, so that a checksum is the seed of the next part.
//!
//! Each checksum begins with that of the file system's UUID; what belongs to an inode goes on with its number and
//! generation, so that a block written to a wrong place is noticed.

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
