//! A minimal Debian system in a directory, from the archive that this machine's own packages come from.

use std::{fs, path::Path, process::Command};

use crate::{
    command,
    error::{Context, Result},
    paths, setup,
};

/// The release that the images hold.
pub(super) const SUITE: &str = "bookworm";

/// Makes the system in `tree`, which is not there yet.
pub(super) fn make(tree: &Path, packages: &[&str]) -> Result<()> {
    let cache = paths::cache_dir()?.join("debs");
    paths::make_dir(&cache)?;
    let mut debootstrap = Command::new("/usr/sbin/debootstrap");
    debootstrap.arg("--variant=minbase").arg(format!("--cache-dir={}", cache.display()));
    if Path::new(setup::KEYRING).exists() {
        debootstrap.arg(format!("--keyring={}", setup::KEYRING));
    }
    if !packages.is_empty() {
        debootstrap.arg(format!("--include={}", packages.join(",")));
    }
    command::output(debootstrap.arg(SUITE).arg(tree).arg(setup::archive(SUITE)?))?;
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
