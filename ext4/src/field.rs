//! Integers in their places within a record. ext4 is little-endian; its journal is big-endian and not written by these.

pub(crate) fn put16(record: &mut [u8], at: usize, value: u16) {
    record[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

pub(crate) fn put32(record: &mut [u8], at: usize, value: u32) {
    record[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

pub(crate) fn put64(record: &mut [u8], at: usize, value: u64) {
    record[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// The lower 32 bits at `low`, the upper ones at `high`.
pub(crate) fn put_split(record: &mut [u8], low: usize, high: usize, value: u64) {
    put32(record, low, value as u32);
    put32(record, high, (value >> 32) as u32);
}

/// The lower 16 bits at `low`, the upper ones at `high`.
pub(crate) fn put_halves(record: &mut [u8], low: usize, high: usize, value: u32) {
    put16(record, low, value as u16);
    put16(record, high, (value >> 16) as u16);
}

pub(crate) fn get16(record: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([record[at], record[at + 1]])
}

pub(crate) fn get32(record: &[u8], at: usize) -> u32 {
    u32::from(get16(record, at)) | u32::from(get16(record, at + 2)) << 16
}
