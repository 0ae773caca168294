//! Which working tree is meant, and what of it is sent.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::WorktreeError;
use super::git::{git, is_id, output, run, said, text};

/// A working tree of git's, and where in it the user is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worktree {
    /// Its top directory, absolute.
    pub top: PathBuf,
    /// The user's directory, below `top`.
    pub below: PathBuf,
}

impl Worktree {
    /// The one that this directory is in.
    ///
    /// # Errors
    /// When it is in none, or there is no git.
    pub fn find(dir: &Path) -> Result<Self, WorktreeError> {
        let asked = run(&mut git(dir, ["rev-parse", "--show-toplevel", "--show-prefix"]))?;
        let said = || WorktreeError::NotATree { dir: dir.to_owned(), said: said(&asked.stderr) };
        if !asked.status.success() {
            return Err(said());
        }
        let mut lines = asked.stdout.split(|byte| *byte == b'\n');
        let mut path = || PathBuf::from(OsStr::from_bytes(lines.next().unwrap_or_default()));
        let (top, below) = (path(), path());
        if !top.is_absolute() {
            return Err(said());
        }
        Ok(Self { top, below })
    }
}

/// Where the parts of a repository lie.
#[derive(Debug)]
pub(super) struct Repository {
    /// What all of its working trees share.
    pub(super) common: PathBuf,
    /// What is this working tree's own; the same but for a linked one.
    pub(super) own: PathBuf,
}

impl Repository {
    pub(super) fn of(top: &Path) -> Result<Self, WorktreeError> {
        let asked = |what: &str| -> Result<PathBuf, WorktreeError> {
            let path = output("rev-parse", git(top, ["rev-parse", "--path-format=absolute", what]))?;
            Ok(PathBuf::from(OsString::from_vec(path.trim_ascii_end().to_vec())))
        };
        let repository = Self { common: asked("--git-common-dir")?, own: asked("--absolute-git-dir")? };
        if repository.common.join("objects/info/alternates").exists() {
            return Err(WorktreeError::Alternates { top: top.to_owned() });
        }
        Ok(repository)
    }
}

/// The commit that is checked out; none where there is none yet.
pub(super) fn head(top: &Path) -> Result<Option<String>, WorktreeError> {
    let asked = run(&mut git(top, ["rev-parse", "--quiet", "--verify", "HEAD^{commit}"]))?;
    let head = String::from_utf8_lossy(&asked.stdout).trim_end().to_owned();
    Ok(asked.status.success().then_some(head).filter(|head| is_id(head)))
}

/// The files that are tracked, or that git does not ignore. Those that are gone are among them, and repositories in the repository,
/// which are directories.
pub(super) fn files(top: &Path) -> Result<BTreeSet<PathBuf>, WorktreeError> {
    let listed = git(top, ["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let listed = output("ls-files", listed)?;
    let paths = listed.split(|byte| *byte == 0).filter(|path| !path.is_empty());
    Ok(paths.map(|path| PathBuf::from(OsStr::from_bytes(path))).collect())
}

/// What `git config --list` has of the repository's own file, with the key in lower case where its case does not matter.
pub(super) fn settings(repository: &Repository) -> Result<Vec<(String, String)>, WorktreeError> {
    let file = repository.common.join("config");
    let mut list = git(&repository.common, ["config", "--list", "-z", "--no-includes", "--file"]);
    list.arg(&file);
    let listed = text("config", list)?;
    let pairs = listed.split('\0').filter(|pair| !pair.is_empty());
    // A key without a value is one that is true.
    Ok(pairs
        .map(|pair| pair.split_once('\n').unwrap_or((pair, "true")))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect())
}
