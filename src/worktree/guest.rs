//! git in the guest, which may do and say anything: what it prints is limited, and only objects that git here has checked count.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Stdio};

use super::WorktreeError;
use super::git::{git, is_id, said};
use crate::plan::WORKSPACE;
use crate::vm::agent::{Agent, ExecEvent, ExecRequest, ExitStatus};

/// Prints the ID of a commit that has all of the working tree: HEAD if that has it, else one on top of HEAD, of those named or new. The
/// agent's index and branches stay as they are.
const SNAPSHOT: &str = r#"
set -eu
own=$(git rev-parse --absolute-git-dir)
GIT_INDEX_FILE=$own/index.bottle
export GIT_INDEX_FILE
trap 'rm -f "$GIT_INDEX_FILE" "$GIT_INDEX_FILE.lock"' EXIT
rm -f "$GIT_INDEX_FILE"
if [ -e "$own/index" ]; then cp "$own/index" "$GIT_INDEX_FILE"; fi
git add --all >&2
tree=$(git write-tree)
head=$(git rev-parse --quiet --verify 'HEAD^{commit}' || true)
if [ "$head" ] && [ "$(git rev-parse --verify 'HEAD^{tree}')" = "$tree" ]; then
    echo "$head"
    exit
fi
for made; do
    of=$(git rev-parse --quiet --verify "$made^{tree}" || true)
    on=$(git rev-parse --quiet --verify "$made^" || true)
    if [ "$of $on" = "$tree $head" ]; then
        echo "$made"
        exit
    fi
done
if ! git config user.email >/dev/null; then
    export GIT_AUTHOR_NAME=agent GIT_AUTHOR_EMAIL=agent@localhost
    export GIT_COMMITTER_NAME=agent GIT_COMMITTER_EMAIL=agent@localhost
fi
git commit-tree ${head:+-p "$head"} -m 'What was not committed' "$tree"
"#;

/// Writes a pack of what its arguments name.
const PACK: &str = r#"
set -eu
printf '%s\n' "$@" | git pack-objects --revs --thin --stdout --delta-base-offset -q
"#;

/// Of an ID and the line's end, and of complaints, so much is listened to.
const ID_MAX_BYTES: usize = 128;
const SAID_MAX_BYTES: usize = 2048;

/// A pack has no more bytes: what an agent writes in a day has some megabytes.
const PACK_MAX_BYTES: &str = "--max-input-size=4294967296";

/// A commit of all that is in the guest's working tree, its ID; one of those made before, if nothing has changed since.
pub(super) fn snapshot(agent: &Agent, before: &[&str]) -> Result<String, WorktreeError> {
    let mut id = Vec::new();
    run(agent, SNAPSHOT, before, |data| {
        id.extend(data);
        if id.len() > ID_MAX_BYTES {
            Err(WorktreeError::Hostile("more than the name of a commit"))
        } else {
            Ok(())
        }
    })?;
    let id = String::from_utf8_lossy(&id).trim_end().to_owned();
    if is_id(&id) { Ok(id) } else { Err(WorktreeError::Hostile("something that is no commit's name")) }
}

/// Has the objects that these commits need, without those of `known`, put into the repository that `dir` is in. It checks each of them.
pub(super) fn fetch(
    agent: &Agent,
    dir: &Path,
    commits: &[&str],
    known: Option<&str>,
) -> Result<(), WorktreeError> {
    let words: Vec<String> =
        commits.iter().map(|id| (*id).to_owned()).chain(known.map(|id| format!("^{id}"))).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // What it complains of goes to a file: a pipe that nobody reads would be full some day, and hold it up.
    let complaint = tempfile::tempfile().map_err(WorktreeError::file("make", std::env::temp_dir()))?;
    let copy = complaint.try_clone().map_err(WorktreeError::NoGit)?;
    let mut index = git(dir, ["index-pack", "--stdin", "--fix-thin", "--strict", PACK_MAX_BYTES]);
    index.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(copy);
    let mut index = Unpacking { git: index.spawn().map_err(WorktreeError::NoGit)?, complaint };
    let mut pack = index.git.stdin.take();
    let sent = run(agent, PACK, &words, |data| {
        let written = pack.as_mut().map_or(Ok(()), |pack| pack.write_all(data));
        written.map_err(|_| WorktreeError::Hostile("a pack that git does not take"))
    });
    drop(pack);
    let unpacked = index.end();
    match sent {
        // The guest's own error explains the pack's; an error of the pack explains why nothing more was taken.
        Err(WorktreeError::Hostile(_)) | Ok(()) => unpacked,
        Err(error) => Err(error),
    }
}

/// `git index-pack` under way. It does not outlive this.
struct Unpacking {
    git: Child,
    complaint: File,
}

impl Unpacking {
    /// Waits for it, whose input has ended.
    fn end(mut self) -> Result<(), WorktreeError> {
        if self.git.wait().map_err(WorktreeError::NoGit)?.success() {
            return Ok(());
        }
        let mut complaint = Vec::new();
        let from =
            self.complaint.metadata().map_or(0, |meta| meta.len().saturating_sub(SAID_MAX_BYTES as u64));
        self.complaint
            .seek(SeekFrom::Start(from))
            .and_then(|_| self.complaint.read_to_end(&mut complaint))
            .map_err(WorktreeError::NoGit)?;
        Err(WorktreeError::Pack { said: said(&complaint) })
    }
}

impl Drop for Unpacking {
    fn drop(&mut self) {
        // Both fail only if it has ended.
        drop(self.git.kill());
        drop(self.git.wait());
    }
}

/// Makes directories this user's.
pub(super) fn give_to(agent: &Agent, user: &str, directories: &[&Path]) -> Result<(), WorktreeError> {
    let paths = directories.iter().map(|path| path.as_os_str().as_bytes());
    let words = ["chown", "-h", user, "--"].into_iter().map(str::as_bytes).chain(paths);
    finish(agent, ExecRequest::new(words).user("0").cwd("/"), |_| Ok(()))
}

/// Runs a script as the bottle's user in the working tree; its output goes to `take`.
fn run(
    agent: &Agent,
    script: &str,
    words: &[&str],
    take: impl FnMut(&[u8]) -> Result<(), WorktreeError>,
) -> Result<(), WorktreeError> {
    let words = ["sh", "-c", script, "git"].into_iter().chain(words.iter().copied());
    finish(agent, ExecRequest::new(words).cwd(WORKSPACE).env("LC_ALL", "C"), take)
}

fn finish(
    agent: &Agent,
    mut request: ExecRequest,
    mut take: impl FnMut(&[u8]) -> Result<(), WorktreeError>,
) -> Result<(), WorktreeError> {
    let failed = |error| WorktreeError::Agent(Box::new(error));
    request.null_stdin = true;
    let mut exec = agent.exec(&request).map_err(failed)?;
    let mut complaint = Vec::new();
    loop {
        match exec.next_event().map_err(failed)? {
            ExecEvent::Stdout(data) => take(&data)?,
            ExecEvent::Stderr(data) => {
                complaint.extend(data);
                complaint.drain(..complaint.len().saturating_sub(SAID_MAX_BYTES));
            }
            ExecEvent::Exited(ExitStatus::Code(0)) => return Ok(()),
            ExecEvent::Exited(status) => {
                return Err(WorktreeError::Guest { status, said: said(&complaint) });
            }
            // Nobody has asked for that.
            ExecEvent::Detached => return Err(WorktreeError::Hostile("the end of a process that goes on")),
        }
    }
}
