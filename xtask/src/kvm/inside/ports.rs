//! The virtio-serial ports, by name.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::error::{Context, Error, Result};

/// The ports show up while the kernel talks to the device, which it does beside us: within a second, and several on a
/// busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// Opens the port of this name, for reading and writing.
pub(super) fn open(name: &str) -> Result<File> {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(path) = find(name) {
            return File::options().read(true).write(true).open(&path).file("open", path);
        }
        if Instant::now() > deadline {
            return Err(Error::other(format!("no port {name} within {} s", LIMIT.as_secs())));
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn find(name: &str) -> Option<PathBuf> {
    let ports = fs::read_dir("/sys/class/virtio-ports").ok()?;
    for port in ports.flatten() {
        if fs::read_to_string(port.path().join("name")).is_ok_and(|found| found.trim() == name) {
            return Some(Path::new("/dev").join(port.file_name()));
        }
    }
    None
}
