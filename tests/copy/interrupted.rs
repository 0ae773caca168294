//! Copies that end before their end: whoever goes away, and whatever is full.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::Command;

use bottle::vm::agent::{AgentError, Copied, CopyError, CopyStop, TransferError};
use bottle_protocol::{ClientFrame, CopyPart, EntryKind, Message, hello};

use crate::support::{Server, entry, leftovers, names, options, put, wait_for};

#[test]
fn what_is_interrupted_leaves_no_half_of_a_file() {
    let server = Server::start();
    let (inside, outside) = (server.at("guest/x"), server.at("host/x"));
    let large = server.at("host/large");
    fs::write(&large, vec![1; 64 << 20]).unwrap();
    fs::copy(&large, server.at("guest/large")).unwrap();
    for number in 0..12u32 {
        for put in [true, false] {
            let stop = CopyStop::default();
            let mut stopped = options();
            stopped.stop = stop.clone();
            // After some megabytes, the first time before any.
            let mut so_far = 0;
            let mut progress = |copied: Copied| {
                so_far = copied.bytes;
                if copied.bytes >= u64::from(number) << 21 {
                    stop.stop();
                }
            };
            stopped.progress = Some(&mut progress);
            fs::write(&inside, "old").unwrap();
            fs::write(&outside, "old").unwrap();
            let result = match put {
                true => server.agent().put(&large, &inside, stopped),
                false => server.agent().get("large", &outside, stopped),
            };
            assert!(matches!(result, Err(CopyError::Stopped)), "{result:?}");
            assert!(so_far < 64 << 20);
            assert_eq!(fs::read(if put { &inside } else { &outside }).unwrap(), b"old");
        }
    }
    // One that is stopped before it begins does not begin.
    let stopped = options();
    stopped.stop.stop();
    assert!(matches!(server.agent().put(&large, "y", stopped), Err(CopyError::Stopped)));
    assert!(!server.at("guest/y").exists());
    wait_for("the end of all that is temporary", || names(&server.at("guest")) == ["large", "x"]);
    assert_eq!(names(&server.at("host")), ["large", "x"]);
}

#[test]
fn a_host_that_is_killed_leaves_nothing_in_the_guest() {
    let server = Server::start();
    // Not `bottle cp`, which needs a bottle: a client that begins and is gone, at every point of the protocol.
    let file = |path: &str, size| ClientFrame::Part(CopyPart::Entry(entry(path, EntryKind::File { size })));
    let frames = [
        put("x"),
        ClientFrame::Part(CopyPart::Entry(entry("", EntryKind::Directory))),
        file("whole", 3),
        ClientFrame::Part(CopyPart::Content(b"abc".to_vec())),
        file("half", 100_000),
        ClientFrame::Part(CopyPart::Content(vec![0; 60_000])),
    ];
    let mut bytes = hello().to_vec();
    frames.iter().for_each(|frame| frame.encode(&mut bytes).unwrap());
    for length in [bytes.len(), bytes.len() - 30_000, bytes.len() - 60_005, 9] {
        let mut stream = UnixStream::connect(server.at("agent")).unwrap();
        stream.write_all(&bytes[..length]).unwrap();
        if length > 9 {
            wait_for("the whole file", || server.at("guest/x/whole").exists());
        }
        drop(stream);
        wait_for("the end of the half file", || {
            !server.at("guest/x").exists() || names(&server.at("guest/x")) == ["whole"]
        });
    }
    assert_eq!(leftovers(&server.at("guest"), 3), Vec::<String>::new());
    assert!(server.agent().info().is_ok());
}

#[test]
fn a_guest_that_is_killed_leaves_nothing_on_the_host_and_is_named() {
    for put in [true, false] {
        let mut server = Server::start();
        let (large, there) = (server.at("host/large"), server.at("guest/large"));
        for file in [&large, &there] {
            fs::write(file, vec![1; 64 << 20]).unwrap();
        }
        let (agent, host) = (server.agent(), server.at("host"));
        let pid = rustix::process::Pid::from_raw(i32::try_from(server.process.id()).unwrap()).unwrap();
        let mut killing = options();
        let mut progress = |copied: Copied| {
            if copied.bytes > 10 << 20 {
                // It may be gone already.
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap_or_default();
            }
        };
        killing.progress = Some(&mut progress);
        let result = match put {
            true => agent.put(&large, "in", killing),
            false => agent.get("large", host.join("out"), killing),
        };
        assert!(matches!(result, Err(CopyError::Agent(AgentError::Lost { .. }))), "{result:?}");
        assert_eq!(names(&host), ["large"]);
        server.process.wait().unwrap();
    }
}

#[test]
fn a_full_disk_is_named_and_leaves_no_half_of_a_file() {
    let server = Server::start();
    let small = server.at("guest/small");
    fs::create_dir(&small).unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(&small).status();
    if !mount.unwrap().success() {
        eprintln!("skipped: nothing can be mounted here");
        return;
    }
    let large = server.at("host/large");
    fs::write(&large, vec![1; 16 << 20]).unwrap();
    let into_guest = server.agent().put(&large, &small, options());
    let names_after = names(&small);
    let onto_host = server.agent().get(&large, &small, options());
    let names_at_end = names(&small);
    // A process that another test just started may hold it for a moment.
    wait_for("the end of the mount", || Command::new("umount").arg(&small).status().unwrap().success());
    let error = into_guest.unwrap_err();
    assert!(error.to_string().contains("No space left"), "{error}");
    assert!(matches!(onto_host, Err(CopyError::Host(TransferError::Io { .. }))), "{onto_host:?}");
    assert_eq!((names_after, names_at_end), (Vec::new(), Vec::new()));
}
