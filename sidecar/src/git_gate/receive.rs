//! The hook that `git receive-pack` runs before a push changes anything: asks the rules, then upstream.
//!
//! The new objects are in quarantine while it runs, and gone if it fails. Its stdin has a line for each ref, `OLD NEW NAME`; what it
//! writes to stderr, `git push` shows.

use std::ffi::OsString;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use bottle_gates::git_gate::{GitGateConfig, Upstream};
use bottle_gates::push::{self, Change};

use super::{git, hold, read_in_hook};

/// More than anybody pushes at a time by hand; the time that one push takes grows with it.
const UPDATES_MAX: usize = 64;

/// All of them, with names as long as git allows.
const INPUT_BYTES: u64 = 512 * 1024;

/// For a push to upstream, over a line that may be slow.
const PUSH_LIMIT: Duration = Duration::from_secs(1200);

/// For what git finds out on this machine. Whether one commit contains another takes a while in a long history.
const LOCAL_LIMIT: Duration = Duration::from_secs(120);

/// What git sets for a hook of receive-pack: where the repository is, and the new objects.
const FROM_RECEIVE_PACK: [&str; 4] =
    ["GIT_DIR", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_QUARANTINE_PATH"];

/// One ref of a push.
#[derive(Debug, PartialEq, Eq)]
struct Update {
    /// None: it is to be new.
    old: Option<String>,
    /// None: it is to go.
    new: Option<String>,
    /// `refs/heads/main`
    name: String,
}

/// Succeeds when upstream has taken all of it.
pub(crate) fn main(_arguments: Vec<OsString>) -> ExitCode {
    match receive() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reasons) => {
            for reason in reasons {
                eprintln!("git-gate: {reason}");
            }
            ExitCode::FAILURE
        }
    }
}

fn receive() -> Result<(), Vec<String>> {
    let said = |error: io::Error| vec![error.to_string()];
    let updates = read_updates(io::stdin().lock()).map_err(|reason| vec![reason])?;
    let config = read_in_hook().map_err(said)?;
    let mirror = std::env::current_dir().map_err(said)?;
    let upstream =
        config.upstream_of(&mirror).ok_or_else(|| vec!["there is no such repository".to_owned()])?;
    let lock = hold::lock(&config, upstream).map_err(said)?;
    let push = Push { config: &config, upstream, mirror };
    let refused: Vec<String> = updates.iter().filter_map(|update| push.refuse(update)).collect();
    if !refused.is_empty() {
        return Err(refused);
    }
    push.send(&updates)?;
    // Upstream has it now: the mirror has to follow, whoever else wants it.
    lock.leave_to_parent().map_err(said)
}

fn read_updates(input: impl BufRead) -> Result<Vec<Update>, String> {
    let mut updates = Vec::new();
    for line in input.take(INPUT_BYTES).lines() {
        let line = line.map_err(|_| "a ref's name is not UTF-8".to_owned())?;
        let update = parse(&line).ok_or_else(|| format!("{line:?} is no update of a ref"))?;
        updates.push(update);
        if updates.len() > UPDATES_MAX {
            return Err(format!("more than {UPDATES_MAX} refs at a time: push them in parts"));
        }
    }
    Ok(updates)
}

fn parse(line: &str) -> Option<Update> {
    let mut words = line.splitn(3, ' ');
    let mut object = || {
        let id = words.next()?;
        let is_id = matches!(id.len(), 40 | 64) && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_id.then(|| (!id.bytes().all(|byte| byte == b'0')).then(|| id.to_owned()))
    };
    let (old, new) = (object()?, object()?);
    let name = words.next()?.to_owned();
    name.starts_with("refs/").then_some(Update { old, new, name })
}

/// A push under way. The mirror's lock is held.
struct Push<'a> {
    config: &'a GitGateConfig,
    upstream: &'a Upstream,
    mirror: PathBuf,
}

