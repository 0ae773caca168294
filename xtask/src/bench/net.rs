//! (f) TCP from a guest to a port of the host's: what an allowlist of one rule and of 64 costs, against libkrun as it is published.
//! The guest is that of the reference in all of them, so that nothing else differs.

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

/// Where the guest connects to. The emulated host is ours alone.
const TO: &str = "127.0.0.16:5201";

/// In one connection.
const MIB: usize = 64;

/// One after the other.
const CONNECTIONS: u32 = 500;

/// Of each; a multiple of four, so that each is first as often.
const RUNS: usize = 8;

/// For a guest to boot and to come to its next connection, in an emulated host on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// The guest's program, with the numbers that both sides have to know.
pub(super) fn filled_in(program: &str) -> String {
    let numbers =
        [("@TO@", TO.to_owned()), ("@MIB@", MIB.to_string()), ("@CONNECTIONS@", CONNECTIONS.to_string())];
    numbers.iter().fold(program.to_owned(), |text, (name, number)| text.replace(name, number))
}

pub(super) fn run(plain: &Plain) -> Result<()> {
    let listener = TcpListener::bind(TO).doing("listen for the guest")?;
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
    let samples = || names.map(Samples::new);
    let (mut sent, mut connected, mut refused) = (samples(), samples(), samples());
    for run in 0..=RUNS {
        // Each is the first in its turn.
        for index in (0..rules.len()).map(|at| (at + run) % rules.len()) {
            let (build, rules) = &rules[index];
            let took = one(&listener, plain.with_network(*build, "net", rules))?;
            // The first one warms the caches.
            if run > 0 {
                sent[index].add(took.sending);
                connected[index].add(took.connecting);
                refused[index].add(took.refusals);
            }
        }
    }
    table::print(&format!("(f) {MIB} MiB from a guest to the host; aim: at most 1.02"), &sent, 1);
    let title = format!("(f) {CONNECTIONS} connections, one after the other; aim: at most 1.05");
    table::print(&title, &connected, 1);
    // Without a list, they are refused by the host they go to.
    table::print(&format!("(f) {CONNECTIONS} connections that are refused"), &refused, 1);
    Ok(())
}

/// What one guest took.
struct Took {
    sending: Duration,
    connecting: Duration,
    refusals: Duration,
}

/// A guest that runs. It is not to outlive an error.
struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn one(listener: &TcpListener, mut command: Command) -> Result<Took> {
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut guest = Guest(spawned.doing("start the guest")?);

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
    let sending = start.elapsed();
    if bytes != MIB << 20 {
        return Err(Error::other(format!("{bytes} bytes came from the guest")));
    }

    let start = Instant::now();
    for _ in 0..CONNECTIONS {
        accept(listener)?.write_all(&[1]).doing("answer the guest")?;
    }
    let connecting = start.elapsed();

    let mut stream = accept(listener)?;
    let mut nanoseconds = [0; 8];
    stream.read_exact(&mut nanoseconds).doing("hear the guest")?;
    stream.write_all(&[1]).doing("answer the guest")?;
    guest.0.wait().doing("wait for the guest")?;
    Ok(Took { sending, connecting, refusals: Duration::from_nanos(u64::from_le_bytes(nanoseconds)) })
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
