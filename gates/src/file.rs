//! Files in a directory that somebody else may write to as well.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Ends the name of a file that is not whole yet.
const NEW: &str = ".new";

/// Reads a file: a regular one, through no link, of at most `limit_bytes`. Never waits for anybody, whatever is there instead.
///
/// # Errors
/// When it can't be read, or is not what was said.
pub fn read_bytes(path: &Path, limit_bytes: u64) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(invalid("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(limit_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit_bytes {
        return Err(invalid(&format!("it has more than {limit_bytes} bytes")));
    }
    Ok(bytes)
}

/// Reads a file of JSON, as [`read_bytes`] does.
///
/// # Errors
/// When it can't be read, or is not what was said.
pub fn read<T: DeserializeOwned>(path: &Path, limit_bytes: u64) -> io::Result<T> {
    serde_json::from_slice(&read_bytes(path, limit_bytes)?).map_err(|error| invalid(&error.to_string()))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Puts a file of JSON in place, whole, in the place of what was there. Only its owner may read it.
///
/// # Errors
/// When the disk does not take it; what was there is there then.
pub fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    write_bytes(path, &json(value)?)
}

/// Puts a file in place, whole, in the place of what was there. Only its owner may read it.
///
/// # Errors
/// When the disk does not take it; what was there is there then.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = write_new(path, bytes)?;
    fs::rename(&new, path).inspect_err(|_| fs::remove_file(&new).unwrap_or_default())
}

/// Puts a file of JSON in place, whole, where nobody has put one.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] when somebody has.
pub fn create<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let new = write_new(path, &json(value)?)?;
    let linked = fs::hard_link(&new, path);
    fs::remove_file(&new)?;
    linked
}

/// Makes a directory that only its owner may look into, if there is none.
///
/// # Errors
/// When it can't be made.
pub fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The names of the files of JSON in a directory, without `.json`: the first `limit` that are there, in no order. Anything that
/// `is_name` doesn't know is left out.
///
/// # Errors
/// When the directory can't be read.
pub fn names(dir: &Path, limit: usize, is_name: fn(&str) -> bool) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        if let Some(name) = stem(&entry?.file_name()).filter(|name| is_name(name)) {
            names.push(name);
        }
        if names.len() == limit {
            break;
        }
    }
    Ok(names)
}

fn stem(name: &OsStr) -> Option<String> {
    let stem = name.as_bytes().strip_suffix(b".json")?;
    String::from_utf8(stem.to_owned()).ok()
}

fn json<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<std::path::PathBuf> {
    let mut name = path.as_os_str().to_owned();
    // Two who write the same file at once don't write into one.
    name.push(format!(".{}{NEW}", std::process::id()));
    let new = std::path::PathBuf::from(name);
    // What a crash left under this name, of a process of the same number.
    fs::remove_file(&new)
        .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    if rustix::process::geteuid().is_root() {
        // Root writes for the container's user, whose directory it is.
        let dir = fs::metadata(path.parent().unwrap_or(Path::new(".")))?;
        std::os::unix::fs::fchown(&file, Some(dir.uid()), Some(dir.gid()))?;
    }
    Ok(new)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_whole_private_and_created_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        create(&path, &1).unwrap();
        assert_eq!(create(&path, &2).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read::<u32>(&path, 10).unwrap(), 1);
        write(&path, &3).unwrap();
        assert_eq!(read::<u32>(&path, 10).unwrap(), 3);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(dir.path().join("..json"), "").unwrap();
        fs::write(dir.path().join("b.json.new"), "").unwrap();
        let found = names(dir.path(), 10, |name| name.chars().all(char::is_alphanumeric)).unwrap();
        assert_eq!(found, ["a"]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn what_is_no_plain_small_file_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("real"), "1").unwrap();
        std::os::unix::fs::symlink("real", path("link")).unwrap();
        fs::create_dir(path("dir")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, path("fifo"), rustix::fs::FileType::Fifo, Mode::RWXU, 0)
            .unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        fs::write(path("long"), "1".repeat(11)).unwrap();
        fs::write(path("broken"), "{").unwrap();
        assert_eq!(read::<u64>(&path("real"), 10).unwrap(), 1);
        for name in ["link", "dir", "fifo", "socket", "long", "broken", "none"] {
            assert!(read::<u64>(&path(name), 10).is_err(), "{name}");
        }
        assert!(read::<String>(Path::new("/dev/zero"), 10).is_err());
    }
}
