//! What the process of a bottle in the background printed; and the logs of its VM and of its bundle's daemons.
//!
//! ```text
//! process ─► guest agent ─► launcher ─► OutputLog ─► output.log       at most 16 MiB, then it becomes
//!                                            │       output.log.old   (the one before that is gone)
//!                                            └─► a notice to each follower, on the control socket
//! ```
//!
//! The files are in the log format of CRI ([`entry`]), so that other tools can read them. [`writer`] writes them; [`reader`]
//! reads what is there, and goes on where it was when there is more.

mod daemons;
mod entry;
mod reader;
mod writer;

use std::io;
use std::path::{Path, PathBuf};

pub use daemons::{daemon_log, daemons};
pub use entry::{Entry, Stream};
pub use reader::LogReader;
pub(crate) use writer::OutputLog;

pub use crate::vm::denial::{Denial, Denied};
pub use crate::vm::log_file::without_controls;

/// Where a bottle's output is logged.
pub fn output_log(bottle: &Path) -> PathBuf {
    bottle.join("output.log")
}

/// The logs of a bottle's VM, those that come first in time first: what libkrun printed, and what the guest's kernel and init
/// did. A guest can write anything into them; [`without_controls`] makes them fit to be seen.
pub fn vm_logs(bottle: &Path) -> Vec<PathBuf> {
    use crate::vm::{config, log_file};
    let logs = [config::vmm_log(bottle), config::console_log(bottle)];
    logs.into_iter().flat_map(|log| [log_file::old(&log), log]).filter(|log| log.exists()).collect()
}

/// What the bottle's guest was refused, the oldest first: as much as is kept, at most 2 MiB of it.
///
/// # Errors
/// When a log that is there can't be read.
pub fn denials(bottle: &Path) -> io::Result<Vec<Denial>> {
    use crate::vm::{config, log_file};
    let log = config::denials_log(bottle);
    let mut denials = Vec::new();
    for log in [log_file::old(&log), log] {
        match std::fs::read_to_string(log) {
            Ok(text) => denials.extend(text.lines().filter_map(|line| line.parse().ok())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(denials)
}
