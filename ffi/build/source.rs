//! The patched crates: looked up with cargo, copied, patched.
//!
//! The copies are laid out as in libkrun's own repository (`src/devices`, `src/vmm`, `src/libkrun`), which is what
//! the paths in the patches refer to.

use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::nested::cargo;
use crate::pins::Pins;
use crate::{Result, variable};

/// The crates that the patches touch, and where they are in libkrun's repository.
const PATCHED: [(&str, &str); 3] =
    [("krun-devices", "src/devices"), ("krun-vmm", "src/vmm"), ("libkrun", "src/libkrun")];

/// Makes the tree that is built: the wrapper crate, and the patched crates beside it.
pub(crate) fn prepare(pins: &Pins, into: &Path) -> Result<()> {
    if into.exists() {
        fs::remove_dir_all(into)?;
    }
    fs::create_dir_all(into)?;

    for (name, directory) in registry_sources(pins)? {
        copy(&directory, &into.join(place(&name)?))?;
    }
    for path in &pins.added {
        let target = into.join(path);
        if target.exists() {
            return Err(format!("{} exists in libkrun {} already", path.display(), pins.version).into());
        }
        fs::copy(pins.directory.join("files").join(path), target)?;
    }
    for patch in &pins.patches {
        apply(patch, into)?;
    }
    write_wrapper(pins, into)
}

/// Where cargo keeps the crates that are to be patched, after it has fetched them and compared their checksums.
fn registry_sources(pins: &Pins) -> Result<Vec<(String, PathBuf)>> {
    let output = cargo()?
        .args(["metadata", "--locked", "--format-version=1", "--filter-platform", &variable("TARGET")?])
        .arg("--manifest-path")
        .arg(pins.directory.join("Cargo.toml"))
        .stderr(std::process::Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err("cargo could not fetch libkrun's crates (see above)".into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    PATCHED
        .iter()
        .map(|(name, _)| {
            let manifest = packages
                .iter()
                .find(|package| package["name"] == *name)
                .and_then(|package| package["manifest_path"].as_str())
                .ok_or_else(|| format!("{name} is not in vendor/libkrun/Cargo.lock"))?;
            let directory = Path::new(manifest).parent().ok_or("a manifest without a directory")?;
            Ok(((*name).to_owned(), directory.to_path_buf()))
        })
        .collect()
}

fn place(name: &str) -> Result<&'static str> {
    let found = PATCHED.iter().find(|(patched, _)| *patched == name);
    Ok(found.ok_or_else(|| format!("{name} is not patched"))?.1)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).map_err(|error| format!("{}: {error}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            // Read and written, not copied: what cargo unpacked may be read-only.
            fs::write(&target, fs::read(entry.path())?)?;
        }
    }
    Ok(())
}

/// Applies one patch, each of its files in turn. Nothing is guessed: the context must match.
fn apply(patch: &Path, root: &Path) -> Result<()> {
    let name = patch.display();
    let text = fs::read_to_string(patch).map_err(|error| format!("{name}: {error}"))?;
    let mut applied = 0;
    for part in text.split("\ndiff --git ").skip(1) {
        let (_, part) = part.split_once('\n').ok_or_else(|| format!("{name}: it ends too soon"))?;
        // The split took the end of its last line.
        let part = format!("{}\n", part.trim_end_matches('\n'));
        let diff = diffy::Patch::from_str(&part).map_err(|error| format!("{name}: {error}"))?;
        let path = diff
            .modified()
            .and_then(|path| path.strip_prefix("b/"))
            .map(Path::new)
            .filter(|path| path.components().all(|part| matches!(part, Component::Normal(_))))
            .ok_or_else(|| format!("{name}: it names no file below b/"))?;
        let target = root.join(path);
        let before =
            fs::read_to_string(&target).map_err(|error| format!("{name}: {}: {error}", path.display()))?;
        let after = diffy::apply(&before, &diff)
            .map_err(|error| format!("{name} does not apply to {}: {error}", path.display()))?;
        fs::write(&target, after)?;
        applied += 1;
    }
    if applied == 0 {
        return Err(format!("{name}: it changes no file").into());
    }
    Ok(())
}

/// The wrapper crate, with the patched crates put in place of the registry's, in manifest and lock file.
fn write_wrapper(pins: &Pins, into: &Path) -> Result<()> {
    let mut manifest = fs::read_to_string(pins.directory.join("Cargo.toml"))?;
    manifest.push_str("\n[patch.crates-io]\n");
    for (name, path) in PATCHED {
        manifest.push_str(&format!("{name} = {{ path = \"{path}\" }}\n"));
    }
    fs::write(into.join("Cargo.toml"), manifest)?;

    let lock = fs::read_to_string(pins.directory.join("Cargo.lock"))?;
    let packages = lock.split("\n[[package]]\n").map(|package| {
        let patched = PATCHED.iter().any(|(name, _)| package.starts_with(&format!("name = \"{name}\"\n")));
        let from_registry = |line: &&str| line.starts_with("source = ") || line.starts_with("checksum = ");
        if patched {
            package.lines().filter(|line| !from_registry(line)).map(|line| format!("{line}\n")).collect()
        } else {
            package.to_owned()
        }
    });
    fs::write(into.join("Cargo.lock"), packages.collect::<Vec<_>>().join("\n[[package]]\n"))?;
    fs::write(into.join("src/lib.rs"), fs::read(pins.directory.join("src/lib.rs"))?)?;
    Ok(())
}
