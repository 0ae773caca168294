//! Our terminal, while a process in the guest has it.

use std::io;
use std::os::fd::OwnedFd;

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

use super::LaunchError;
use crate::vm::agent::TtySize;

/// A terminal in raw mode: every byte goes to the guest. Dropping it puts it back.
#[derive(Debug)]
pub(super) struct RawTerminal {
    terminal: OwnedFd,
    before: Termios,
}

impl RawTerminal {
    /// Switches the terminal on stdin.
    pub(super) fn enter() -> Result<Self, LaunchError> {
        let stdin = rustix::stdio::stdin();
        if !isatty(stdin) {
            return Err(LaunchError::NoTerminal);
        }
        let switch = || -> io::Result<Self> {
            let terminal = stdin.try_clone_to_owned()?;
            let before = tcgetattr(&terminal)?;
            let mut raw = before.clone();
            raw.make_raw();
            tcsetattr(&terminal, OptionalActions::Flush, &raw)?;
            Ok(Self { terminal, before })
        };
        switch().map_err(LaunchError::Terminal)
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // Nothing is left to try when the terminal is gone.
        tcsetattr(&self.terminal, OptionalActions::Now, &self.before).unwrap_or_default();
    }
}

/// The size of the terminal on stdin.
pub(super) fn size() -> Result<TtySize, LaunchError> {
    let size = tcgetwinsize(rustix::stdio::stdin()).map_err(|error| match error {
        rustix::io::Errno::NOTTY => LaunchError::NoTerminal,
        error => LaunchError::Terminal(error.into()),
    })?;
    Ok(TtySize { rows: size.ws_row, columns: size.ws_col })
}
