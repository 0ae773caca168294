//! The named files of an image: members of a tar archive, or files below a directory.
//!
//! Only headers are read to find those of an archive, so one of gigabytes opens at once. An older docker writes a layer
//! that occurs twice as a symlink to its first place. Of a directory, only regular files are opened.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::error::ImageError;
use super::region::{READ_AHEAD, Region};
use super::tarball::{Headers, Kind, TarError};

/// The most entries an archive may have: 127 layers, three files each, and room for many tags.
const MAX_ENTRIES: usize = 100_000;
/// How many symlinks may lead from one member to the next.
const MAX_LINKS: usize = 8;

/// See the module.
pub(super) struct Members {
    /// The archive or the directory.
    path: PathBuf,
    place: Place,
}

enum Place {
    Archive(HashMap<String, Member>),
    Directory,
}

enum Member {
    File(Region),
    Link(String),
}

impl Members {
    /// Those of an archive, or of a directory.
    pub(super) fn of(path: &Path) -> Result<Self, ImageError> {
        let unreadable = |source| ImageError::Io { action: "read", path: path.to_owned(), source };
        let meta = fs::metadata(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => ImageError::Missing(path.to_owned()),
            _ => unreadable(source),
        })?;
        if meta.is_dir() {
            return Ok(Self { path: path.to_owned(), place: Place::Directory });
        }
        if !meta.is_file() {
            return Err(ImageError::NotAnArchive {
                path: path.to_owned(),
                reason: "it is neither a file nor a directory".into(),
            });
        }
        let file = File::open(path).map_err(unreadable)?;
        Self::of_archive(path, &Region::whole(file).map_err(unreadable)?)
    }

    fn of_archive(path: &Path, region: &Region) -> Result<Self, ImageError> {
        let no_archive = |reason: String| ImageError::NotAnArchive { path: path.to_owned(), reason };
        let damaged = |reason: String| ImageError::Damaged { path: path.to_owned(), reason };
        let mut members = HashMap::new();
        let mut headers = Headers::new(region.reader(READ_AHEAD));
        loop {
            let at = headers.position();
            let entry = match headers.next() {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                Err(TarError::NoHeader(0)) => return Err(no_archive("it is not a tar file".into())),
                Err(TarError::Truncated(_)) if at == 0 => {
                    return Err(no_archive("it is too short for a tar file".into()));
                }
                Err(error) => return Err(damaged(error.to_string())),
            };
            if members.len() >= MAX_ENTRIES {
                return Err(no_archive(format!("it has more than {MAX_ENTRIES} entries")));
            }
            // Names in an image archive are all plain; others can't be asked for.
            let Some(name) = std::str::from_utf8(&entry.path).ok().map(normal) else { continue };
            let member = match entry.kind {
                Kind::File => match region.part(entry.offset, entry.shape.stored) {
                    Some(part) => Member::File(part),
                    None => return Err(damaged(format!("{name}: cut off"))),
                },
                Kind::Symlink => match std::str::from_utf8(&entry.link) {
                    Ok(link) => Member::Link(beside(&name, link)),
                    Err(_) => continue,
                },
                _ => continue,
            };
            members.insert(name, member);
        }
        Ok(Self { path: path.to_owned(), place: Place::Archive(members) })
    }

    /// The archive or the directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The member of this name, if there is one.
    pub(super) fn find(&self, name: &str) -> Result<Option<Region>, ImageError> {
        let mut name = normal(name);
        match &self.place {
            Place::Directory => self.file(&name),
            Place::Archive(members) => {
                for _ in 0..MAX_LINKS {
                    match members.get(&name) {
                        Some(Member::File(region)) => return Ok(Some(region.clone())),
                        Some(Member::Link(target)) => name = target.clone(),
                        None => return Ok(None),
                    }
                }
                Ok(None)
            }
        }
    }

    fn file(&self, name: &str) -> Result<Option<Region>, ImageError> {
        let path = self.path.join(name);
        let open = || {
            // To open a fifo would wait for its writer.
            if !fs::metadata(&path)?.is_file() {
                return Err(io::Error::other("it is not a regular file"));
            }
            Region::whole(File::open(&path)?)
        };
        match open() {
            Ok(region) => Ok(Some(region)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ImageError::Io { action: "read", path, source }),
        }
    }
}

/// A link's target, from where it lies.
pub(crate) fn beside(name: &str, link: &str) -> String {
    match name.rsplit_once('/') {
        Some((dir, _)) if !link.starts_with('/') => normal(&format!("{dir}/{link}")),
        _ => normal(link),
    }
}

/// A member's name without `./`, `/` and `..`, so that each has one spelling, and none leads out of a directory.
pub(crate) fn normal(name: &str) -> String {
    let mut parts = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_a_directory() {
        assert_eq!(normal("../../etc/passwd"), "etc/passwd");
        assert_eq!(normal("/./blobs//sha256/../x"), "blobs/x");
    }

    #[test]
    fn a_directory_gives_its_regular_files() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("blobs")).unwrap();
        fs::write(dir.path().join("blobs/a"), b"content").unwrap();
        let members = Members::of(dir.path()).unwrap();
        assert_eq!(members.find("blobs/a").unwrap().unwrap().read_all().unwrap(), b"content");
        assert!(members.find("blobs/b").unwrap().is_none());
        assert!(members.find("blobs").is_err(), "a directory is no member");
    }
}
