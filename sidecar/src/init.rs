//! `bottle-sidecar init`: process 1 of the container.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs until it is told to end.
pub(crate) fn main(_arguments: Vec<OsString>) -> ExitCode {
    eprintln!("bottle-sidecar: init is not there yet");
    ExitCode::FAILURE
}
