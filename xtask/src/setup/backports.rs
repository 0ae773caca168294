//! The backports suite: the same archive that this machine gets its packages from, so that its address is asked of apt
//! and no host is named here.

use std::{fs, path::Path, process::Command};

use super::{
    Voice,
    packages::{as_root, update},
};
use crate::{
    command,
    error::{Context, Error, Result},
};

const SOURCES: &str = "/etc/apt/sources.list.d/bottle-backports.sources";
/// The archive's keys, from the package debian-archive-keyring.
pub(crate) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The name of this machine's backports suite.
pub(super) fn suite() -> Result<String> {
    Ok(format!("{}-backports", codename()?))
}

/// Adds the suite to apt's sources, and fetches its lists, unless it is there.
pub(super) fn enable(voice: Voice) -> Result<()> {
    let suite = suite()?;
    let targets = targets()?;
    if find(&targets, &suite).is_some() {
        return Ok(());
    }
    let archive = archive(&codename()?)?;
    voice.doing(&format!("adding {suite} to apt's sources, in {SOURCES}"));
    let signed = if Path::new(KEYRING).exists() { format!("Signed-By: {KEYRING}\n") } else { String::new() };
    let content = format!("Types: deb\nURIs: {archive}\nSuites: {suite}\nComponents: main\n{signed}");
    let mut file = tempfile::NamedTempFile::new().doing("make a temporary file")?;
    std::io::Write::write_all(&mut file, content.as_bytes()).file("write", file.path())?;
    command::output(as_root("install").args(["-m", "644"]).arg(file.path()).arg(SOURCES))?;
    update(voice)
}

/// The address of the archive from which this machine gets this suite.
pub(crate) fn archive(suite: &str) -> Result<String> {
    find(&targets()?, suite).map(str::to_owned).ok_or_else(|| {
        Error::other(format!("apt's sources have no suite {suite} to take the archive's address from"))
    })
}

fn targets() -> Result<String> {
    let mut apt = Command::new("apt-get");
    apt.args(["indextargets", "--format", "$(RELEASE) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"]);
    command::text(&mut apt)
}

/// The address from which `main` of this suite comes.
fn find<'a>(targets: &'a str, suite: &str) -> Option<&'a str> {
    targets.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(suite) && words.next() == Some("main")).then(|| words.next()).flatten()
    })
}

fn codename() -> Result<String> {
    let path = "/etc/os-release";
    let release = fs::read_to_string(path).file("read", path)?;
    parse_codename(&release)
        .ok_or_else(|| Error::other("/etc/os-release names no VERSION_CODENAME: is this Debian?"))
}

fn parse_codename(release: &str) -> Option<String> {
    let value = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    Some(value.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_that_of_the_release() {
        let targets = "other contrib mirror:a/\nbookworm contrib mirror:b/\nbookworm-security main mirror:c/\n\
                       bookworm main mirror:d/\n";
        assert_eq!(find(targets, "bookworm"), Some("mirror:d/"));
        assert_eq!(find(targets, "bookworm-backports"), None);
    }

    #[test]
    fn the_codename_may_be_quoted() {
        assert_eq!(parse_codename("ID=debian\nVERSION_CODENAME=\"bookworm\"\n").as_deref(), Some("bookworm"));
        assert_eq!(parse_codename("ID=debian\n"), None);
    }
}
