//! git in the guest goes to git-gate wherever it would go to an upstream that git-gate stands for, and commits as who the operator
//! says.
//!
//! The rewriting of URLs (`url.*.insteadOf`) is in a file of its own, which the configuration of the bottle's user includes: that file
//! is written anew at each start, since the gate has another port then, and the user's own is touched once. It also names a program
//! that git speaks through, our own, since git waits in a way that the guest's kernel has no answer to: `guest/src/relay.rs`.

use super::ProvisionError;
use super::hands::{As, Hands};
use crate::plan::GitUser;
use crate::worktree::quoted;

const STEP: &str = "git";
const CONFIG: &str = "/etc/bottle/gitconfig";
/// The guest's init, by the name under which it is something else.
const PROXY: &str = "/usr/local/lib/bottle/git-proxy";

/// An upstream, and where git-gate has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::launch) struct InsteadOf {
    /// The upstream's URL, as the manifest has it.
    pub(in crate::launch) url: String,
    /// The gate's.
    pub(in crate::launch) gate: String,
}

/// Sends git to the gate, and tells it who commits. An image without git needs nothing.
pub(super) fn set_up(
    hands: &Hands<'_>,
    upstreams: &[InsteadOf],
    user: Option<&GitUser>,
) -> Result<(), ProvisionError> {
    let has_git = send_to_gate(hands, upstreams)? && introduce(hands, user)?;
    if !has_git {
        let gate = if upstreams.is_empty() { "" } else { " of git-gate but by GIT_GATE_URL, or" };
        log::warn!("the image has no git: nothing in the guest is told{gate} who commits");
    }
    Ok(())
}

/// `false` if there is no git.
fn send_to_gate(hands: &Hands<'_>, upstreams: &[InsteadOf]) -> Result<bool, ProvisionError> {
    if upstreams.is_empty() {
        return Ok(true);
    }
    hands.write(STEP, PROXY, 0o755, crate::vm::INIT)?;
    hands.write(STEP, CONFIG, 0o644, config(upstreams).as_bytes())?;
    let pattern = format!("^{CONFIG}$");
    configure(hands, &["--replace-all", "include.path", CONFIG, &pattern])
}

/// `false` if there is no git.
fn introduce(hands: &Hands<'_>, user: Option<&GitUser>) -> Result<bool, ProvisionError> {
    let Some(GitUser { name, email }) = user else { return Ok(true) };
    Ok(configure(hands, &["--replace-all", "user.name", name])?
        && configure(hands, &["--replace-all", "user.email", email])?)
}

fn configure(hands: &Hands<'_>, words: &[&str]) -> Result<bool, ProvisionError> {
    hands.run(STEP, As::Agent, "git", &[&["config", "--global"], words].concat())
}

/// The file, as git-config(1) has it.
fn config(upstreams: &[InsteadOf]) -> String {
    let section =
        |one: &InsteadOf| format!("[url {}]\n\tinsteadOf = {}\n", quoted(&one.gate), quoted(&one.url));
    let sections = upstreams.iter().map(section);
    sections.chain([format!("[core]\n\tgitProxy = {}\n", quoted(PROXY))]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_reads_the_file_as_it_was_meant() {
        let url = "ssh://git@h.example/a\"b\\c.git";
        let gate = "git://127.0.0.16:4000/project.git";
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), config(&[InsteadOf { url: url.to_owned(), gate: gate.to_owned() }]))
            .unwrap();
        let key = format!("url.{gate}.insteadOf");
        let mut git = std::process::Command::new("git");
        let output = git.args(["config", "--file"]).arg(file.path()).args(["--get", &key]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim_end(), url);
    }
}
