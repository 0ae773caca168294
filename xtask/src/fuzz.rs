//! `cargo xtask fuzz`: feeds the parsers of hostile input with what libFuzzer makes of the seeds in `fuzz/seeds`.

use std::process::Command;

use crate::{
    command,
    error::{Context, FAILED, Result},
    paths,
};

/// The targets, in `fuzz/targets`.
const TARGETS: [&str; 2] = ["layers", "manifest"];
/// No input takes a second; on a busy machine it takes some.
const INPUT_SECONDS: u32 = 60;
const MEMORY_MIB: u32 = 3000;

/// Runs one target, or all, one after the other, for so long each. Returns the exit code of the first that found something; what it
/// was is in `fuzz/artifacts`.
pub(crate) fn run(target: Option<&str>, seconds: u32) -> Result<u8> {
    if !command::succeeds(Command::new("cargo-fuzz").arg("--version")) {
        command::run(Command::new("cargo").args(["install", "--locked", "cargo-fuzz"]))?;
    }
    for target in TARGETS.into_iter().filter(|name| target.is_none_or(|wanted| wanted == *name)) {
        let corpus = paths::workspace().join("fuzz/corpus").join(target);
        paths::make_dir(&corpus)?;
        let mut fuzz = Command::new("cargo-fuzz");
        // Its coverage needs an unstable option of rustc. The code is safe Rust: a sanitizer would look at C only, slowly.
        fuzz.env("RUSTC_BOOTSTRAP", "1")
            .current_dir(paths::workspace())
            .args(["run", "--sanitizer", "none", target])
            .arg(corpus)
            .arg(paths::workspace().join("fuzz/seeds").join(target))
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
