//! git here: in the user's own repository, and with nothing of it that runs programs.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use bottle_transfer::printable;

use super::WorktreeError;

/// So much of what it says is quoted.
const SAID_MAX_BYTES: usize = 2048;

/// git, about the repository that this directory is in.
pub(super) fn git<S: AsRef<OsStr>>(dir: &Path, words: impl IntoIterator<Item = S>) -> Command {
    let mut git = Command::new("git");
    git.arg("-C").arg(dir).args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]).args(words);
    // Whoever starts us may be a hook of another repository's.
    for name in
        ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_PREFIX"]
    {
        git.env_remove(name);
    }
    git.env("GIT_OPTIONAL_LOCKS", "0").env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
    git.stdin(Stdio::null());
    git
}

/// Runs it to its end; what it prints.
pub(super) fn output(verb: &'static str, mut git: Command) -> Result<Vec<u8>, WorktreeError> {
    let output = run(&mut git)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(WorktreeError::Git { verb, said: said(&output.stderr) })
}

/// The same as text, without the line's end.
pub(super) fn text(verb: &'static str, git: Command) -> Result<String, WorktreeError> {
    Ok(String::from_utf8_lossy(&output(verb, git)?).trim_end().to_owned())
}

pub(super) fn run(git: &mut Command) -> Result<Output, WorktreeError> {
    git.output().map_err(WorktreeError::NoGit)
}

/// The end of what git said, fit for a terminal.
pub(super) fn said(bytes: &[u8]) -> String {
    let bytes = bytes.trim_ascii();
    printable(&bytes[bytes.len().saturating_sub(SAID_MAX_BYTES)..])
}

/// The name of an object, as git prints it.
pub(super) fn is_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64)
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}
