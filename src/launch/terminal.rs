//! Our terminal, while a process in the guest has it: raw, so that every byte goes there.
//!
//! There is one for the whole process, since whoever ends the process has to put it back: the end of the command, a
//! signal, a panic of any thread.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use rustix::process::getpgrp;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr};

use super::{LaunchError, sys};
use crate::vm::agent::{EnvVar, TtySize};

/// For a process that gets a terminal where we have none: what a terminal was before it had a window.
const DEFAULT_SIZE: TtySize = TtySize { rows: 24, columns: 80 };

/// What a program needs to know of the terminal that it talks to. Languages are the guest's own affair.
const VARIABLES: [&str; 2] = ["TERM", "COLORTERM"];

static RAW: Mutex<Option<Modes>> = Mutex::new(None);

/// A terminal's modes, now and to be.
struct Modes {
    terminal: OwnedFd,
    before: Termios,
    raw: Termios,
}

/// The terminal in raw mode. Dropping it puts the terminal back.
#[derive(Debug)]
pub(super) struct RawTerminal(());

impl RawTerminal {
    /// Switches the terminal on stdin.
    pub(super) fn enter() -> Result<Self, LaunchError> {
        check()?;
        restore_before_panics();
        let switch = || -> io::Result<()> {
            let terminal = rustix::stdio::stdin().try_clone_to_owned()?;
            let before = tcgetattr(&terminal)?;
            let mut raw = before.clone();
            raw.make_raw();
            // Held across the switch: whoever restores meanwhile comes after it.
            let mut state = lock();
            // What was typed ahead is kept.
            tcsetattr(&terminal, OptionalActions::Now, &raw)?;
            *state = Some(Modes { terminal, before, raw });
            Ok(())
        };
        switch().map_err(LaunchError::Terminal)?;
        Ok(Self(()))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        restore();
    }
}

fn lock() -> MutexGuard<'static, Option<Modes>> {
    RAW.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts the terminal back, if a command has it. For those who are about to end the process; done twice, it does no harm.
pub fn restore() {
    let Some(modes) = lock().take() else { return };
    sys::from_background(|| {
        // Somebody else may have it by now, a shell whose job we were: it is theirs, unless they took it as we left it.
        if modes.in_foreground() || modes.are_set() {
            // Nothing is left to try when the terminal is gone.
            tcsetattr(&modes.terminal, OptionalActions::Now, &modes.before).unwrap_or_default();
        }
    });
}

/// After this process was stopped and goes on: a shell has switched the terminal meanwhile.
pub fn resume() {
    if let Some(modes) = &*lock()
        && modes.in_foreground()
    {
        tcsetattr(&modes.terminal, OptionalActions::Now, &modes.raw).unwrap_or_default();
    }
}

impl Modes {
    fn in_foreground(&self) -> bool {
        tcgetpgrp(&self.terminal).is_ok_and(|group| group == getpgrp())
    }

    /// Is the terminal as we have set it?
    fn are_set(&self) -> bool {
        tcgetattr(&self.terminal).is_ok_and(|now| {
            now.local_modes == self.raw.local_modes
                && now.input_modes == self.raw.input_modes
                && now.output_modes == self.raw.output_modes
        })
    }
}

/// A panic's message is for a terminal that is as it was.
fn restore_before_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let next = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            next(panic);
        }));
    });
}

/// An error if stdin is no terminal.
pub(super) fn check() -> Result<(), LaunchError> {
    if isatty(rustix::stdio::stdin()) { Ok(()) } else { Err(LaunchError::NoTerminal) }
}

/// The size of our terminal, whichever of our streams it is on.
pub fn size() -> TtySize {
    let size = |stream: BorrowedFd<'_>| {
        let size = tcgetwinsize(stream).ok()?;
        let size = TtySize { rows: size.ws_row, columns: size.ws_col };
        // A serial line does not know its size.
        (size.rows > 0 && size.columns > 0).then_some(size)
    };
    let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    streams.into_iter().find_map(size).unwrap_or(DEFAULT_SIZE)
}

/// What a process in the guest is told of our terminal.
pub(super) fn environment() -> impl Iterator<Item = EnvVar> {
    use std::os::unix::ffi::OsStringExt;
    VARIABLES.into_iter().filter_map(|name| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
        Some(EnvVar::new(name, value.into_vec()))
    })
}
