//! The guest kernel that libkrun loads at run time: libkrunfw, out of a pinned Python wheel that carries it, checked
//! against a pinned SHA-256, put where `bottle` looks for it.

use std::{fs, path::PathBuf, process::Command};

use sha2::{Digest, Sha256};

use super::Voice;
use crate::{
    command,
    error::{Context, Error, Result},
    kvm::{hex, write_atomically},
    paths,
};

/// The wheel, and the file in it.
const WHEEL: &str = "microsandbox==0.7.11";
const MEMBER: &str = "microsandbox/_bundled/lib/libkrunfw.so.5.6.1";
/// The name under which it is loaded.
const NAME: &str = "libkrunfw.so.5";

/// The file's SHA-256.
#[cfg(target_arch = "x86_64")]
const SHA256: &str = "3854efcd3fe625528fa00207d97586d9790db8c436bb6881a43986604336d18e";

/// Whether the right file is there.
pub(super) fn is_there() -> Result<bool> {
    let path = path()?;
    Ok(fs::read(&path).is_ok_and(|content| digest(&content) == SHA256))
}

/// Fetches it, unless it is there.
pub(super) fn ensure(voice: Voice) -> Result<()> {
    let path = path()?;
    if is_there()? {
        voice.there(&format!("libkrunfw is there: {}", path.display()));
        return Ok(());
    }
    voice.doing(&format!("fetching libkrunfw out of the wheel {WHEEL} (50 MB)"));
    let work = tempfile::tempdir().doing("make a temporary directory")?;
    command::output(
        Command::new("python3")
            .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest"])
            .arg(work.path())
            .arg(WHEEL),
    )?;
    let wheel = fs::read_dir(work.path())
        .file("read", work.path())?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| Error::other(format!("pip download {WHEEL} left no wheel")))?;
    let unzip =
        "import sys, zipfile; sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read(sys.argv[2]))";
    let content = command::output(Command::new("python3").args(["-c", unzip]).arg(wheel).arg(MEMBER))?;
    let found = digest(&content);
    if found != SHA256 {
        return Err(Error::other(format!("{MEMBER} of {WHEEL} has the SHA-256 {found}, not {SHA256}")));
    }
    paths::make_dir(&paths::library_dir()?)?;
    write_atomically(&path, &content)
}

fn path() -> Result<PathBuf> {
    Ok(paths::library_dir()?.join(NAME))
}

fn digest(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}
