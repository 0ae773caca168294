//! Copies a file or directory into a microVM, has a command work on it, and copies what comes of it out again.
//!
//! ```text
//! cargo run --release --example copy_files -- IMAGE IN OUT COMMAND [ARG…]
//! cargo run --release --example copy_files -- debian:12 src/ sums sh -c 'cd /in && sha256sum $(find . -type f) > /out'
//! ```
//!
//! IN is `/in` in the guest, and what COMMAND leaves at `/out` becomes OUT, by the rules of `docker cp`.

use std::error::Error;
use std::io::Write;
use std::ops::ControlFlow;
use std::process::ExitCode;

use bottle::image::{ImportOptions, Source, Store};
use bottle::state;
use bottle::vm::agent::{CopyOptions, ExecRequest};
use bottle::vm::{Vm, VmConfig, create_overlay};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    bottle::vm::become_vmm_if_asked();

    const USAGE: &str = "usage: copy_files IMAGE IN OUT COMMAND [ARG…]";
    let mut arguments = std::env::args().skip(1);
    let image: Source = arguments.next().ok_or(USAGE)?.parse()?;
    let source = arguments.next().ok_or(USAGE)?;
    let destination = arguments.next().ok_or(USAGE)?;
    let command: Vec<String> = arguments.collect();

    let store = Store::open(&state::cache_root()?)?;
    let image = store.import(&image, &ImportOptions::default(), &mut |_| ControlFlow::Continue(()))?;
    let directory = tempfile::tempdir()?;
    let disk = directory.path().join("disk.qcow2");
    create_overlay(&image.base, &disk, None)?;
    let vm = Vm::start(&VmConfig::new(directory.path(), disk).image(&image))?;

    let copied = vm.agent().put(&source, "/in", CopyOptions::default())?;
    eprintln!("in: {copied:?}");

    let output = vm.agent().exec(&ExecRequest::new(command))?.output()?;
    std::io::stdout().write_all(&output.stdout)?;
    std::io::stderr().write_all(&output.stderr)?;
    if !output.status.success() {
        return Ok(output.status.shell_code().into());
    }

    // The guest may send what it likes: nothing of it leaves the destination, and no file is there in part.
    let copied = vm.agent().get("/out", &destination, CopyOptions::default())?;
    eprintln!("out: {copied:?}");
    Ok(ExitCode::SUCCESS)
}
