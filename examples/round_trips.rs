//! How long requests to a running guest take: what `cargo xtask bench exec` runs.
//!
//! ```text
//! cargo run --release --example round_trips -- IMAGE ROUNDS
//! ```
//!
//! Prints a line for each sample, in turns: seconds, and of what.

use std::error::Error;
use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use bottle::image::{ImportOptions, Source, Store};
use bottle::state;
use bottle::vm::agent::{Exec, ExecEvent, ExecRequest, ExecStdin};
use bottle::vm::{Vm, VmConfig, create_overlay};
use bottle_protocol::{HELLO_BYTES, hello};

type Failure = Box<dyn Error>;

fn main() -> Result<(), Failure> {
    bottle::vm::become_vmm_if_asked();

    const USAGE: &str = "usage: round_trips IMAGE ROUNDS";
    let mut arguments = std::env::args().skip(1);
    let image: Source = arguments.next().ok_or(USAGE)?.parse()?;
    let rounds: u32 = arguments.next().ok_or(USAGE)?.parse()?;

    let store = Store::open(&state::cache_root()?)?;
    let image = store.import(&image, &ImportOptions::default(), &mut |_| ControlFlow::Continue(()))?;
    let directory = tempfile::tempdir()?;
    let disk = directory.path().join("disk.qcow2");
    create_overlay(&image.base, &disk, None)?;
    let mut config = VmConfig::new(directory.path(), disk).image(&image);
    (config.cpus, config.memory_mib) = (1, 512);
    let socket = config.agent_socket();
    let vm = Vm::start(&config)?;

    let mut cat = vm.agent().exec(&ExecRequest::new(["cat"]))?;
    let mut stdin = cat.take_stdin().ok_or("cat has no stdin")?;
    let run_true = ExecRequest::new(["true"]);
    for round in 0..=rounds {
        let samples = [
            ("bare: connect, 8 bytes there and back", timed(|| greet(&socket))?),
            ("library: a byte through a running cat", timed(|| echo(&mut stdin, &mut cat))?),
            ("library: info", timed(|| Ok(vm.agent().info()?))?),
            ("library: exec of true", timed(|| Ok(vm.agent().exec(&run_true)?.output()?))?),
        ];
        // The first round warms the guest's caches.
        for (name, seconds) in samples.iter().filter(|_| round > 0) {
            println!("{seconds:>9.6} s  {name}");
        }
    }
    Ok(())
}

fn timed<T>(what: impl FnOnce() -> Result<T, Failure>) -> Result<f64, Failure> {
    let start = Instant::now();
    drop(what()?);
    Ok(start.elapsed().as_secs_f64())
}

/// The least that the agent's port does: it takes a connection and exchanges greetings.
fn greet(socket: &std::path::Path) -> Result<(), Failure> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(&hello())?;
    stream.read_exact(&mut [0; HELLO_BYTES])?;
    Ok(())
}

/// A connection that is open already, and a process at its other end.
fn echo(stdin: &mut ExecStdin, cat: &mut Exec) -> Result<(), Failure> {
    stdin.write_all(b"x")?;
    match cat.next_event()? {
        ExecEvent::Stdout(_) => Ok(()),
        other => Err(format!("cat answered with {other:?}").into()),
    }
}
