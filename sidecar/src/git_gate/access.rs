//! The hook that `git daemon` runs for each connection: brings the mirror up to date first.
//!
//! Its arguments are service, directory, and where the client comes from. What it prints is the error that the client shows.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use bottle_gates::git_gate::{GitGateConfig, Upstream};

use super::{git, hold, read_in_hook};

/// For a fetch: the first is the whole repository, over a line that may be slow.
const FETCH_LIMIT: Duration = Duration::from_secs(1200);

/// For a question that is answered with a line.
const ASK_LIMIT: Duration = Duration::from_secs(60);

/// Lets the client in when the mirror is what upstream has.
pub(crate) fn main(arguments: Vec<OsString>) -> ExitCode {
    let [_service, directory, ..] = arguments.as_slice() else { return ExitCode::from(2) };
    match refresh(Path::new(directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("git-gate: {error}");
            ExitCode::FAILURE
        }
    }
}

fn refresh(mirror: &Path) -> io::Result<()> {
    let config = read_in_hook()?;
    let upstream =
        config.upstream_of(mirror).ok_or_else(|| io::Error::other("there is no such repository"))?;
    let _lock = hold::lock(&config, upstream)?;
    let mut fetch = git::in_mirror(&config, upstream, mirror);
    fetch.args([
        "fetch",
        "--quiet",
        "--prune",
        "--no-tags",
        "--no-write-fetch-head",
        "--no-auto-maintenance",
        "--",
    ]);
    fetch.arg(upstream.url()).args(["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]);
    let fetched = git::finish(&mut fetch, FETCH_LIMIT)?;
    if !fetched.status.success() {
        let why = git::why(upstream, &fetched);
        return Err(io::Error::other(format!("{} can't be fetched from upstream: {why}", upstream.name)));
    }
    point_head(&config, upstream, mirror)
}

/// Lets HEAD be the branch that it is upstream, as long as it is none that exists.
fn point_head(config: &GitGateConfig, upstream: &Upstream, mirror: &Path) -> io::Result<()> {
    let mut git = git::in_mirror(config, upstream, mirror);
    if git::finish(git.args(["rev-parse", "--quiet", "--verify", "HEAD"]), ASK_LIMIT)?.status.success() {
        return Ok(());
    }
    let mut git = git::in_mirror(config, upstream, mirror);
    let asked = git::finish(git.args(["ls-remote", "--symref", "--", &upstream.url(), "HEAD"]), ASK_LIMIT)?;
    if let Some(branch) = symref(&asked.stdout) {
        let mut git = git::in_mirror(config, upstream, mirror);
        git::finish(git.args(["symbolic-ref", "HEAD", branch]), ASK_LIMIT)?.success("git symbolic-ref")?;
    }
    Ok(())
}

/// The branch in `ref: refs/heads/main<TAB>HEAD`. An empty repository has none.
fn symref(listing: &str) -> Option<&str> {
    let line = listing.lines().find_map(|line| line.strip_prefix("ref: ")?.strip_suffix("\tHEAD"))?;
    line.starts_with("refs/heads/").then_some(line)
}

#[cfg(test)]
mod tests {
    use super::symref;

    #[test]
    fn upstreams_head_is_a_branch_or_unknown() {
        assert_eq!(symref("ref: refs/heads/trunk\tHEAD\n0123\tHEAD\n"), Some("refs/heads/trunk"));
        assert_eq!(symref("0123\tHEAD\n"), None);
        assert_eq!(symref("ref: --x\tHEAD\n"), None);
        assert_eq!(symref(""), None);
    }
}
