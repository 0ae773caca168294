//! A minimal Debian system in a directory, from the archive that this machine's own packages come from.

use std::{fs, path::Path, process::Command};

use crate::{
    command,
    error::{Context, Result},
    paths, setup,
};

/// The release that the images hold.
pub(super) const SUITE: &str = "bookworm";

/// Who installs what is wanted beside the minimal system.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Installer {
    /// debootstrap itself, which keeps what it has fetched, but does not know that a package can stand for another.
    Debootstrap,
    /// apt in the new system, which does.
    Apt,
}

/// Makes the system in `tree`, which is not there yet.
pub(super) fn make(tree: &Path, packages: &[&str], installer: Installer) -> Result<()> {
    let cache = paths::cache_dir()?.join("debs");
    paths::make_dir(&cache)?;
    let mut debootstrap = Command::new("/usr/sbin/debootstrap");
    debootstrap.arg("--variant=minbase").arg(format!("--cache-dir={}", cache.display()));
    if Path::new(setup::KEYRING).exists() {
        debootstrap.arg(format!("--keyring={}", setup::KEYRING));
    }
    if !packages.is_empty() && installer == Installer::Debootstrap {
        debootstrap.arg(format!("--include={}", packages.join(",")));
    }
    command::output(debootstrap.arg(SUITE).arg(tree).arg(setup::archive(SUITE)?))?;
    if installer == Installer::Apt {
        for words in [&["update"][..], &["--no-install-recommends", "install"]] {
            let mut apt = Command::new("chroot");
            apt.arg(tree).args(["apt-get", "-q", "-y"]).args(words).env("DEBIAN_FRONTEND", "noninteractive");
            let wanted = if words.contains(&"install") { packages } else { &[] };
            command::output(apt.args(wanted))?;
        }
    }
    // As in other Debian images: devices are the container's or the guest's own, packages can be fetched again.
    for dir in ["dev", "var/cache/apt", "var/lib/apt/lists"] {
        empty(&tree.join(dir))?;
    }
    Ok(())
}

fn empty(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).file("read", dir)?.flatten() {
        let path = entry.path();
        if entry.file_type().file("examine", &path)?.is_dir() {
            fs::remove_dir_all(&path).file("remove", &path)?;
        } else {
            fs::remove_file(&path).file("remove", &path)?;
        }
    }
    Ok(())
}
