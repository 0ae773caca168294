//! Bytes that are read from front to back: a part of a file, or what other threads send.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};
use std::sync::mpsc::sync_channel;

use bytes::{Buf, Bytes, BytesMut};

/// How much is read or unpacked at once.
pub(crate) const CHUNK: usize = 256 << 10;
/// Chunks under way between two threads: with the largest, 4 MiB.
pub(crate) const DEPTH: usize = 16;

/// What a tar file is read from.
pub(crate) trait Input: BufRead {
    /// Leaves out `count` bytes, or all that are left if that is fewer. Returns how many.
    fn skip(&mut self, count: u64) -> io::Result<u64> {
        let mut left = count;
        while left > 0 {
            let here = self.fill_buf()?.len();
            if here == 0 {
                break;
            }
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(here);
            self.consume(now);
            left -= now as u64;
        }
        Ok(count - left)
    }

    /// The next bytes, at most `most`; none at the end.
    fn piece(&mut self, most: usize) -> io::Result<Bytes> {
        let here = self.fill_buf()?;
        let piece = Bytes::copy_from_slice(&here[..here.len().min(most)]);
        self.consume(piece.len());
        Ok(piece)
    }

    /// How many bytes there are still, where that is known.
    fn left(&self) -> Option<u64> {
        None
    }
}

/// Bytes that come in pieces of any size but none.
pub(crate) trait Chunks {
    /// The next piece, `None` at the end.
    fn next(&mut self) -> io::Result<Option<Bytes>>;
}

/// Pieces of what a reader gives. Memory that nobody needs any more is used again.
pub(crate) struct Pieces<R> {
    from: R,
    given: VecDeque<Bytes>,
}

impl<R: Read> Pieces<R> {
    pub(crate) fn of(from: R) -> Self {
        Self { from, given: VecDeque::new() }
    }

    fn buffer(&mut self) -> BytesMut {
        match self.given.pop_front().map(Bytes::try_into_mut) {
            Some(Ok(mut buffer)) => {
                buffer.resize(CHUNK, 0);
                buffer
            }
            Some(Err(in_use)) => {
                self.given.push_front(in_use);
                BytesMut::zeroed(CHUNK)
            }
            None => BytesMut::zeroed(CHUNK),
        }
    }
}

impl<R: Read> Chunks for Pieces<R> {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        let mut buffer = self.buffer();
        let len = read(&mut self.from, &mut buffer)?;
        buffer.truncate(len);
        let piece = buffer.freeze();
        self.given.push_back(piece.clone());
        Ok((len > 0).then_some(piece))
    }
}

/// Pieces that come from an iterator, such as that of a channel.
pub(crate) struct Sent<I>(pub(crate) I);

impl<I: Iterator<Item = io::Result<Bytes>>> Chunks for Sent<I> {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        self.0.by_ref().find(|piece| !piece.as_ref().is_ok_and(Bytes::is_empty)).transpose()
    }
}

/// Has the pieces fetched on a thread of its own, which ends when nobody wants more.
pub(crate) fn fetch_ahead(
    mut chunks: impl Chunks + Send + 'static,
) -> io::Result<impl Chunks + Send + 'static> {
    let (send, fetched) = sync_channel(DEPTH);
    let fetch = move || {
        while let Some(piece) = chunks.next().transpose() {
            let failed = piece.is_err();
            if send.send(piece).is_err() || failed {
                break;
            }
        }
    };
    std::thread::Builder::new().spawn(fetch)?;
    Ok(Sent(fetched.into_iter()))
}

/// One call of `read` that was not interrupted.
pub(crate) fn read(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// `read` for what has its bytes in a buffer.
pub(crate) fn read_buffered(from: &mut impl BufRead, out: &mut [u8]) -> io::Result<usize> {
    let buffer = from.fill_buf()?;
    let len = buffer.len().min(out.len());
    out[..len].copy_from_slice(&buffer[..len]);
    from.consume(len);
    Ok(len)
}

/// Reads pieces as one.
pub(crate) struct ChunkReader<C> {
    chunks: C,
    current: Bytes,
}

impl<C: Chunks> ChunkReader<C> {
    pub(crate) fn new(chunks: C) -> Self {
        Self { chunks, current: Bytes::new() }
    }

    /// The next `count` bytes, fewer at the end. They stay to be read.
    pub(crate) fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        while self.current.len() < count {
            let Some(more) = self.chunks.next()? else { break };
            self.current = match self.current.is_empty() {
                true => more,
                false => [&self.current[..], &more].concat().into(),
            };
        }
        Ok(&self.current[..self.current.len().min(count)])
    }
}

impl<C: Chunks> Chunks for ChunkReader<C> {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        match self.current.is_empty() {
            true => self.chunks.next(),
            false => Ok(Some(std::mem::take(&mut self.current))),
        }
    }
}

impl<C: Chunks> Read for ChunkReader<C> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, out)
    }
}

impl<C: Chunks> BufRead for ChunkReader<C> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.current.is_empty()
            && let Some(chunk) = self.chunks.next()?
        {
            self.current = chunk;
        }
        Ok(&self.current)
    }

    fn consume(&mut self, count: usize) {
        self.current.advance(count.min(self.current.len()));
    }
}

impl<C: Chunks> Input for ChunkReader<C> {
    fn piece(&mut self, most: usize) -> io::Result<Bytes> {
        let len = self.fill_buf()?.len().min(most);
        Ok(self.current.split_to(len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct List(std::vec::IntoIter<io::Result<&'static [u8]>>);

    impl Chunks for List {
        fn next(&mut self) -> io::Result<Option<Bytes>> {
            self.0.next().map(|piece| piece.map(Bytes::from_static)).transpose()
        }
    }

    fn reader(pieces: Vec<io::Result<&'static [u8]>>) -> ChunkReader<List> {
        ChunkReader::new(List(pieces.into_iter()))
    }

    #[test]
    fn pieces_are_read_and_left_out_as_one() {
        let mut reader = reader(vec![Ok(b"01"), Ok(b"2"), Ok(b"34567"), Ok(b"89")]);
        assert_eq!(reader.peek(4).unwrap(), b"0123");
        let mut three = [0; 3];
        reader.read_exact(&mut three).unwrap();
        assert_eq!(&three, b"012");
        assert_eq!(reader.skip(3).unwrap(), 3);
        assert_eq!(reader.piece(1).unwrap(), "6");
        assert_eq!(reader.piece(100).unwrap(), "7");
        assert_eq!(reader.peek(100).unwrap(), b"89");
        assert_eq!(reader.skip(100).unwrap(), 2);
        assert_eq!(reader.fill_buf().unwrap(), b"");
    }

    #[test]
    fn an_error_comes_where_it_arose() {
        let mut reader = reader(vec![Ok(b"ab"), Err(io::Error::other("broken"))]);
        assert_eq!(reader.skip(2).unwrap(), 2);
        assert_eq!(reader.skip(1).unwrap_err().to_string(), "broken");
    }
}
