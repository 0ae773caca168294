//! (f) TCP from a guest to a port of the host's: what an allowlist of one rule and of 64 costs, against libkrun as it is published.
//!
//! The guests, which are that of the reference in all of them, are there all the time and take turns of a second each: whatever slows
//! the machine down slows all of them down, and the ratios of turns that lie side by side say what is so on a busy machine, too.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit};

use super::{
    plain::{Build, Plain},
    table::{self, Samples},
};
use crate::error::{Context, Error, Result};

/// Where the guests connect to. The emulated host is ours alone.
const TO: &str = "127.0.0.16:5201";

/// In one connection, in a turn.
const MIB: usize = 16;

/// One after the other, in a turn.
const CONNECTIONS: u32 = 125;

/// Of each; a multiple of four, so that each is first as often.
const TURNS: usize = 32;

/// For a guest to boot and to come to its next connection, in an emulated host on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// The guest's program, with the numbers that both sides have to know.
pub(super) fn filled_in(program: &str) -> String {
    let numbers =
        [("@TO@", TO.to_owned()), ("@MIB@", MIB.to_string()), ("@CONNECTIONS@", CONNECTIONS.to_string())];
    numbers.iter().fold(program.to_owned(), |text, (name, number)| text.replace(name, number))
}

pub(super) fn run(plain: &Plain) -> Result<()> {
    let listener = TcpListener::bind(TO).doing("listen for the guests")?;
    // libkrun keeps the descriptor of a connection for some seconds after its end. `bottle` raises the limit for its VMMs.
    let files = rustix::process::getrlimit(Resource::Nofile).maximum;
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: files, maximum: files })
        .doing("raise the limit of open files")?;
    let filler = (1..64).map(|number| format!("tcp:10.0.{number}.0/24:1-1024"));
    let long: Vec<String> = filler.chain([format!("tcp:{TO}")]).collect();
    let one_rule = vec![format!("tcp:{TO}")];
    let rules =
        [(Build::Stock, Vec::new()), (Build::Ours, Vec::new()), (Build::Ours, one_rule), (Build::Ours, long)];
    let names = ["stock libkrun", "ours, no allowlist", "1 rule", "64 rules, the last of which allows it"];
    let mut guests = Vec::new();
    for (build, rules) in &rules {
        guests.push(Guest::start(&listener, plain.with_network(*build, "net", rules))?);
    }
    let samples = || names.map(Samples::new);
    let (mut sent, mut connected, mut refused) = (samples(), samples(), samples());
    for turn in 0..=TURNS {
        for (samples, take) in [
            (&mut sent, Guest::send as Turn),
            (&mut connected, Guest::connect),
            (&mut refused, Guest::be_refused),
        ] {
            // Each is the first in its turn.
            for index in (0..names.len()).map(|at| (at + turn) % names.len()) {
                let took = take(&mut guests[index], &listener)?;
                // The first one warms the caches.
                if turn > 0 {
                    samples[index].add(took);
                }
            }
        }
    }
    table::print_turns(&format!("(f) {MIB} MiB from a guest to the host; aim: at most 1.02"), &sent);
    let title = format!("(f) {CONNECTIONS} connections, one after the other; aim: at most 1.05");
    table::print_turns(&title, &connected);
    // Without a list, they are refused by the host they go to.
    table::print_turns(&format!("(f) {CONNECTIONS} connections that are refused"), &refused);
    Ok(())
}

type Turn = fn(&mut Guest, &TcpListener) -> Result<Duration>;

/// A guest that waits for a word.
struct Guest {
    words: TcpStream,
    _vmm: Vmm,
}

/// The process around a guest. It is not to outlive an error.
struct Vmm(Child);

impl Drop for Vmm {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Guest {
    fn start(listener: &TcpListener, mut command: Command) -> Result<Self> {
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let vmm = Vmm(spawned.doing("start the guest")?);
        Ok(Self { words: accept(listener)?, _vmm: vmm })
    }

    fn tell(&mut self, word: u8) -> Result<()> {
        self.words.write_all(&[word]).doing("tell the guest what to do")
    }

    fn send(&mut self, listener: &TcpListener) -> Result<Duration> {
        self.tell(b's')?;
        let mut stream = accept(listener)?;
        let mut piece = vec![0; 1 << 16];
        stream.read_exact(&mut piece[..1]).doing("hear the guest")?;
        let start = Instant::now();
        let mut bytes = 1;
        loop {
            match stream.read(&mut piece).doing("hear the guest")? {
                0 => break,
                count => bytes += count,
            }
        }
        if bytes != MIB << 20 {
            return Err(Error::other(format!("{bytes} bytes came from the guest")));
        }
        Ok(start.elapsed())
    }

    fn connect(&mut self, listener: &TcpListener) -> Result<Duration> {
        let start = Instant::now();
        self.tell(b'c')?;
        for _ in 0..CONNECTIONS {
            accept(listener)?.write_all(&[1]).doing("answer the guest")?;
        }
        Ok(start.elapsed())
    }

    /// As long as the guest says.
    fn be_refused(&mut self, _: &TcpListener) -> Result<Duration> {
        self.tell(b'r')?;
        let mut nanoseconds = [0; 8];
        self.words.read_exact(&mut nanoseconds).doing("hear the guest")?;
        Ok(Duration::from_nanos(u64::from_le_bytes(nanoseconds)))
    }
}

/// The guest's next connection.
fn accept(listener: &TcpListener) -> Result<TcpStream> {
    let mut ready = [rustix::event::PollFd::new(listener, rustix::event::PollFlags::IN)];
    let limit = rustix::event::Timespec { tv_sec: LIMIT.as_secs().try_into().unwrap_or(60), tv_nsec: 0 };
    match rustix::event::poll(&mut ready, Some(&limit)) {
        Ok(1..) => {}
        _ => return Err(Error::other("the guest has not connected in time")),
    }
    let (stream, _) = listener.accept().doing("take the guest's connection")?;
    stream.set_read_timeout(Some(LIMIT)).doing("limit the time for the guest")?;
    Ok(stream)
}
