//! What images that users have are made of: a directory below `images/`, with a Dockerfile, and a directory `certificates` for what
//! the build needs to trust.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::builder::{self, Builder};
use crate::{
    error::{Context, Result},
    kvm::hex,
    paths,
};

/// See the module.
pub(super) struct Source {
    /// Below `images/`.
    pub(super) name: &'static str,
    /// What the image is made of.
    pub(super) files: &'static [&'static str],
}

impl Source {
    /// The paths of the files.
    pub(super) fn paths(&self) -> impl Iterator<Item = PathBuf> {
        let dir = paths::workspace().join("images").join(self.name);
        self.files.iter().map(move |file| dir.join(file))
    }

    /// Makes the context of a build: the files, more of them under these names, and the CAs of this machine, which may be behind a
    /// proxy that has one of its own.
    pub(super) fn context(&self, builder: &Builder, more: &[(&str, &Path)]) -> Result<PathBuf> {
        let context = builder.work().join("context");
        paths::make_dir(&context.join("certificates"))?;
        let copy = |from: &Path, name: &str| fs::copy(from, context.join(name)).file("copy", from).map(drop);
        for (name, from) in self.files.iter().zip(self.paths()) {
            copy(&from, name)?;
        }
        for (name, from) in more {
            copy(from, name)?;
        }
        if let Some(certificates) = env::var_os("SSL_CERT_FILE") {
            copy(Path::new(&certificates), "certificates/machine.crt")?;
        }
        Ok(context)
    }
}

/// A hash of these files' contents.
pub(super) fn hash(files: impl Iterator<Item = PathBuf>) -> Result<String> {
    let mut hash = Sha256::new();
    for path in files {
        let bytes = fs::read(&path).file("read", &path)?;
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    Ok(hex(&hash.finalize()[..8]))
}

/// Where the archive is of what has this hash.
pub(super) fn archive(family: &str, hash: &str) -> Result<PathBuf> {
    Ok(builder::cache_dir()?.join(format!("{family}-{hash}.tar")))
}

/// Makes an archive if it is not in the cache; then those of its older sources go.
pub(super) fn ensure(family: &str, archive: &Path, make: impl FnOnce() -> Result<()>) -> Result<()> {
    if archive.exists() {
        return Ok(());
    }
    let _lock = paths::lock_cache()?;
    if !archive.exists() {
        make()?;
        super::remove_older_of(family, archive);
    }
    Ok(())
}
