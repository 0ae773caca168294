//! Directories below a root, opened one component at a time, and none through a symbolic link: what is opened is below the
//! root, whoever makes or swaps links there meanwhile.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use crate::TransferError;
use crate::path::{below, join};

/// See the module. The directory that was asked for last stays open, since the next one is mostly the same or below it.
#[derive(Debug)]
pub(crate) struct Tree {
    root: Arc<OwnedFd>,
    /// The open one.
    path: Vec<u8>,
    directory: Arc<OwnedFd>,
}

impl Tree {
    pub(crate) fn new(root: OwnedFd) -> Self {
        let root = Arc::new(root);
        Self { directory: Arc::clone(&root), root, path: Vec::new() }
    }

    /// The directory at `path`, which was checked.
    pub(crate) fn directory(&mut self, path: &[u8]) -> Result<Arc<OwnedFd>, TransferError> {
        if path == self.path {
            return Ok(Arc::clone(&self.directory));
        }
        let rest = match below(path, &self.path) {
            Some(rest) => rest,
            None => {
                self.path.clear();
                self.directory = Arc::clone(&self.root);
                path
            }
        };
        for name in rest.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            let here = join(&self.path, name);
            self.directory = Arc::new(open_directory(&self.directory, name, &here)?);
            self.path = here;
        }
        Ok(Arc::clone(&self.directory))
    }
}

/// Opens a directory, and no link to one; `path` is for the error.
pub(crate) fn open_directory(at: &OwnedFd, name: &[u8], path: &[u8]) -> Result<OwnedFd, TransferError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(at, name, flags, Mode::empty()).map_err(|error| match error {
        // Which of the two a link gives depends on the system.
        Errno::NOTDIR | Errno::LOOP | Errno::MLINK => {
            TransferError::in_the_way(path, "something that is no directory", "a directory")
        }
        error => TransferError::io("open", path)(error),
    })
}
