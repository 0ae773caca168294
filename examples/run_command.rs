//! Runs a command in a microVM of its own, without a network, and prints what it wrote.
//!
//! ```text
//! cargo run --release --example run_command -- IMAGE COMMAND [ARG…]
//! cargo run --release --example run_command -- debian:12 uname -a
//! ```

use std::error::Error;
use std::io::Write;
use std::ops::ControlFlow;
use std::process::ExitCode;

use bottle::image::{ImportOptions, Source, Store};
use bottle::state;
use bottle::vm::agent::ExecRequest;
use bottle::vm::{Vm, VmConfig, create_overlay};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    // The VM is this program again, in a child process: there, this does not return.
    bottle::vm::become_vmm_if_asked();

    let mut arguments = std::env::args().skip(1);
    let image: Source = arguments.next().ok_or("usage: run_command IMAGE COMMAND [ARG…]")?.parse()?;
    let command: Vec<String> = arguments.collect();

    // The image becomes a disk, once; the next run finds it.
    let store = Store::open(&state::cache_root()?)?;
    let image = store.import(&image, &ImportOptions::default(), &mut |_| ControlFlow::Continue(()))?;

    // What the guest writes goes into an overlay, which is thrown away with the directory.
    let directory = tempfile::tempdir()?;
    let disk = directory.path().join("disk.qcow2");
    create_overlay(&image.base, &disk, None)?;

    let config = VmConfig::new(directory.path(), disk).image(&image);
    let vm = Vm::start(&config)?;
    let output = vm.agent().exec(&ExecRequest::new(command))?.output()?;

    std::io::stdout().write_all(&output.stdout)?;
    std::io::stderr().write_all(&output.stderr)?;
    Ok(output.status.shell_code().into())
}
