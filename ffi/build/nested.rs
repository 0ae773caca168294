//! libkrun built by a cargo of its own, once for all of ours.
//!
//! Below the target directory:
//!
//! ```text
//! libkrun/lock               held while the rest is written
//! libkrun/source/            the patched tree; `source-holes`, `source-stock`: those of these features
//! libkrun/target/            the nested cargo's target directory
//! libkrun/<key>/libbottle_krun.a, native-libs
//! ```
//!
//! The key stands for all that decides the outcome: pins, patches, compiler and target. A directory named by a key
//! appears complete or not at all, so that `cargo build`, `test` and `clippy`, in any profile, share one build.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};

use crate::pins::{Pins, hex};
use crate::{Result, source, variable};

const LIBRARY: &str = "libbottle_krun.a";
/// The system libraries that the static library needs, as rustc names them.
const NATIVE_LIBS: &str = "native-libs";

pub(crate) fn link(pins: &Pins) -> Result<()> {
    let place = shared_directory()?;
    let done = place.join(key(pins)?);
    if !done.join(LIBRARY).exists() {
        let lock = Lock::take(&place)?;
        // Another build may have made it while this one waited.
        if !done.join(LIBRARY).exists() {
            build(pins, &place, &done)?;
        }
        drop(lock);
    }

    println!("cargo::rustc-link-search=native={}", done.display());
    // Not bundled into our rlib: that would copy the whole archive for each profile.
    println!("cargo::rustc-link-lib=static:-bundle=bottle_krun");
    let native_libs = fs::read_to_string(done.join(NATIVE_LIBS))?;
    let mut words = native_libs.split_whitespace();
    while let Some(word) = words.next() {
        match word.strip_prefix("-l") {
            Some(name) => println!("cargo::rustc-link-lib=dylib={name}"),
            None if word == "-framework" => {
                let name = words.next().ok_or("rustc named no framework")?;
                println!("cargo::rustc-link-lib=framework={name}");
            }
            None => return Err(format!("libkrun needs {word:?} to link, which is not known here").into()),
        }
    }
    Ok(())
}

fn build(pins: &Pins, place: &Path, done: &Path) -> Result<()> {
    let source = place.join(pins.series.source());
    source::prepare(pins, &source)?;

    let target = variable("TARGET")?;
    let unfinished = place.join("unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    fs::create_dir(&unfinished)?;

    let mut command = cargo()?;
    command.current_dir(&source).args(["rustc", "--release", "--locked", "--target", &target]);
    command.arg("--target-dir").arg(place.join("target"));
    command.args(build_std()?);
    let print = format!("native-static-libs={}", unfinished.join(NATIVE_LIBS).display());
    command.args(["--", "--print", &print]);
    if !command.status()?.success() {
        return Err("libkrun could not be built (see above)".into());
    }

    let library = place.join("target").join(&target).join("release").join(LIBRARY);
    fs::copy(library, unfinished.join(LIBRARY))?;
    fs::rename(&unfinished, done)?;
    Ok(())
}

/// Type-checks the patched tree, for targets that nothing can be linked for here.
pub(crate) fn check(pins: &Pins) -> Result<()> {
    let place = shared_directory()?;
    let lock = Lock::take(&place)?;
    let source = place.join(pins.series.source());
    source::prepare(pins, &source)?;
    let mut command = cargo()?;
    command.current_dir(&source).args(["check", "--release", "--locked", "--target", &variable("TARGET")?]);
    command.arg("--target-dir").arg(place.join("target")).args(build_std()?);
    let passed = command.status()?.success();
    drop(lock);
    if passed { Ok(()) } else { Err("libkrun does not pass the compiler's checks (see above)".into()) }
}

/// For another target, its standard library may not be installed, but built from source with `-Zbuild-std`. A build
/// script cannot see that cargo was given it; `RUSTC_BOOTSTRAP`, which it takes, tells.
fn build_std() -> Result<Vec<String>> {
    let foreign = variable("TARGET")? != variable("HOST")?;
    let wanted = foreign && env::var_os("RUSTC_BOOTSTRAP").is_some_and(|value| value == "1");
    Ok(if wanted { vec!["-Zbuild-std=std,panic_abort".to_owned()] } else { Vec::new() })
}

/// A cargo that inherits nothing from the one that runs us but where it lives and how it reaches the registry.
///
/// cargo and clippy hand build scripts variables that say how *our* crates are compiled; with them, libkrun would
/// be linted, or built again for each set of flags.
pub(crate) fn cargo() -> Result<Command> {
    const KEPT: [&str; 3] = ["CARGO_HOME", "CARGO_MAKEFLAGS", "CARGO_TERM_COLOR"];
    const KEPT_PREFIXES: [&str; 5] =
        ["CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR", "CARGO_SOURCE_", "CARGO_RESOLVER_"];
    const DROPPED: [&str; 13] = [
        "CLIPPY_ARGS",
        "CLIPPY_CONF_DIR",
        "DEBUG",
        "HOST",
        "MAKEFLAGS",
        "MFLAGS",
        "NUM_JOBS",
        "OPT_LEVEL",
        "OUT_DIR",
        "PROFILE",
        "RUSTFLAGS",
        "RUSTDOCFLAGS",
        "TARGET",
    ];

    let mut command = Command::new(variable("CARGO")?);
    for (name, _) in env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        let kept = KEPT.contains(&text) || KEPT_PREFIXES.iter().any(|prefix| text.starts_with(prefix));
        let ours = text.starts_with("CARGO") || text.starts_with("DEP_") || text.starts_with("RUSTC_W");
        if !kept && (ours || DROPPED.contains(&text)) {
            command.env_remove(name);
        }
    }
    command.env("RUSTC", variable("RUSTC")?);
    Ok(command)
}

fn key(pins: &Pins) -> Result<String> {
    let version = Command::new(variable("RUSTC")?).arg("-vV").output()?;
    if !version.status.success() {
        return Err("rustc -vV failed".into());
    }
    let mut hash = Sha256::new();
    hash.update(&pins.sha256);
    hash.update(version.stdout);
    hash.update(variable("TARGET")?);
    let mut key = hex(hash);
    key.truncate(16);
    Ok(key)
}

/// `<target directory>/libkrun`, found from OUT_DIR: `<target directory>/<profile>/build/libkrun-sys-…/out`.
fn shared_directory() -> Result<PathBuf> {
    let out = PathBuf::from(variable("OUT_DIR")?);
    let target = out
        .ancestors()
        .find(|path| path.file_name().is_some_and(|name| name == "build"))
        .and_then(|build| build.parent()?.parent());
    let place = target.unwrap_or(&out).join("libkrun");
    fs::create_dir_all(&place).map_err(|error| format!("{}: {error}", place.display()))?;
    Ok(place)
}

/// Keeps a second cargo out while the shared directory is written. Gone with the process, however that ends.
struct Lock(#[expect(dead_code, reason = "held for its lock, which closing it gives up")] File);

impl Lock {
    fn take(place: &Path) -> Result<Self> {
        let file = File::create(place.join("lock"))?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(Self(file))
    }
}
