//! The decoder against everything that a hostile peer can send.

use crate::*;

fn client_frames() -> Vec<ClientFrame> {
    let exec = ExecRequest {
        argv: vec![b"sh".to_vec().into(), b"\xff\xfe".to_vec().into()],
        env: vec![EnvVar::new("A", "b=c")],
        cwd: Some(b"/tmp".to_vec().into()),
        user: Some(b"node:node".to_vec().into()),
        tty: Some(TtySize { rows: 24, columns: 80 }),
        null_stdin: true,
        detached: true,
    };
    vec![
        ClientFrame::Request(Request::Exec(exec)),
        ClientFrame::Request(Request::Info),
        ClientFrame::Request(Request::Shutdown { grace_ms: 5000 }),
        ClientFrame::Stdin(vec![7; DATA_LIMIT_BYTES]),
        ClientFrame::StdinEof,
        ClientFrame::Resize(TtySize { rows: 1, columns: 65535 }),
        ClientFrame::Signal(15),
        ClientFrame::OutputCredit(u32::MAX),
        ClientFrame::Detach,
        ClientFrame::Request(Request::Put(PutRequest {
            base: Base::Home,
            path: b"/srv/".to_vec().into(),
            name: Some(b"\xff".to_vec().into()),
            must_exist: false,
            owner: Owner::User(b"node".to_vec().into()),
            keep: true,
        })),
        ClientFrame::Request(Request::Get(GetRequest { path: b"x".to_vec().into(), follow: true })),
        ClientFrame::Part(CopyPart::Entry(entry(EntryKind::Symlink { target: b"../a".to_vec().into() }))),
        ClientFrame::Part(CopyPart::Content(vec![1; DATA_LIMIT_BYTES])),
        ClientFrame::Part(CopyPart::End),
    ]
}

/// The longest there is.
fn entry(kind: EntryKind) -> Entry {
    Entry {
        path: vec![b'a'; 4095].into(),
        kind,
        mode: 0o7777,
        uid: u32::MAX,
        gid: u32::MAX,
        mtime: i64::MIN,
        mtime_ns: 999_999_999,
    }
}

fn guest_frames() -> Vec<GuestFrame> {
    vec![
        GuestFrame::Started { pid: 42 },
        GuestFrame::Stdout(b"out".to_vec()),
        GuestFrame::Stderr(b"err".to_vec()),
        GuestFrame::StdinCredit(1),
        GuestFrame::Exited(ExitStatus::Code(255)),
        GuestFrame::Exited(ExitStatus::Signal(9)),
        GuestFrame::Failed(ExecFailure { kind: FailureKind::NotFound, message: "none".into() }),
        GuestFrame::ShuttingDown,
        GuestFrame::Connected,
        GuestFrame::StreamEof,
        GuestFrame::ClockTaken,
        GuestFrame::Part(CopyPart::Entry(entry(EntryKind::HardLink { target: vec![b'b'; 4095].into() }))),
        GuestFrame::Part(CopyPart::Content(b"c".to_vec())),
        GuestFrame::Part(CopyPart::End),
        GuestFrame::Copied(Copied { entries: 2, bytes: u64::MAX, sockets: 0 }),
    ]
}

fn stream<M: Message>(messages: &[M]) -> Vec<u8> {
    let mut bytes = hello().to_vec();
    for message in messages {
        message.encode(&mut bytes).unwrap();
    }
    bytes
}

fn decode<M: Message>(pieces: &[&[u8]]) -> Result<Vec<M>, WireError> {
    let mut decoder = Decoder::new();
    let mut messages = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        while let Some(message) = decoder.message()? {
            messages.push(message);
        }
    }
    decoder.finish()?;
    Ok(messages)
}

#[test]
fn messages_come_back_however_they_are_cut() {
    let (client, guest) = (stream(&client_frames()), stream(&guest_frames()));
    assert_eq!(decode::<ClientFrame>(&[&client]).unwrap(), client_frames());
    for size in 1..40 {
        let pieces: Vec<&[u8]> = guest.chunks(size).collect();
        assert_eq!(decode::<GuestFrame>(&pieces).unwrap(), guest_frames());
    }
}

#[test]
fn a_stream_cut_anywhere_but_between_frames_is_truncated() {
    let bytes = stream(&guest_frames());
    let mut whole = vec![hello().len(), 0];
    for count in 1..=guest_frames().len() {
        whole.push(stream(&guest_frames()[..count]).len());
    }
    for length in 0..=bytes.len() {
        let result = decode::<GuestFrame>(&[&bytes[..length]]);
        if whole.contains(&length) {
            assert!(result.is_ok(), "at {length}");
        } else {
            assert_eq!(result, Err(WireError::Truncated), "at {length}");
        }
    }
}

#[test]
fn greetings_of_others_are_refused() {
    assert!(matches!(decode::<GuestFrame>(&[b"SSH-2.0-"]), Err(WireError::WrongMagic(_))));
    let error = decode::<GuestFrame>(&[b"BOTTLE\x09\x01"]).unwrap_err();
    assert_eq!(error, WireError::VersionMismatch { ours: VERSION, theirs: 0x0109 });
    assert!(
        error.to_string().contains("version 265")
            && error.to_string().contains(&format!("version {VERSION}"))
    );
}

