//! Which manifests of projects the user has said yes to.
//!
//! ```text
//! .trust/<SHA-256 of the path>.json     { "path": "/src/project/bottle.toml", "digest": "…" }
//! ```
//!
//! A manifest is trusted as it was when it was shown, in the place where it was: another content, or another place, has to be
//! trusted anew.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{StateError, state_root};

const DIR: &str = ".trust";

/// A path of 4 KiB, each byte escaped, and a digest.
const LIMIT_BYTES: u64 = 64 * 1024;

#[derive(Serialize, Deserialize)]
struct Trusted {
    path: PathBuf,
    digest: String,
}

/// Was a manifest of this content trusted in this place?
///
/// # Errors
/// When there is no place for what is trusted. What can't be read there trusts nothing.
pub fn is_trusted(path: &Path, digest: &str) -> Result<bool, StateError> {
    Ok(trusted_in(&state_root()?, path, digest))
}

/// Remembers that it is.
///
/// # Errors
/// When that can't be written.
pub fn trust(path: &Path, digest: &str) -> Result<(), StateError> {
    trust_in(&state_root()?, path, digest)
}

/// Forgets it. Says whether anything was trusted there.
///
/// # Errors
/// When what is there can't be removed.
pub fn distrust(path: &Path) -> Result<bool, StateError> {
    let file = file(&state_root()?, path);
    match fs::remove_file(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        removed => removed.map(|()| true).map_err(StateError::io("remove", &file)),
    }
}

fn trusted_in(root: &Path, path: &Path, digest: &str) -> bool {
    let mut json = Vec::new();
    let read =
        fs::File::open(file(root, path)).and_then(|file| file.take(LIMIT_BYTES).read_to_end(&mut json));
    let trusted = read.ok().and_then(|_| serde_json::from_slice::<Trusted>(&json).ok());
    trusted.is_some_and(|trusted| trusted.path == path && trusted.digest == digest)
}

fn trust_in(root: &Path, path: &Path, digest: &str) -> Result<(), StateError> {
    let (dir, file) = (root.join(DIR), file(root, path));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(StateError::io("create", &dir))?;
    let write = || -> io::Result<()> {
        // Of mode 0600, and in place as a whole.
        let mut new = tempfile::NamedTempFile::new_in(&dir)?;
        new.write_all(&serde_json::to_vec(&Trusted { path: path.to_owned(), digest: digest.to_owned() })?)?;
        new.persist(&file)?;
        Ok(())
    };
    write().map_err(StateError::io("write", &file))
}

fn file(root: &Path, path: &Path) -> PathBuf {
    let name: String =
        Sha256::digest(path.as_os_str().as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    root.join(DIR).join(format!("{name}.json"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn trust_is_in_one_content_in_one_place() {
        let root = tempfile::tempdir().unwrap();
        let (root, here) = (root.path().join("state"), Path::new("/src/bottle.toml"));
        assert!(!trusted_in(&root, here, "a"));
        trust_in(&root, here, "a").unwrap();
        assert!(trusted_in(&root, here, "a"));
        assert!(!trusted_in(&root, here, "b"));
        assert!(!trusted_in(&root, Path::new("/other/bottle.toml"), "a"));
        trust_in(&root, here, "b").unwrap();
        assert!(trusted_in(&root, here, "b") && !trusted_in(&root, here, "a"));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let file = file(&root, here);
        assert_eq!((mode(&root), mode(&root.join(DIR)), mode(&file)), (0o700, 0o700, 0o600));
        // One place's record under another's name is no trust in that.
        fs::copy(&file, super::file(&root, Path::new("/other/bottle.toml"))).unwrap();
        assert!(!trusted_in(&root, Path::new("/other/bottle.toml"), "b"));
        fs::write(&file, "{").unwrap();
        assert!(!trusted_in(&root, here, "b"));
    }
}
