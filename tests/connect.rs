//! Connections to servers in the guest, through the very init that is embedded, which serves here on a UNIX socket instead of
//! vsock: its loopback interface is this machine's. Every wait has a deadline.

// clippy.toml lets tests do this in functions marked as tests, and not in what those share.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::{Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bottle::vm::agent::{Agent, AgentError, FailureKind};
use bottle_protocol::{GuestConfig, GuestFrame, Message, hello};
use tempfile::TempDir;

/// For anything that takes well under a second on an idle machine.
const LIMIT: Duration = Duration::from_secs(60);

struct Guest {
    process: Child,
    agent: Agent,
    _directory: TempDir,
}

impl Guest {
    fn start(config: &GuestConfig) -> Self {
        let directory = TempDir::new().unwrap();
        let (file, socket) = (directory.path().join("config"), directory.path().join("agent"));
        std::fs::write(&file, config.encode().unwrap()).unwrap();
        let mut command = Command::new(env!("BOTTLE_GUEST_INIT"));
        command.arg("serve").arg(&socket).arg(file).stdin(Stdio::null());
        let process = command.spawn().unwrap();
        let deadline = Instant::now() + LIMIT;
        while UnixStream::connect(&socket).is_err() {
            assert!(Instant::now() < deadline, "the guest's agent does not listen");
            thread::sleep(Duration::from_millis(5));
        }
        Self { process, agent: Agent::new(socket), _directory: directory }
    }

    fn connect(&self, port: u16) -> UnixStream {
        let stream = self.agent.connect(port).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        stream
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn guest() -> Guest {
    Guest::start(&GuestConfig::default())
}

/// Serves one connection.
fn server<T: Send + 'static>(serve: impl FnOnce(TcpStream) -> T + Send + 'static) -> (u16, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        serve(stream)
    });
    (port, thread)
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[test]
fn megabytes_go_both_ways_and_each_half_ends_by_itself() {
    let guest = guest();
    // It answers only when it has read everything, so the caller's end has to arrive on its own.
    let (port, echo) = server(|mut stream| {
        let mut data = Vec::new();
        stream.read_to_end(&mut data).unwrap();
        stream.write_all(&data).unwrap();
    });
    let mut stream = guest.connect(port);
    let sent = noise(20_000_003);
    let mut writer = stream.try_clone().unwrap();
    let writing = thread::spawn({
        let sent = sent.clone();
        move || {
            writer.write_all(&sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        }
    });
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    writing.join().unwrap();
    echo.join().unwrap();
    assert!(received == sent, "{} bytes came back of {}", received.len(), sent.len());
}

#[test]
fn a_server_that_has_said_all_still_hears() {
    let guest = guest();
    let (port, server) = server(|mut stream| {
        stream.write_all(b"hello").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).unwrap();
        heard
    });
    let mut stream = guest.connect(port);
    let mut greeting = String::new();
    stream.read_to_string(&mut greeting).unwrap();
    assert_eq!(greeting, "hello");
    stream.write_all(b"and good bye").unwrap();
    // What was written arrives, although nobody waits for it.
    drop(stream);
    assert_eq!(server.join().unwrap(), "and good bye");
}

#[test]
fn what_a_server_said_before_it_closed_is_there_for_a_slow_reader() {
    let guest = guest();
    let sent = noise(400_000);
    let (port, server) = server({
        let sent = sent.clone();
        move |mut stream| {
            stream.read_to_end(&mut Vec::new()).unwrap();
            stream.write_all(&sent).unwrap();
        }
    });
    let mut stream = guest.connect(port);
    stream.shutdown(Shutdown::Write).unwrap();
    server.join().unwrap();
    // The guest's end of the connection is gone by then.
    thread::sleep(Duration::from_millis(500));
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    assert!(received == sent, "{} bytes of {}", received.len(), sent.len());
}

#[test]
fn a_caller_that_lets_go_ends_a_server_that_goes_on() {
    let guest = guest();
    let (port, server) = server(|mut stream| {
        let started = Instant::now();
        while stream.write_all(&[7; 4096]).is_ok() {
            assert!(started.elapsed() < LIMIT, "the server is never told");
        }
    });
    let mut stream = guest.connect(port);
    stream.read_exact(&mut [0; 100_000]).unwrap();
    drop(stream);
    server.join().unwrap();
}

#[test]
fn a_reader_that_pauses_stops_the_server() {
    let guest = guest();
    let (port, server) = server(|mut stream| {
        stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut sent = 0;
        // What the sockets and the windows hold, and then no more.
        while let Ok(count @ 1..) = stream.write(&[7; 65_536]) {
            sent += count;
            assert!(sent < 64 << 20, "nothing holds the server up");
        }
        sent
    });
    let mut stream = guest.connect(port);
    let sent = server.join().unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    assert_eq!(received.len(), sent, "what it had sent is all there");
}

#[test]
fn nobody_listening_is_an_error_of_its_own() {
    let port = free_port();
    // With a network too, where the connect would go on to the host.
    for network in [false, true] {
        let guest = Guest::start(&GuestConfig { network, ..GuestConfig::default() });
        let error = guest.agent.connect(port).unwrap_err();
        assert!(error.to_string().contains(&port.to_string()) && error.hint().is_some(), "{error}");
        let refused = matches!(&error, AgentError::Failed(failure) if failure.kind == FailureKind::Refused);
        assert!(refused, "{error:?}");
    }
}

#[test]
fn servers_of_either_family_are_found() {
    let guest = Guest::start(&GuestConfig { network: true, ..GuestConfig::default() });
    for listener in [TcpListener::bind("0.0.0.0:0"), TcpListener::bind((Ipv6Addr::LOCALHOST, 0))] {
        let Ok(listener) = listener else {
            eprintln!("this machine has no IPv6: not tested");
            continue;
        };
        drop(guest.connect(listener.local_addr().unwrap().port()));
        listener.accept().unwrap();
    }
}

#[test]
fn a_hostile_guest_ends_its_own_connections_only() {
    let frames = |frames: &[GuestFrame]| {
        let mut bytes = hello().to_vec();
        frames.iter().for_each(|frame| frame.encode(&mut bytes).unwrap());
        bytes
    };
    let flood: Vec<_> = std::iter::once(GuestFrame::Connected)
        .chain((0..64).map(|_| GuestFrame::Stdout(vec![0; 65536])))
        .collect();
    let behind_the_end = [GuestFrame::Connected, GuestFrame::StreamEof, GuestFrame::Stdout(vec![1])];
    let odd = [GuestFrame::Connected, GuestFrame::Started { pid: 1 }];
    for (answer, most) in [
        (frames(&flood), 1 << 20),
        (frames(&behind_the_end), 0),
        (frames(&odd), 0),
        ([&frames(&[GuestFrame::Connected])[..], b"\x82\xff\xff\xff\xff"].concat(), 0),
    ] {
        let directory = TempDir::new().unwrap();
        let socket = directory.path().join("agent");
        let listener = UnixListener::bind(&socket).unwrap();
        let thread = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 8]).unwrap();
            // It may not get to say all of it.
            drop(stream.write_all(&answer));
            drop(stream.read_to_end(&mut Vec::new()));
        });
        let mut stream = Agent::new(socket).connect(1).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        // Nobody reads before the flood is over: it has to be the window that ends it.
        thread.join().unwrap();
        let mut received = Vec::new();
        // It ends, whichever way.
        drop(stream.read_to_end(&mut received));
        assert!(received.len() <= most, "{} bytes", received.len());
    }
}
