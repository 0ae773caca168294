//! What `vendor/libkrun/` says: the pinned version, the patches, the files that the patches expect.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::Result;

/// What is done to libkrun.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Series {
    /// Our patches.
    Ours,
    /// Behind them, those that leave checks out.
    WithHoles,
    /// Nothing.
    None,
}

impl Series {
    /// Where the tree is that is built, below the shared directory. Each has its own: what is built from our tree (the tests of
    /// libkrun's devices) is not to find another one there.
    pub(crate) fn source(self) -> &'static str {
        match self {
            Self::Ours => "source",
            Self::WithHoles => "source-holes",
            Self::None => "source-stock",
        }
    }
}

pub(crate) struct Pins {
    pub(crate) directory: PathBuf,
    pub(crate) series: Series,
    /// libkrun's version, out of the lock file.
    pub(crate) version: String,
    /// The series, in order.
    pub(crate) patches: Vec<PathBuf>,
    /// Whole files that the series adds, by their path in libkrun's repository.
    pub(crate) added: Vec<PathBuf>,
    pub(crate) patches_sha256: String,
    /// Over everything that decides what is built: manifest, lock file, patches and added files.
    pub(crate) sha256: String,
}

impl Pins {
    pub(crate) fn read(directory: &Path, series: Series) -> Result<Self> {
        let directory =
            directory.canonicalize().map_err(|error| format!("{}: {error}", directory.display()))?;
        let lock = fs::read_to_string(directory.join("Cargo.lock"))?;
        let version = locked_version(&lock).ok_or("vendor/libkrun/Cargo.lock does not hold libkrun")?;

        let directories: &[&str] = match series {
            Series::Ours => &["patches"],
            Series::WithHoles => &["patches", "holes"],
            Series::None => &[],
        };
        let mut patches = Vec::new();
        for name in directories {
            patches.extend(files_below(&directory.join(name))?);
        }
        let patches = patches
            .into_iter()
            .filter(|path| path.extension().is_some_and(|extension| extension == "patch"))
            .collect::<Vec<_>>();
        let root = directory.join("files");
        let added = if series == Series::None { Vec::new() } else { files_below(&root)? };
        let added = added
            .iter()
            .map(|path| path.strip_prefix(&root).map(Path::to_path_buf))
            .collect::<std::result::Result<Vec<_>, _>>()?;

        let mut hash = Sha256::new();
        for path in &patches {
            feed(&mut hash, path.file_name().unwrap_or_default().as_ref(), path)?;
        }
        for path in &added {
            feed(&mut hash, path, &root.join(path))?;
        }
        let patches_sha256 = hex(hash);

        let mut all = Sha256::new();
        all.update(&patches_sha256);
        for name in ["Cargo.toml", "Cargo.lock", "src/lib.rs"] {
            feed(&mut all, name.as_ref(), &directory.join(name))?;
        }
        Ok(Self { directory, series, version, patches, added, patches_sha256, sha256: hex(all) })
    }
}

/// The version of the package `libkrun` in a lock file.
fn locked_version(lock: &str) -> Option<String> {
    let (_, after) = lock.split_once("name = \"libkrun\"\nversion = \"")?;
    after.split_once('"').map(|(version, _)| version.to_owned())
}

/// All files below a directory, sorted, so that the hash and the order of the patches are the same everywhere.
fn files_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Adds a file to a hash, by name and with its length, so that no two sets of files look the same.
fn feed(hash: &mut Sha256, name: &Path, path: &Path) -> Result<()> {
    let content = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    hash.update(format!("{}\0{}\0", name.display(), content.len()));
    hash.update(content);
    Ok(())
}

pub(crate) fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
