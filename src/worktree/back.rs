//! What an agent made of a working tree, as a diff, or as a branch of the repository that it came from.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::base::Base;
use super::find::Repository;
use super::git::{git, output, run, said, text};
use super::{WorktreeError, guest};
use crate::vm::agent::Agent;

/// What was brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The working tree here, which was not touched.
    pub top: PathBuf,
    /// The branch of its repository.
    pub branch: String,
    /// How many commits it has that were not there before. The last one is of what the agent did not commit, if there is any.
    pub commits: u64,
}

/// Shows the difference between what went into the guest and what is there now, on our stdout and through git's own pager.
///
/// # Errors
/// When no working tree went into this bottle, or git fails, here or there.
pub fn diff(agent: &Agent, slug: &str, bottle: &Path, stat: bool) -> Result<(), WorktreeError> {
    let base = base(slug, bottle)?;
    let work = guest::snapshot(agent, &base.made())?;
    let repository = Repository::of(&base.top)?;
    // Where objects that nobody wants are gone with the directory. Those that are here already are found where they are.
    let place = tempfile::Builder::new().prefix("bottle-diff-").tempdir();
    let place = place.map_err(WorktreeError::file("make", std::env::temp_dir()))?;
    let format = text("rev-parse", git(&base.top, ["rev-parse", "--show-object-format"]))?;
    let format = format!("--object-format={format}");
    output("init", git(place.path(), ["init", "--quiet", "--bare", "--template=", &format]))?;
    let alternates = place.path().join("objects/info/alternates");
    let mut objects = repository.common.join("objects").into_os_string().into_encoded_bytes();
    objects.push(b'\n');
    std::fs::create_dir_all(place.path().join("objects/info"))
        .and_then(|()| std::fs::write(&alternates, objects))
        .map_err(WorktreeError::file("write", &alternates))?;
    guest::fetch(agent, place.path(), &[&base.all, &work], known(&base)?)?;
    // No program that the user has configured for a kind of file: these files are the agent's.
    let mut shown = git(place.path(), ["diff", "--no-ext-diff", "--no-textconv"]);
    shown.args(stat.then_some("--stat")).args([&base.all, &work, "--"]);
    let shown = shown.stdout(Stdio::inherit()).stderr(Stdio::inherit()).status();
    match shown.map_err(WorktreeError::NoGit)?.success() {
        true => Ok(()),
        false => Err(WorktreeError::Diff),
    }
}

/// Makes what is in the guest now a branch of the repository here: the commit that the agent has checked out, and one more for what it
/// did not commit. Nothing if all is as it was.
///
/// # Errors
/// As [`diff`]; and when the branch is there and is not from this bottle, or is checked out.
pub fn pull(
    agent: &Agent,
    slug: &str,
    bottle: &Path,
    branch: Option<&str>,
) -> Result<Option<Pulled>, WorktreeError> {
    let mut base = base(slug, bottle)?;
    let branch = branch.map_or_else(|| format!("bottle/{slug}"), str::to_owned);
    let refused = |why: &str| WorktreeError::Branch { branch: branch.clone(), why: why.to_owned() };
    let named = run(&mut git(&base.top, ["check-ref-format", "--branch", &branch]))?;
    if !named.status.success() || branch.starts_with('-') {
        return Err(refused("can't be called that"));
    }
    let reference = format!("refs/heads/{branch}");
    let work = guest::snapshot(agent, &base.made())?;
    if work == base.all {
        return Ok(None);
    }
    let format = "--format=%(objectname) %(worktreepath)";
    let there = text("for-each-ref", git(&base.top, ["for-each-ref", format, &reference]))?;
    let (before, checked_out) = there.split_once(' ').unwrap_or((&there, ""));
    if !checked_out.is_empty() {
        return Err(refused("is checked out"));
    }
    let ours = base.pulled.as_ref().is_some_and(|(id, name)| id == before && *name == branch);
    if !before.is_empty() && !ours && before != work {
        return Err(refused("is there already, and is not what this bottle last brought"));
    }
    let known = known(&base)?;
    guest::fetch(agent, &base.top, &[&work], known)?;
    // All that it leads to is here.
    let mut whole = git(&base.top, ["rev-list", "--objects", "--quiet", &work, "--not", "--all"]);
    let asked = run(whole.args(known))?;
    if !asked.status.success() {
        log::debug!("{}", said(&asked.stderr));
        return Err(WorktreeError::Hostile("a commit without all that it consists of"));
    }
    let count = git(&base.top, ["rev-list", "--count", &work, "--not", "--all"]);
    let commits = text("rev-list", count)?.parse().unwrap_or(0);
    // An empty old value says that there must be none.
    let mut update = git(&base.top, ["update-ref", "-m", "bottle pull", &reference, &work]);
    update.arg(before);
    output("update-ref", update)?;
    base.pulled = Some((work, branch.clone()));
    base.write(bottle)?;
    Ok(Some(Pulled { top: base.top, branch, commits }))
}

fn base(slug: &str, bottle: &Path) -> Result<Base, WorktreeError> {
    Base::read(bottle)?.ok_or_else(|| WorktreeError::None { slug: slug.to_owned() })
}

/// The commit that the working tree was at, if the repository here still has it: its objects need not come again.
fn known(base: &Base) -> Result<Option<&str>, WorktreeError> {
    let Some(head) = base.head.as_deref() else { return Ok(None) };
    let asked = run(&mut git(&base.top, ["cat-file", "-e", &format!("{head}^{{commit}}")]))?;
    Ok(asked.status.success().then_some(head))
}
