//! Images of whatever a generator of numbers comes up with, refused calls among it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "also outside of test functions, this is all test")]

mod common;

use bottle_ext4::{Content, Device, Error, Meta, Options, Reason, Time, Writer};
use common::{image, options};

/// xorshift64
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn bytes(&mut self, len: u64) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }

    fn xattrs(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let prefixes = ["user.", "trusted.", "security.", "system.", "user."];
        let count = if self.below(3) == 0 { self.below(6) } else { 0 };
        (0..count)
            .map(|_| {
                let mut name = prefixes[self.below(5) as usize].as_bytes().to_vec();
                let len = self.below(20);
                name.extend(self.bytes(len));
                let len = [0, 5, 60, 300, 2000][self.below(5) as usize];
                (name, self.bytes(len))
            })
            .collect()
    }
}

fn fill(writer: &mut Writer, numbers: &mut Numbers, calls: u64) -> u64 {
    let mut dirs = vec![writer.root()];
    let mut all = dirs.clone();
    let mut contents = Vec::new();
    let mut refused = 0;
    for _ in 0..calls {
        let parent = match numbers.below(8) {
            0 => all[numbers.below(all.len() as u64) as usize],
            _ => dirs[numbers.below(dirs.len() as u64) as usize],
        };
        let len = [1, 1, 2, 9, 30, 255, 256][numbers.below(7) as usize];
        let name = numbers.bytes(len);
        let xattrs = numbers.xattrs();
        let meta = Meta {
            mode: numbers.below(0o10_100) as u16,
            uid: numbers.0 as u32,
            gid: (numbers.0 >> 32) as u32,
            mtime: Time { seconds: numbers.below(1 << 33) as i64 - (1 << 31), nanoseconds: numbers.0 as u32 },
            xattrs: &xattrs,
        };
        let target = all[numbers.below(all.len() as u64) as usize];
        let made = match numbers.below(12) {
            0 | 1 => writer.dir(parent, &name, &meta).inspect(|&id| dirs.push(id)).map(Some),
            2..4 => {
                let pattern = numbers.below(5);
                let magnitude = numbers.below(16);
                let size = numbers.below(32 << magnitude);
                let mut content: Vec<u8> = (0..size).map(|at| ((at >> 12) % (pattern + 1)) as u8).collect();
                match numbers.below(10) {
                    0 => content.push(1),
                    1 => drop(content.pop()),
                    _ => {}
                }
                writer.file(parent, &name, &meta, size, &mut &content[..]).map(Some)
            }
            4 => {
                let len = [0, 10, 59, 60, 300, 4095, 4096][numbers.below(7) as usize];
                writer.symlink(parent, &name, &meta, &vec![b'x'; len]).map(Some)
            }
            5 => {
                let (major, minor) = (numbers.below(1 << 13) as u32, numbers.below(1 << 20) as u32);
                writer.device(parent, &name, &meta, Device::Block { major, minor }).map(Some)
            }
            6 => writer.fifo(parent, &name, &meta).map(Some),
            7 => writer.set_meta(target, &meta).map(|()| None),
            8 => writer.link(parent, &name, target).map(|()| None),
            9 => pieces(writer, numbers).map(|content| contents.extend(content)).map(|()| None),
            10 => match contents.pop() {
                Some(content) => writer.file_of(parent, &name, &meta, content).map(Some),
                None => continue,
            },
            _ => match contents.pop() {
                Some(content) => writer.discard(content).map(|()| None),
                None => continue,
            },
        };
        match made {
            Ok(id) => all.extend(id),
            Err(error) => {
                assert!(!matches!(error.reason, Reason::Write(_) | Reason::Read(_)), "{error}");
                refused += 1;
            }
        }
    }
    // What is left is nobody's, which a checker would find.
    contents.into_iter().for_each(|content| writer.discard(content).unwrap());
    refused
}

/// A content in pieces of any length; none if it was given up.
fn pieces(writer: &mut Writer, numbers: &mut Numbers) -> Result<Option<Content>, Error> {
    let size = [0, 1, 5000, 70_000, 900_000][numbers.below(5) as usize];
    let mut content = writer.content(size)?;
    let mut left = size;
    while left > 0 {
        let len = (1 + numbers.below(20_000)).min(left);
        match numbers.below(40) {
            0 => return Ok(None),
            1..15 => content.skip(len)?,
            _ => content.write(&vec![numbers.0 as u8; len as usize])?,
        }
        left -= len;
    }
    content.finish().map(Some)
}

#[test]
fn whatever_comes_is_right_or_refused() {
    for seed in 1..=60_u64 {
        let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let size = [140 << 20, 200 << 20, 300 << 20, 3 << 30][numbers.below(4) as usize];
        let inodes = Some(1600 + numbers.below(2000) as u32);
        let calls = numbers.below(1500);
        let image = image(Options { inodes, ..options(size) }, |writer| {
            let refused = fill(writer, &mut numbers, calls);
            assert!(calls < 50 || refused > 0 && refused < calls);
        });
        image.mounted(|at| assert!(at.read_dir().unwrap().all(|entry| entry.unwrap().metadata().is_ok())));
    }
}
