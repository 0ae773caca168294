//! The end: processes, disk, machine, in this order.

use std::time::Duration;

use rustix::mount::{MountFlags, mount_remount};

use crate::reaper::Reaper;
use crate::sys;

/// How long killed processes are waited for. None survives, but one may be busy with the disk.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// Ends all processes (SIGTERM, and SIGKILL when `grace` has passed), writes the disk out and powers off. In a process
/// that is not process 1 it ends those that were started here, and exits.
pub fn off(reaper: &Reaper, grace: Duration) -> ! {
    if std::process::id() != 1 {
        reaper.signal_children(libc::SIGTERM);
        if !reaper.wait_childless(grace) {
            reaper.signal_children(libc::SIGKILL);
            reaper.wait_childless(KILL_WAIT);
        }
        std::process::exit(0);
    }
    sys::kill_all(libc::SIGTERM);
    // A stopped process would sleep through the SIGTERM.
    sys::kill_all(libc::SIGCONT);
    if !reaper.wait_childless(grace) {
        sys::kill_all(libc::SIGKILL);
        reaper.wait_childless(KILL_WAIT);
    }
    machine_off()
}

/// Writes the disk out and restarts, which is how libkrun's machines end.
pub(crate) fn machine_off() -> ! {
    rustix::fs::sync();
    // Leaves a clean file system behind; if something still writes, the journal is as good.
    let _ = mount_remount("/", MountFlags::RDONLY, c"");
    loop {
        sys::restart();
        // Not reached, but process 1 must not end.
        std::thread::park_timeout(Duration::from_secs(1));
    }
}
