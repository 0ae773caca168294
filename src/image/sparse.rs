//! Sparse files in tar: a map says where the bytes that are stored belong; between them are zeros.
//!
//! ```text
//! map       (0, 4096) (1048576, 10)        offset and length of each part, in order
//! stored    4106 bytes                     the parts, one after the other
//! the file  4096 bytes, zeros, 10 bytes at 1048576, zeros to its size
//! ```
//!
//! GNU tar writes the map in four ways (tar's manual, "Storing Sparse Files"): into the header and blocks behind it (type
//! `S`), into PAX records of their own (0.0), into one PAX record (0.1), or before the content (1.0).

use std::io::{self, BufRead};

/// As many parts as are taken of one file; each takes 16 bytes of memory.
pub(crate) const MAX_PARTS: usize = 1 << 20;

/// What a file's stored bytes become.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The size of the file.
    pub(crate) size: u64,
    /// Bytes that are stored.
    pub(crate) stored: u64,
    /// Where they belong; without a map, they are the file.
    map: Option<Box<[Part]>>,
}

/// Offset in the file, and length.
pub(crate) type Part = (u64, u64);

/// Takes a file's content piece by piece.
pub(crate) trait Sink {
    type Error;
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;
    fn zeros(&mut self, count: u64) -> Result<(), Self::Error>;
}

/// Why a content did not arrive.
#[derive(Debug)]
pub(crate) enum CopyError<E> {
    Read(io::Error),
    Short,
    Sink(E),
}

impl Shape {
    /// A file all of whose bytes are stored.
    pub(crate) fn whole(size: u64) -> Self {
        Self { size, stored: size, map: None }
    }

    /// A file of `size` bytes of which the parts are stored. The error says what is wrong with the map.
    pub(crate) fn sparse(size: u64, stored: u64, parts: Vec<Part>) -> Result<Self, String> {
        let mut end = 0;
        let mut sum = 0_u64;
        for &(offset, len) in &parts {
            if offset < end {
                return Err("a sparse map whose parts overlap".into());
            }
            end = offset
                .checked_add(len)
                .filter(|end| *end <= size)
                .ok_or("a sparse map that goes beyond its file")?;
            sum += len;
        }
        if sum != stored {
            return Err(format!("a sparse map of {sum} bytes where {stored} are stored"));
        }
        let map = parts.into_iter().filter(|(_, len)| *len > 0).collect();
        Ok(Self { size, stored, map: Some(map) })
    }

    /// How many parts its map has.
    pub(crate) fn parts(&self) -> usize {
        self.map.as_deref().map_or(0, <[Part]>::len)
    }

    /// Gives the file to `sink`, its stored bytes being the next of `input`.
    pub(crate) fn copy<S: Sink>(
        &self,
        input: &mut dyn BufRead,
        sink: &mut S,
    ) -> Result<(), CopyError<S::Error>> {
        let whole = [(0, self.stored)];
        let mut at = 0;
        for &(offset, len) in self.map.as_deref().unwrap_or(&whole) {
            if offset > at {
                sink.zeros(offset - at).map_err(CopyError::Sink)?;
            }
            at = offset + len;
            let mut left = len;
            while left > 0 {
                let here = input.fill_buf().map_err(CopyError::Read)?;
                let now = usize::try_from(left).unwrap_or(usize::MAX).min(here.len());
                if now == 0 {
                    return Err(CopyError::Short);
                }
                sink.bytes(&here[..now]).map_err(CopyError::Sink)?;
                input.consume(now);
                left -= now as u64;
            }
        }
        if self.size > at {
            sink.zeros(self.size - at).map_err(CopyError::Sink)?;
        }
        Ok(())
    }
}

/// The numbers of a map in PAX records: offset and length by turns, between commas.
pub(crate) fn parse_map(text: &[u8]) -> Result<Vec<Part>, String> {
    let bad = || "an unreadable sparse map".to_owned();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let numbers: Vec<u64> =
        text.split(|&byte| byte == b',').map(number).collect::<Option<_>>().ok_or_else(bad)?;
    let pairs = numbers.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return Err(bad());
    }
    Ok(pairs.map(|pair| (pair[0], pair[1])).collect())
}

/// A number in decimal digits.
pub(crate) fn number(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    struct Memory(Vec<u8>);

    impl Sink for Memory {
        type Error = Infallible;
        fn bytes(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }
        fn zeros(&mut self, count: u64) -> Result<(), Infallible> {
            self.0.resize(self.0.len() + count as usize, 0);
            Ok(())
        }
    }

    fn expand(shape: &Shape, mut stored: &[u8]) -> Vec<u8> {
        let mut sink = Memory(Vec::new());
        shape.copy(&mut stored, &mut sink).unwrap();
        assert!(stored.is_empty());
        sink.0
    }

    #[test]
    fn parts_are_put_where_they_belong() {
        assert_eq!(expand(&Shape::whole(3), b"abc"), b"abc");
        let shape = Shape::sparse(9, 3, parse_map(b"2,2,5,0,6,1").unwrap()).unwrap();
        assert_eq!(expand(&shape, b"abc"), b"\0\0ab\0\0c\0\0");
        assert_eq!(expand(&Shape::sparse(2, 0, Vec::new()).unwrap(), b""), b"\0\0");
        let short = Shape::whole(3).copy(&mut &b"ab"[..], &mut Memory(Vec::new()));
        assert!(matches!(short, Err(CopyError::Short)));
    }

    #[test]
    fn maps_that_lie_are_refused() {
        for (size, stored, parts) in [
            (10, 5, vec![(0, 3), (2, 2)]),
            (10, 3, vec![(8, 3)]),
            (10, 2, vec![(u64::MAX, 2)]),
            (10, 4, vec![(0, 3)]),
            (10, 2, vec![(4, 1), (0, 1)]),
        ] {
            assert!(Shape::sparse(size, stored, parts.clone()).is_err(), "{parts:?}");
        }
        for map in ["1", "1,", ",", "1,2,3", "-1,2", "a,b", "+1,2", "1,99999999999999999999"] {
            assert!(parse_map(map.as_bytes()).is_err(), "{map}");
        }
    }
}
