//! The developer commands: `cargo xtask COMMAND`.
//!
//! `setup` fetches what a machine with only a Rust toolchain lacks, `kvm` runs a command where KVM works, `images` makes
//! the images that the tests use, `demo` shows what bottle does, `bench` measures what it costs, and `test` runs all tests.

mod bench;
mod cli;
mod command;
mod demo;
mod error;
mod fuzz;
mod images;
mod kvm;
mod paths;
mod setup;
mod shares;
mod test;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::from(error::FAILED)
        }
    }
}
