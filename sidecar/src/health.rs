//! `bottle-sidecar health [--wait MS]`: asks the init how its daemons are, prints its answer as JSON, and succeeds when all are
//! ready. It is the container's health check, and how the launcher waits.

use std::ffi::OsString;
use std::process::ExitCode;

use bottle_protocol::bundle::{Answer, Request, State};

use crate::client::ask;
use crate::log;

/// See the module.
pub(crate) fn main(arguments: Vec<OsString>) -> ExitCode {
    let words: Vec<&str> = arguments.iter().map(|word| word.to_str().unwrap_or_default()).collect();
    let wait_ms = match words.as_slice() {
        [] => Some(0),
        ["--wait", number] => number.parse().ok(),
        _ => None,
    };
    let Some(wait_ms) = wait_ms else {
        log("usage: bottle-sidecar health [--wait MILLISECONDS]");
        return ExitCode::from(2);
    };
    match ask(&Request::Status { wait_ms }) {
        Ok(answer) => {
            println!("{}", serde_json::to_string(&answer).unwrap_or_default());
            let all_ready =
                |all: &[_]| all.iter().all(|one: &bottle_protocol::bundle::Status| one.state == State::Ready);
            match answer {
                Answer::Status(all) if all_ready(&all) => ExitCode::SUCCESS,
                _ => ExitCode::FAILURE,
            }
        }
        Err(error) => {
            log(&error.to_string());
            ExitCode::FAILURE
        }
    }
}
