//! One static program, several daemons of a bottle's bundle: `bottle-sidecar MODE [ARGUMENT…]`. What a mode does is in the
//! module of its name.
//!
//! The container's process 1 is `init`. The others are started by it, by docker at the launcher's request, or by git: it runs
//! its hooks without a mode, and they are told by the name of the link by which we are called.

mod client;
mod git_gate;
mod health;
mod init;
mod secrets;
mod supervise;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// What a mode's `main` gets, and what it gives back.
type Mode = fn(Vec<OsString>) -> ExitCode;

/// Every mode.
const MODES: &[(&str, Mode)] = &[
    ("init", init::main),
    ("health", health::main),
    ("secrets", secrets::main),
    ("supervise", supervise::main),
    ("git-gate", git_gate::main),
    ("git-gate-hold", git_gate::hold),
];

/// What git calls, by the name of a link.
const HOOKS: &[(&str, Mode)] = &[("access", git_gate::access), ("pre-receive", git_gate::pre_receive)];

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let called = arguments.next().map(PathBuf::from).unwrap_or_default();
    if let Some((_, hook)) = HOOKS.iter().find(|(name, _)| called.file_name() == Some(name.as_ref())) {
        return hook(arguments.collect());
    }
    let name = arguments.next().unwrap_or_default();
    match MODES.iter().find(|(mode, _)| name == *mode) {
        Some((_, run)) => run(arguments.collect()),
        None => {
            let known: Vec<&str> = MODES.iter().map(|(mode, _)| *mode).collect();
            eprintln!("bottle-sidecar: {} is no mode; there are {}", name.display(), known.join(", "));
            ExitCode::from(2)
        }
    }
}

/// Writes a line to stderr, which docker keeps as the container's log. There is nobody to tell if that fails.
fn log(line: &str) {
    use std::io::Write;
    let mut stderr = std::io::stderr().lock();
    drop(stderr.write_all(format!("bottle-sidecar: {line}\n").as_bytes()));
}
