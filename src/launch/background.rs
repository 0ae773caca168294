//! A launcher in the background.

use std::io;
use std::path::PathBuf;

use crate::vm::sys;

/// The program that runs, to be started again, even when its file has been replaced since.
///
/// # Errors
/// When the system does not know it.
pub fn own_program() -> io::Result<PathBuf> {
    sys::own_program()
}

/// Leaves the terminal and the process group that this process was started in, and closes what else it inherited than its stdio.
/// For a process that has just started, and has opened nothing yet.
///
/// # Errors
/// When there can be no new session.
pub fn enter_background() -> io::Result<()> {
    sys::close_inherited(None);
    sys::new_session()
}