impl Push<'_> {
    /// Why an update is not allowed, if it isn't.
    fn refuse(&self, update: &Update) -> Option<String> {
        let reason = match self.change(update) {
            Ok(change) => push::judge(&self.upstream.push, &update.name, change).err()?,
            Err(reason) => reason,
        };
        Some(format!("{} refused: {reason}", short(&update.name)))
    }

    fn change(&self, update: &Update) -> Result<Change, String> {
        let said = |error: io::Error| error.to_string();
        let mut show = self.git();
        show.args(["rev-parse", "--quiet", "--verify", "--end-of-options", &update.name]);
        let shown = git::finish(&mut show, LOCAL_LIMIT).map_err(said)?;
        let current = shown.status.success().then(|| shown.stdout.trim().to_owned());
        if current != update.old {
            return Err("it has changed meanwhile; fetch, then push again".to_owned());
        }
        let (old, new) = match (&update.old, &update.new) {
            (_, None) => return Ok(Change::Delete),
            (None, Some(_)) => return Ok(Change::Create),
            (Some(old), Some(new)) => (old, new),
        };
        // A tag has no commits that could come on top.
        if !update.name.starts_with("refs/heads/") {
            return Ok(Change::Force);
        }
        let mut compare = self.git();
        let compared = git::finish(compare.args(["merge-base", "--is-ancestor", old, new]), LOCAL_LIMIT);
        match compared.map_err(said)?.status.code() {
            Some(0) => Ok(Change::Forward),
            Some(1) => Ok(Change::Force),
            _ => Err("its history can't be read".to_owned()),
        }
    }

    /// Pushes to upstream: all or nothing, and only if upstream is as the mirror is.
    fn send(&self, updates: &[Update]) -> Result<(), Vec<String>> {
        let mut push = self.git();
        push.args(["push", "--porcelain", "--no-verify", "--recurse-submodules=no"]);
        if updates.len() > 1 {
            push.arg("--atomic");
        }
        for Update { old, name, .. } in updates {
            // With this, git does not look whether commits are taken back: that has been looked at.
            push.arg(format!("--force-with-lease={name}:{}", old.as_deref().unwrap_or("")));
        }
        push.arg("--").arg(self.upstream.url());
        for Update { new, name, .. } in updates {
            push.arg(format!("{}:{name}", new.as_deref().unwrap_or("")));
        }
        let pushed = git::finish(&mut push, PUSH_LIMIT).map_err(|error| vec![error.to_string()])?;
        if pushed.status.success() {
            return Ok(());
        }
        let mut reasons: Vec<String> = pushed.stdout.lines().filter_map(rejection).collect();
        if reasons.is_empty() {
            return Err(vec![format!("upstream did not take it: {}", git::why(self.upstream, &pushed))]);
        }
        let words = pushed.stderr.lines().filter_map(|line| line.strip_prefix("remote:")).map(git::quote);
        reasons
            .extend(words.filter(|words| !words.is_empty()).map(|words| format!("upstream says: {words}")));
        Err(reasons)
    }

    /// `git` in the mirror that sees the new objects.
    fn git(&self) -> Command {
        let mut git = git::in_mirror(self.config, self.upstream, Path::new(&self.mirror));
        git.envs(FROM_RECEIVE_PACK.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        git
    }
}

/// What git says of a ref that upstream refused: `!<TAB>FROM:TO<TAB>[rejected] (stale info)`.
fn rejection(line: &str) -> Option<String> {
    let (refs, summary) = line.strip_prefix("!\t")?.split_once('\t')?;
    let (_, name) = refs.split_once(':')?;
    let name = short(name);
    if summary.contains("(stale info)") {
        return Some(format!("{name} refused: upstream has moved meanwhile; fetch, then push again"));
    }
    Some(format!("{name} refused by upstream: {}", git::quote(summary)))
}

fn short(name: &str) -> &str {
    name.strip_prefix("refs/heads/").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_are_three_words() {
        let (zero, one) = ("0".repeat(40), "1".repeat(40));
        let made = parse(&format!("{zero} {one} refs/heads/a b")).unwrap();
        assert_eq!(made, Update { old: None, new: Some(one.clone()), name: "refs/heads/a b".to_owned() });
        assert_eq!(parse(&format!("{one} {zero} refs/tags/v1")).unwrap().new, None);
        for bad in ["", "a b refs/heads/c", &one, &format!("{one} {one}"), &format!("{one} {one} HEAD")] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        let flood = format!("{zero} {one} refs/heads/a\n").repeat(UPDATES_MAX + 1);
        assert!(read_updates(flood.as_bytes()).unwrap_err().contains("in parts"));
        assert!(read_updates(&b"\xff\n"[..]).is_err());
    }

    #[test]
    fn upstreams_refusals_are_said_by_ref() {
        let stale = rejection("!\t1234:refs/heads/main\t[rejected] (stale info)").unwrap();
        assert_eq!(stale, "main refused: upstream has moved meanwhile; fetch, then push again");
        let hook = rejection("!\t1234:refs/heads/main\t[remote rejected] (hook declined)").unwrap();
        assert_eq!(hook, "main refused by upstream: [remote rejected] (hook declined)");
        assert_eq!(rejection("=\t1234:refs/heads/main\t[up to date]"), None);
    }
}
