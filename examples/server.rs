//! Runs a server in a microVM and reaches it from here, although the guest has no network, and the host no port for it.
//!
//! ```text
//! cargo run --release --example server -- IMAGE PORT COMMAND [ARG…]
//! cargo run --release --example server -- python:3 8000 python -u -m http.server 8000
//! ```
//!
//! COMMAND is to listen on PORT of 127.0.0.1 or of all addresses, and to print a line when it does.

use std::error::Error;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;

use bottle::image::{ImportOptions, Source, Store};
use bottle::state;
use bottle::vm::agent::{Exec, ExecEvent, ExecRequest};
use bottle::vm::{Vm, VmConfig, create_overlay};

fn main() -> Result<(), Box<dyn Error>> {
    bottle::vm::become_vmm_if_asked();

    const USAGE: &str = "usage: server IMAGE PORT COMMAND [ARG…]";
    let mut arguments = std::env::args().skip(1);
    let image: Source = arguments.next().ok_or(USAGE)?.parse()?;
    let port: u16 = arguments.next().ok_or(USAGE)?.parse()?;
    let command: Vec<String> = arguments.collect();

    let store = Store::open(&state::cache_root()?)?;
    let image = store.import(&image, &ImportOptions::default(), &mut |_| ControlFlow::Continue(()))?;
    let directory = tempfile::tempdir()?;
    let disk = directory.path().join("disk.qcow2");
    create_overlay(&image.base, &disk, None)?;
    let vm = Vm::start(&VmConfig::new(directory.path(), disk).image(&image))?;

    let mut server = vm.agent().exec(&ExecRequest::new(command))?;
    until_it_listens(&mut server)?;

    // An ordinary stream: what speaks HTTP over any other can speak it over this one.
    let mut stream = vm.agent().connect(port)?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    io::stdout().write_all(&answer)?;

    // SIGTERM. Dropping `vm` would do as well.
    server.control().signal(15)?;
    eprintln!("the server ended with {}", server.output()?.status);
    Ok(())
}

/// Waits for the first line on the server's stdout: no asking again and again, no sleeping.
fn until_it_listens(server: &mut Exec) -> Result<(), Box<dyn Error>> {
    loop {
        match server.next_event()? {
            ExecEvent::Stdout(data) if data.contains(&b'\n') => return Ok(()),
            ExecEvent::Stdout(_) => {}
            ExecEvent::Stderr(data) => io::stderr().write_all(&data)?,
            other => return Err(format!("the server did not come to listen: {other:?}").into()),
        }
    }
}
