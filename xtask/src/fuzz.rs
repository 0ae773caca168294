//! `cargo xtask fuzz`: feeds the parsers of hostile input, and a device of the patched libkrun, with what libFuzzer makes of the
//! seeds in `fuzz/seeds` and `fuzz/libkrun/seeds`.

use std::process::Command;

use crate::{
    command,
    error::{Context, FAILED, Result},
    paths,
};

struct Target {
    name: &'static str,
    /// Its crate, in the workspace.
    crate_dir: &'static str,
    /// What cargo-fuzz is told of the crate.
    options: &'static [&'static str],
}

/// Ours is safe Rust, where a sanitizer would look at C only, slowly; libkrun's devices are not.
const TARGETS: [Target; 3] = [
    Target { name: "layers", crate_dir: "fuzz", options: &["--sanitizer", "none"] },
    Target { name: "manifest", crate_dir: "fuzz", options: &["--sanitizer", "none"] },
    Target {
        name: "vsock",
        crate_dir: "fuzz/libkrun",
        options: &["--sanitizer", "address", "--features", "fuzz"],
    },
];
const LIBKRUN: [&str; 4] = ["build", "--release", "--package", "libkrun-sys"];
/// No input takes a second; on a busy machine it takes some.
const INPUT_SECONDS: u32 = 60;
const MEMORY_MIB: u32 = 3000;

/// Runs one target, or all, one after the other, for so long each. Returns the exit code of the first that found something; what it
/// was is in the crate's `artifacts`.
pub(crate) fn run(target: Option<&str>, seconds: u32) -> Result<u8> {
    if !command::succeeds(Command::new("cargo-fuzz").arg("--version")) {
        command::run(Command::new("cargo").args(["install", "--locked", "cargo-fuzz"]))?;
    }
    for target in TARGETS.iter().filter(|known| target.is_none_or(|wanted| wanted == known.name)) {
        let crate_dir = paths::workspace().join(target.crate_dir);
        let corpus = crate_dir.join("corpus").join(target.name);
        paths::make_dir(&corpus)?;
        // It leaves the patched libkrun where the crates expect it.
        command::run(Command::new("cargo").current_dir(paths::workspace()).args(LIBKRUN))?;
        let mut fuzz = Command::new("cargo-fuzz");
        // Its coverage needs an unstable option of rustc.
        fuzz.env("RUSTC_BOOTSTRAP", "1")
            .current_dir(paths::workspace())
            .args(["run", "--fuzz-dir"])
            .arg(&crate_dir)
            .args(target.options)
            .arg(target.name)
            .arg(corpus)
            .arg(crate_dir.join("seeds").join(target.name))
            .arg("--")
            .args([format!("-max_total_time={seconds}"), format!("-timeout={INPUT_SECONDS}")])
            .arg(format!("-rss_limit_mb={MEMORY_MIB}"));
        let status = fuzz.status().doing("start cargo-fuzz")?;
        if !status.success() {
            return Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED));
        }
    }
    Ok(0)
}
