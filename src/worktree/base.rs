//! What is kept here of a working tree that went into a guest: `worktree.json` in the bottle's directory.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::WorktreeError;

const FILE: &str = "worktree.json";
const NEW_FILE: &str = "worktree.json.new";

/// See the module. The IDs are of commits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Base {
    /// The working tree here.
    pub(super) top: PathBuf,
    /// What was checked out, if there was a commit at all.
    pub(super) head: Option<String>,
    /// All of what went into the guest. Where everything was committed it is the same.
    pub(super) all: String,
    /// What was last brought back, and as which branch.
    #[serde(default)]
    pub(super) pulled: Option<(String, String)>,
}

impl Base {
    /// Commits that we made in the guest, as far as we know one.
    pub(super) fn made(&self) -> Vec<&str> {
        let pulled = self.pulled.as_ref().map(|(id, _)| id.as_str());
        [self.all.as_str()].into_iter().chain(pulled).collect()
    }

    pub(super) fn write(&self, bottle: &Path) -> Result<(), WorktreeError> {
        let new = bottle.join(NEW_FILE);
        let failed = || WorktreeError::file("write", &new);
        let json = serde_json::to_vec_pretty(self).map_err(|error| failed()(error.into()))?;
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&new).map_err(failed())?;
        file.write_all(&json).map_err(failed())?;
        fs::rename(&new, bottle.join(FILE)).map_err(failed())
    }

    /// None if no working tree went into this bottle.
    pub(super) fn read(bottle: &Path) -> Result<Option<Self>, WorktreeError> {
        let path = bottle.join(FILE);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(WorktreeError::file("read", &path))?,
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| WorktreeError::file("read", path)(error.into()))
    }
}
