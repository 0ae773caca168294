//! Files that are not complete: nothing is ever seen under a final name but what is whole. What is not published is gone.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;

use crate::sys;

/// Numbers the temporary names of this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A file under way. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) file: File,
    directory: Arc<OwnedFd>,
    /// None while it has no name at all: then it is gone with this process, however that ends.
    name: Option<String>,
}

impl Pending {
    /// In the directory in which it will be: a rename goes no further.
    pub(crate) fn create(directory: Arc<OwnedFd>) -> io::Result<Self> {
        if let Some(file) = sys::create_unnamed(&directory)? {
            return Ok(Self { file: file.into(), directory, name: None });
        }
        Self::named(directory)
    }

    /// Where a file can't be without a name.
    pub(crate) fn named(directory: Arc<OwnedFd>) -> io::Result<Self> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (file, name) =
            with_free_name(|name| Ok(openat(&directory, name, flags, Mode::RUSR | Mode::WUSR)?))?;
        Ok(Self { file: file.into(), directory, name: Some(name) })
    }

    /// Gives it its name, in place of whatever file had it.
    pub(crate) fn publish(mut self, name: &[u8]) -> io::Result<()> {
        let temporary = match self.name.take() {
            Some(temporary) => temporary,
            None => match sys::link_unnamed(&self.file, &self.directory, name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    with_free_name(|name| sys::link_unnamed(&self.file, &self.directory, name.as_bytes()))?.1
                }
                linked => return linked,
            },
        };
        rename(&self.directory, &temporary, name)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            unlinkat(&self.directory, name.as_str(), AtFlags::empty()).unwrap_or_default();
        }
    }
}

/// Puts something that is made in one go, such as a link, at `name`, in place of whatever file is there.
pub(crate) fn replace(
    directory: &OwnedFd,
    name: &[u8],
    make: impl Fn(&str) -> io::Result<()>,
    finish: impl FnOnce(&str) -> io::Result<()>,
) -> io::Result<()> {
    let ((), temporary) = with_free_name(make)?;
    let finished = finish(&temporary).and_then(|()| rename(directory, &temporary, name));
    // Also after a success: two names of one file stay two when one is renamed to the other.
    unlinkat(directory, temporary.as_str(), AtFlags::empty()).unwrap_or_default();
    finished
}

fn rename(directory: &OwnedFd, from: &str, to: &[u8]) -> io::Result<()> {
    renameat(directory, from, directory, to).map_err(|error| {
        unlinkat(directory, from, AtFlags::empty()).unwrap_or_default();
        error.into()
    })
}

/// Makes something under a name that nothing has. What a process that was killed left is passed over.
fn with_free_name<T>(make: impl Fn(&str) -> io::Result<T>) -> io::Result<(T, String)> {
    let process = rustix::process::getpid().as_raw_nonzero();
    loop {
        let name = format!(".bottle-cp-{process}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        match make(&name) {
            Err(error) if error.raw_os_error() == Some(Errno::EXIST.raw_os_error()) => {}
            made => return made.map(|made| (made, name)),
        }
    }
}