#[test]
fn lengths_are_refused_before_their_payload_comes() {
    for (kind, length) in [
        (0x82u8, u32::MAX),
        (0x82, 65_537),
        (0x82, 0),
        (0x86, 65_537),
        (0x85, 4),
        (0x88, 1),
        (0x89, 16_385),
        (0x8b, 1),
    ] {
        let bytes = [&hello()[..], &[kind], &length.to_le_bytes()].concat();
        assert!(
            matches!(decode::<GuestFrame>(&[&bytes]), Err(WireError::BadLength { .. })),
            "{kind:#x} {length}"
        );
    }
    assert!(ClientFrame::Stdin(vec![0; DATA_LIMIT_BYTES + 1]).encode(&mut Vec::new()).is_err());
    assert!(ClientFrame::Stdin(Vec::new()).encode(&mut Vec::new()).is_err());
}

#[test]
fn kinds_of_the_other_direction_and_of_nobody_are_unknown() {
    for kind in [0x00u8, 0x02, 0x7f, 0xff, 0x91] {
        let bytes = [&hello()[..], &[kind, 1, 0, 0, 0, 0]].concat();
        assert_eq!(decode::<GuestFrame>(&[&bytes]), Err(WireError::UnknownKind(kind)));
    }
}

#[test]
fn payloads_that_do_not_decode_are_refused_for_good() {
    for payload in [&b"\x02\x00\x00\x00\x00"[..], b"\x00\x00\x01\x00\x00"] {
        let bytes = [&hello()[..], b"\x85\x05\x00\x00\x00", payload].concat();
        let mut decoder = Decoder::<GuestFrame>::new();
        decoder.push(&bytes);
        decoder.push(&stream(&guest_frames())[8..]);
        assert_eq!(decoder.message(), Err(WireError::BadPayload(0x85)));
        assert_eq!(decoder.message(), Err(WireError::BadPayload(0x85)));
    }
    // A request that is right, and one byte more.
    let bytes = [&hello()[..], b"\x01\x02\x00\x00\x00\x01\x00"].concat();
    assert_eq!(decode::<ClientFrame>(&[&bytes]), Err(WireError::BadPayload(0x01)));
    // A vector that claims more elements than could ever come.
    let bytes = [&hello()[..], b"\x01\x07\x00\x00\x00\x00\xff\xff\xff\xff\x0f\x00"].concat();
    assert_eq!(decode::<ClientFrame>(&[&bytes]), Err(WireError::BadPayload(0x01)));
}

#[test]
fn random_bytes_never_do_harm() {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let valid = [stream(&client_frames()[..3]), stream(&guest_frames())];
    for round in 0..20_000 {
        let mut bytes = if round % 2 == 0 {
            let mut bytes = hello().to_vec();
            bytes.extend((0..next() % 64).map(|_| next() as u8));
            bytes
        } else {
            valid[(round / 2) % 2].clone()
        };
        for _ in 0..next() % 4 {
            let at = next() as usize % bytes.len();
            bytes[at] = next() as u8;
        }
        drop(decode::<ClientFrame>(&[&bytes]));
        drop(decode::<GuestFrame>(&[&bytes]));
        drop(decode::<ReadyFrame>(&[&bytes]));
        drop(GuestConfig::decode(&bytes));
    }
}

#[test]
fn long_texts_are_cut_between_characters() {
    let message = "ä".repeat(100_000);
    let failed = GuestFrame::Failed(ExecFailure { kind: FailureKind::Other, message: message.clone() });
    let boot = ReadyFrame::BootFailed(message);
    assert!(matches!(&decode::<GuestFrame>(&[&stream(&[failed])]).unwrap()[..], [GuestFrame::Failed(_)]));
    assert!(matches!(&decode::<ReadyFrame>(&[&stream(&[boot])]).unwrap()[..], [ReadyFrame::BootFailed(_)]));
}

#[test]
fn a_configuration_comes_back_and_only_whole() {
    let config = GuestConfig {
        env: vec![EnvVar::new("PATH", "/bin")],
        volumes: vec![Volume { tag: "src".into(), mountpoint: b"/src".to_vec().into(), read_only: true }],
        ..GuestConfig::default()
    };
    let bytes = config.encode().unwrap();
    assert_eq!(GuestConfig::decode(&bytes).unwrap(), config);
    for length in 0..bytes.len() {
        assert!(GuestConfig::decode(&bytes[..length]).is_err());
    }
    assert!(GuestConfig::decode(&[&bytes[..], b"x"].concat()).is_err());
    assert!(GuestConfig::decode(&vec![0; CONFIG_LIMIT_BYTES + 1]).is_err());
}

#[test]
fn shell_codes_are_dockers() {
    assert_eq!(ExitStatus::Code(7).shell_code(), 7);
    assert_eq!(ExitStatus::Signal(9).shell_code(), 137);
    assert_eq!(ExitStatus::Signal(u32::MAX).shell_code(), 255);
}
