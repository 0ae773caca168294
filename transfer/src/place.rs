//! Where the root of a copy goes, by the rules of `docker cp`:
//!
//! | destination | a file comes | a directory comes |
//! | --- | --- | --- |
//! | a directory | into it, under its name | into it, under its name; only its content if that was asked for |
//! | a file | in its place | refused |
//! | nothing, in a directory that exists | that is its name | that is its name |
//! | nothing, with `/` at the end | refused | that is its name |
//!
//! Symbolic links on the way to the destination are followed, as they are by any program that is given a path, and so is one
//! to a directory at its end. One to a file, or to nothing, is replaced: who can make links there, a guest in a
//! directory that it shares with the host for one, has no say in what file is written.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::{TransferError, path};

/// What the receiver was told.
#[derive(Debug, Clone)]
pub struct Destination {
    /// The path that was named.
    pub path: PathBuf,
    /// The root's name in a directory that exists; none if its content is to go there.
    pub name: Option<Vec<u8>>,
    /// It must be a directory that exists.
    pub must_exist: bool,
}

/// Where the root is put.
#[derive(Debug)]
pub(crate) enum Place {
    /// In this directory, under this name.
    In(OwnedFd, Vec<u8>),
    /// It is this directory, which exists.
    At(OwnedFd),
}

impl Destination {
    pub(crate) fn resolve(&self, directory_comes: bool) -> Result<Place, TransferError> {
        let bytes = self.path.as_os_str().as_bytes();
        let missing = |path: &Path| TransferError::NoDirectory { path: shown(path) };
        if let Some(name) = &self.name
            && (name.is_empty() || name.contains(&b'/') || path::check(name).is_err())
        {
            return Err(TransferError::bad_path(name, "it is not a name"));
        }
        let has_slash = bytes.ends_with(b"/") || bytes.ends_with(b"/.");
        match open(&self.path) {
            Ok(directory) => match &self.name {
                Some(name) => Ok(Place::In(directory, name.clone())),
                None if directory_comes => Ok(Place::At(directory)),
                None => Err(TransferError::in_the_way(bytes, "a directory", "a file")),
            },
            Err(rustix::io::Errno::NOTDIR) if self.must_exist || has_slash => {
                Err(TransferError::in_the_way(bytes, "something that is no directory", "a directory"))
            }
            Err(rustix::io::Errno::NOENT) if self.must_exist || (has_slash && !directory_comes) => {
                Err(missing(&self.path))
            }
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {
                let (parent, name) = parent_and_name(bytes).ok_or_else(|| missing(&self.path))?;
                let parent = open(parent).map_err(|error| match error {
                    rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR => missing(parent),
                    error => TransferError::io("open", parent.as_os_str().as_bytes())(error),
                })?;
                Ok(Place::In(parent, name.to_vec()))
            }
            Err(error) => Err(TransferError::io("open", bytes)(error)),
        }
    }
}

fn open(path: &Path) -> rustix::io::Result<OwnedFd> {
    openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn shown(path: &Path) -> String {
    crate::printable(path.as_os_str().as_bytes())
}

/// The directory that a path which leads to nothing would be in, and its name there.
fn parent_and_name(path: &[u8]) -> Option<(&Path, &[u8])> {
    let end = path.iter().rposition(|byte| *byte != b'/')? + 1;
    let path = &path[..end];
    let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(0) => (&b"/"[..], &path[1..]),
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&b"."[..], path),
    };
    (!matches!(name, b"." | b"..")).then(|| (Path::new(OsStr::from_bytes(parent)), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_exist_has_a_parent_and_a_name() {
        let parts = |path: &'static str| {
            parent_and_name(path.as_bytes()).map(|(parent, name)| (parent.to_str().unwrap(), name))
        };
        assert_eq!(parts("a"), Some((".", &b"a"[..])));
        assert_eq!(parts("/a"), Some(("/", &b"a"[..])));
        assert_eq!(parts("/a/b//"), Some(("/a", &b"b"[..])));
        for path in ["/", "", "a/..", "a/.", ".."] {
            assert_eq!(parts(path), None, "{path}");
        }
    }
}
