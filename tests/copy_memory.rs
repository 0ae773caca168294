//! What a copy takes of memory when a side is slow or sends without end: measured in a process of its own.

// clippy.toml lets tests do this in functions marked as tests, and not in what those share.
#![allow(clippy::unwrap_used, clippy::panic)]

// Not all of it is needed here.
#[allow(dead_code)]
#[path = "copy/support.rs"]
mod support;

use std::fs;
use std::io::{Read, Write};
use std::time::Duration;

use bottle::vm::agent::{CopyError, CopyStop};
use bottle_protocol::{ClientFrame, CopyPart, EntryKind, GuestFrame, Message, OUTPUT_WINDOW_BYTES, hello};

use support::{Server, entry, frames, hostile, names, noise, options};

#[test]
fn no_memory_grows() {
    a_slow_reader_holds_the_guest_up();
    endless_entries_can_be_stopped();
}

fn a_slow_reader_holds_the_guest_up() {
    let server = Server::start();
    fs::write(server.at("guest/large"), noise(64 << 20)).unwrap();
    /// Takes a little, then pauses for as long as the guest could send everything.
    struct Slow {
        read: usize,
        pause: fn(),
    }
    impl Write for Slow {
        fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
            if self.read < 1 << 20 && self.read + data.len() >= 1 << 20 {
                (self.pause)();
            }
            self.read += data.len();
            Ok(data.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let before = (resident_kib(&server.process.id().to_string()), resident_kib("self"));
    let mut slow = Slow { read: 0, pause: || std::thread::sleep(Duration::from_secs(2)) };
    server.agent().get_tar("large", &mut slow, options()).unwrap();
    let after = (resident_kib(&server.process.id().to_string()), resident_kib("self"));
    assert!(slow.read > 64 << 20);
    assert!(after.0 < before.0 + 8 * 1024 && after.1 < before.1 + 32 * 1024, "{before:?}, then {after:?}");
}

fn endless_entries_can_be_stopped() {
    let (directory, agent, thread) = hostile(|stream| {
        let root = GuestFrame::Part(CopyPart::Entry(entry("", EntryKind::Directory)));
        stream.write_all(&frames(&[root])).unwrap();
        // The same few names for ever, in a row that fits the credit that comes back.
        let mut credit = OUTPUT_WINDOW_BYTES - 200;
        let mut reader = bottle_protocol::Decoder::<ClientFrame>::new();
        reader.push(&hello());
        for number in 0u64.. {
            let part = CopyPart::Entry(entry(&format!("d/{}", number % 100), EntryKind::File { size: 0 }));
            while credit < part.cost() {
                let mut bytes = [0; 4096];
                match stream.read(&mut bytes) {
                    Ok(count @ 1..) => reader.push(&bytes[..count]),
                    _ => return,
                }
                while let Some(frame) = reader.message().unwrap() {
                    if let ClientFrame::OutputCredit(bytes) = frame {
                        credit += bytes;
                    }
                }
            }
            credit -= part.cost();
            let mut bytes = Vec::new();
            GuestFrame::Part(part).encode(&mut bytes).unwrap();
            if stream.write_all(&bytes).is_err() {
                return;
            }
        }
    });
    let stop = CopyStop::default();
    let mut endless = options();
    endless.stop = stop.clone();
    let before = resident_kib("self");
    let out = directory.path().join("out/x");
    let copying = std::thread::spawn(move || agent.get("x", out, endless));
    std::thread::sleep(Duration::from_secs(2));
    let after = resident_kib("self");
    stop.stop();
    assert!(matches!(copying.join().unwrap(), Err(CopyError::Stopped)));
    assert!(after < before + 32 * 1024, "{before} KiB, then {after}");
    assert_eq!(names(&directory.path().join("out/x/d")).len(), 100);
    thread.join().unwrap();
}

fn resident_kib(process: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
