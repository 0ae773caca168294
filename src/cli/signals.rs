//! Signals, taken in a thread of their own and handed to the launch under way.

use std::process::ExitCode;
use std::thread;

use bottle::launch::Interrupt;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH};
use signal_hook::iterator::Signals;

use super::report::CliError;

/// Takes the signals that end a program, and those of a terminal, from here on.
pub(super) fn watch() -> Result<Interrupt, CliError> {
    let io = |source| CliError::Io { what: "cannot take signals", source };
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH]).map_err(io)?;
    let interrupt = Interrupt::new();
    let handed = interrupt.clone();
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                if signal == SIGWINCH {
                    if let Ok(size) = rustix::termios::tcgetwinsize(rustix::stdio::stdin()) {
                        handed.resize(size.ws_row, size.ws_col);
                    }
                } else if !handed.deliver(signal) {
                    eprintln!("bottle: stopped in the middle; `bottle gc` removes what is left");
                    std::process::exit(128 + signal);
                }
            }
        })
        .map_err(io)?;
    Ok(interrupt)
}

/// The command's own exit code.
pub(super) fn exit_code(status: bottle::vm::agent::ExitStatus) -> ExitCode {
    ExitCode::from(status.shell_code())
}
