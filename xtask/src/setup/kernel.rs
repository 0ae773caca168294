//! The emulated host's kernel: Debian's own package of the newest kernel in backports (6.7 or later, for Landlock's TCP
//! rules), unpacked into the cache rather than installed, so that this machine's boot is not touched.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    Voice, backports,
    packages::{lists_are_there, update},
};
use crate::{
    command,
    error::{Context, Error, Result},
    paths,
};

/// A kernel package that lies unpacked in the cache.
pub(crate) struct Kernel {
    /// As `uname -r` says it.
    pub(crate) version: String,
    /// Where it lies.
    pub(crate) dir: PathBuf,
}

impl Kernel {
    /// The bootable image.
    pub(crate) fn image(&self) -> PathBuf {
        self.dir.join(format!("boot/vmlinuz-{}", self.version))
    }

    /// Where its modules lie.
    pub(crate) fn module_dir(&self) -> PathBuf {
        self.dir.join("lib/modules").join(&self.version)
    }
}

/// The newest kernel in the cache.
pub(crate) fn find() -> Result<Option<Kernel>> {
    let dir = paths::cache_dir()?.join("kernel");
    let Ok(entries) = fs::read_dir(&dir) else { return Ok(None) };
    let kernels = entries.flatten().filter_map(|entry| {
        let kernel = Kernel { version: entry.file_name().into_string().ok()?, dir: entry.path() };
        // The last file that is made.
        kernel.module_dir().join("modules.dep").exists().then_some(kernel)
    });
    Ok(kernels.max_by_key(|kernel| numbers(&kernel.version)))
}

/// The kernel in the cache, which has to be there.
pub(crate) fn cached() -> Result<Kernel> {
    find()?.ok_or_else(|| Error::other("no kernel in the cache; run `cargo xtask setup`"))
}

/// Fetches the kernel, unless there is one.
pub(super) fn ensure(voice: Voice) -> Result<()> {
    if let Some(kernel) = find()? {
        voice.there(&format!("the emulated host's kernel is there: {}", kernel.version));
        return Ok(());
    }
    backports::enable(voice)?;
    if !lists_are_there() {
        update(voice)?;
    }
    match fetch(voice) {
        // What the lists name may be gone from the archive.
        Err(_) => update(voice).and_then(|()| fetch(voice)),
        done => done,
    }
}

fn fetch(voice: Voice) -> Result<()> {
    let package = package(&backports::suite()?)?;
    let version = package
        .strip_prefix("linux-image-")
        .ok_or_else(|| Error::other(format!("{package} is no kernel's package")))?;
    voice.doing(&format!("fetching the emulated host's kernel, {version} (100 MB)"));
    let cache = paths::cache_dir()?;
    // In the cache, for the rename at the end.
    let work = tempfile::tempdir_in(&cache).file("make a directory in", &cache)?;
    // apt warns that its unprivileged user cannot write here, and goes on.
    command::output(Command::new("apt-get").args(["-q", "download", &package]).current_dir(work.path()))?;
    let archive = fs::read_dir(work.path())
        .file("read", work.path())?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or_else(|| Error::other(format!("apt-get download {package} left no package")))?;
    let unpacked = work.path().join("unpacked");
    command::output(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&unpacked))?;
    let depmod = Path::new("/sbin/depmod");
    command::output(Command::new(depmod).arg("-b").arg(&unpacked).arg(version))?;
    let kernels = cache.join("kernel");
    paths::make_dir(&kernels)?;
    let target = kernels.join(version);
    if target.exists() {
        // Half a kernel, of an older program's.
        fs::remove_dir_all(&target).file("remove", &target)?;
    }
    fs::rename(&unpacked, &target).file("rename to", &target)
}

/// The package that `linux-image-amd64` of this suite stands for.
fn package(suite: &str) -> Result<String> {
    let meta = "linux-image-amd64";
    let listing = command::text(Command::new("apt-cache").args(["madison", meta]))?;
    let version =
        version_in(&listing, suite).ok_or_else(|| Error::other(format!("apt knows no {meta} in {suite}")))?;
    let shown = command::text(Command::new("apt-cache").args(["show", &format!("{meta}={version}")]))?;
    dependency(&shown).ok_or_else(|| Error::other(format!("{meta} {version} depends on no kernel")))
}

/// In what `apt-cache madison` prints, "package | version | address suite/component …", the version of this suite.
fn version_in(listing: &str, suite: &str) -> Option<String> {
    listing.lines().find_map(|line| {
        let mut columns = line.split('|').map(str::trim);
        let version = columns.nth(1)?;
        let from = columns.next()?;
        from.split_whitespace().any(|word| word.split('/').next() == Some(suite)).then(|| version.to_owned())
    })
}

fn dependency(shown: &str) -> Option<String> {
    let depends = shown.lines().find_map(|line| line.strip_prefix("Depends:"))?;
    let names = depends.split(',').filter_map(|one| one.split_whitespace().next());
    names.filter(|name| name.starts_with("linux-image-")).map(str::to_owned).next()
}

/// The numbers in a version, for a comparison.
fn numbers(version: &str) -> Vec<u64> {
    version.split(|char: char| !char.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_suite() {
        let listing = "linux-image-amd64 | 6.12.95-1~bpo12+1 | mirror:d bookworm-backports/main amd64 Packages\n\
                       linux-image-amd64 |  6.1.176-1 | mirror:d bookworm/main amd64 Packages\n";
        assert_eq!(version_in(listing, "bookworm-backports").as_deref(), Some("6.12.95-1~bpo12+1"));
        assert_eq!(version_in(listing, "bookworm").as_deref(), Some("6.1.176-1"));
        assert_eq!(version_in(listing, "trixie"), None);
    }

    #[test]
    fn the_package_is_what_the_other_depends_on() {
        let shown = "Package: linux-image-amd64\nDepends: linux-base (>= 1), linux-image-6.12.9+deb12-amd64 (= 6.12.9-1)\n";
        assert_eq!(dependency(shown).as_deref(), Some("linux-image-6.12.9+deb12-amd64"));
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(numbers("6.12.100+deb12-amd64") > numbers("6.12.95+deb12-amd64"));
    }
}
