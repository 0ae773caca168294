//! Signals, taken in a thread of their own and handed to the launch under way.

use std::process::{Child, ExitCode};
use std::thread;

use bottle::launch::{self, Executing, Interrupt};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH};
use signal_hook::iterator::Signals;

use super::report::CliError;

/// Those that end a program, and those of a terminal.
const SIGNALS: [i32; 6] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGCONT];

/// So many signals end `bottle exec`, when the process does not end by the first ones.
const PATIENCE: u32 = 3;

/// Takes signals from here on, for a launch.
pub(super) fn watch() -> Result<Interrupt, CliError> {
    let interrupt = Interrupt::new();
    let handed = interrupt.clone();
    take(move |signal| match size_after(signal) {
        Some((rows, columns)) => handed.resize(rows, columns),
        None if handed.deliver(signal) => {}
        None => {
            launch::restore_terminal();
            eprintln!("bottle: stopped in the middle; `bottle gc` removes what is left");
            std::process::exit(128 + signal);
        }
    })?;
    Ok(interrupt)
}

/// Takes signals from here on, for `bottle exec`. They are the process's, unless it has our terminal: then what comes here
/// was not typed, it is meant for us, and our end is a hang-up for the process.
pub(super) fn pass_to(executing: &Executing) -> Result<(), CliError> {
    let (control, ends_us) = (executing.control(), executing.takes_terminal());
    let mut count = 0;
    take(move |signal| {
        if let Some((rows, columns)) = size_after(signal) {
            control.resize(rows, columns).unwrap_or_default();
            return;
        }
        count += 1;
        if ends_us || count >= PATIENCE {
            launch::restore_terminal();
            std::process::exit(128 + signal);
        }
        // It fails when the process has ended, which is what the signal wanted.
        control.signal(signal.unsigned_abs()).unwrap_or_default();
    })
}

/// Passes the signals that end a program on to a child, from here on.
pub(super) fn forward(child: &Child) -> Result<(), CliError> {
    let child = Pid::from_child(child);
    take(move |signal| {
        if !matches!(signal, SIGWINCH | SIGCONT)
            && let Some(signal) = Signal::from_named_raw(signal)
        {
            // It has ended, and what it said of that is about to be read.
            kill_process(child, signal).unwrap_or_default();
        }
    })
}

/// Calls `act` for each signal, in a thread.
fn take(mut act: impl FnMut(i32) + Send + 'static) -> Result<(), CliError> {
    let io = |source| CliError::Io { what: "cannot take signals", source };
    let mut signals = Signals::new(SIGNALS).map_err(io)?;
    let thread = thread::Builder::new().name("signals".to_owned());
    thread.spawn(move || signals.forever().for_each(&mut act)).map_err(io)?;
    Ok(())
}

/// The terminal's size, if the signal says that it may be another one. Whoever stopped us has had the terminal.
fn size_after(signal: i32) -> Option<(u16, u16)> {
    match signal {
        SIGCONT => launch::resume_terminal(),
        SIGWINCH => {}
        _ => return None,
    }
    let size = launch::terminal_size();
    Some((size.rows, size.columns))
}

/// The command's own exit code.
pub(super) fn exit_code(status: bottle::vm::agent::ExitStatus) -> ExitCode {
    ExitCode::from(status.shell_code())
}
