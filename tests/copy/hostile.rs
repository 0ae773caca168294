//! Either side against one that does not keep to the protocol.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bottle::vm::agent::{Copied, CopyError};
use bottle_protocol::{ClientFrame, CopyPart, Entry, EntryKind, GuestFrame, Message, hello};

use crate::support::{LIMIT, Server, entry, frames, hostile, leftovers, names, options, put};

#[test]
fn a_hostile_guest_gets_nothing_out_of_its_directory() {
    let part = |part| GuestFrame::Part(part);
    let sent = |path: &str, kind| part(CopyPart::Entry(entry(path, kind)));
    let root = || sent("", EntryKind::Directory);
    let file = |path: &str, size| sent(path, EntryKind::File { size });
    let link =
        |path: &str, to: &str| sent(path, EntryKind::Symlink { target: to.as_bytes().to_vec().into() });
    let hard =
        |path: &str, to: &str| sent(path, EntryKind::HardLink { target: to.as_bytes().to_vec().into() });
    let content = |bytes| part(CopyPart::Content(vec![0; bytes]));
    let end = || part(CopyPart::End);
    let long = "a/".repeat(2047);
    let flood: Vec<_> =
        [root(), file("flood", 1 << 40)].into_iter().chain((0..20).map(|_| content(65536))).collect();
    // Entries cost as well.
    let entries = (0..300).map(|_| sent(&long[..4000], EntryKind::Directory));
    let many: Vec<_> = [root(), file("f", 2), content(1)].into_iter().chain(entries).collect();
    let bad_utf8 = Entry { path: b"\xff\xfe\x1b[2J/..".to_vec().into(), ..entry("", EntryKind::Directory) };
    for (answer, text) in [
        (frames(&[root(), file("../stolen", 0)]), "leaves the destination"),
        (frames(&[root(), file("/tmp/stolen", 0)]), "absolute"),
        (frames(&[root(), link("up", ".."), file("up/stolen", 0)]), "no directory"),
        (frames(&[root(), link("up", ".."), sent("up", EntryKind::Directory)]), "symbolic link"),
        (frames(&[root(), hard("h", "../secret")]), "leaves the destination"),
        (frames(&[root(), link("up", ".."), hard("h", "up/secret")]), "no directory"),
        (frames(&[root(), sent("d", EntryKind::Block { major: 8, minor: 0 })]), "a device"),
        (frames(&[root(), sent("p", EntryKind::Fifo)]), "a named pipe"),
        (frames(&[root(), part(CopyPart::Entry(bad_utf8))]), "\\u{1b}[2J"),
        (frames(&[root(), file("short", 10), content(5), end()]), "in the middle of a file"),
        (frames(&[root(), file("short", 10), content(5), file("next", 0)]), "before it had as many bytes"),
        (frames(&[root(), file("long", 5), content(6)]), "more content"),
        (frames(&[root(), content(1)]), "more content"),
        (frames(&[root(), root()]), "two roots"),
        (frames(&[file("x", 0)]), "does not begin at its root"),
        (frames(&[end()]), "nothing in it"),
        (frames(&[root(), file(&long, 0)]), "not a plain one"),
        (frames(&[root(), file(&"a".repeat(5000), 0)]), "4095"),
        (frames(&[root(), GuestFrame::ShuttingDown]), "an answer to something else"),
        (frames(&[GuestFrame::Copied(Copied::default())]), "too early"),
        (frames(&flood), "more than it had credit for"),
        (frames(&many), "more than it had credit for"),
        ([&frames(&[root()])[..], b"\x89\xff\xff\xff\xff"].concat(), "4294967295 bytes"),
        ([&frames(&[root()])[..], b"\x89\x04\x00\x00\x00\xff\xff\xff\x0f"].concat(), "malformed"),
        (b"SSH-2.0-OpenSSH".to_vec(), "does not speak"),
    ] {
        let (directory, agent, thread) = hostile(move |stream| drop(stream.write_all(&answer)));
        // Nothing is taken while the flood comes.
        let mut wait = options();
        let mut pause = |_| std::thread::sleep(Duration::from_millis(300));
        if text.contains("credit") {
            wait.progress = Some(&mut pause);
        }
        let error = agent.get("x", directory.path().join("out"), wait).unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        let seen = format!("{error}: {source}");
        assert!(seen.contains(text), "{seen}, and not {text}");
        assert!(!seen.contains('\u{1b}'), "{seen:?}");
        thread.join().unwrap();
        assert_eq!(names(directory.path()), ["agent", "out", "secret"], "{text}");
        assert_eq!(fs::metadata(directory.path().join("secret")).unwrap().nlink(), 1);
        assert_eq!(leftovers(&directory.path().join("out"), 0), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn what_a_hostile_guest_sends_as_a_tar_stream_has_no_way_out_in_it() {
    let sent = |path: &str, kind| GuestFrame::Part(CopyPart::Entry(entry(path, kind)));
    let root = || sent("", EntryKind::Directory);
    for answer in [
        frames(&[root(), sent("../stolen", EntryKind::Directory)]),
        frames(&[root(), sent("h", EntryKind::HardLink { target: b"../secret".to_vec().into() })]),
        frames(&[root(), sent("f", EntryKind::File { size: u64::MAX }), GuestFrame::Part(CopyPart::End)]),
        frames(&[root(), sent("", EntryKind::Directory)]),
        frames(&[root(), GuestFrame::Part(CopyPart::Content(vec![1]))]),
    ] {
        let (_directory, agent, thread) = hostile(move |stream| drop(stream.write_all(&answer)));
        let error = agent.get_tar("x", std::io::sink(), options()).unwrap_err();
        assert!(matches!(error, CopyError::Host(_)), "{error:?}");
        thread.join().unwrap();
    }
}

#[test]
fn a_client_that_sends_nonsense_is_let_go() {
    let server = Server::start();
    let root = || ClientFrame::Part(CopyPart::Entry(entry("", EntryKind::Directory)));
    for frames in [vec![put("x"), root(), ClientFrame::Signal(9)], vec![put("x"), put("x")], vec![root()]] {
        let mut bytes = hello().to_vec();
        frames.iter().for_each(|frame| frame.encode(&mut bytes).unwrap());
        let mut stream = UnixStream::connect(server.at("agent")).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        drop(stream.write_all(&bytes));
        drop(stream.read_to_end(&mut Vec::new()));
        assert_eq!(leftovers(&server.at("guest"), 0), Vec::<String>::new());
    }
    assert!(server.agent().info().is_ok());
}
