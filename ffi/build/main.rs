//! Finds or makes the libkrun that this crate links.
//!
//! ```text
//! vendor/libkrun: pins, patches, added files ──► source.rs: the patched crates
//!                                                    │
//!                                nested.rs: cargo build, once for all profiles ──► libbottle_krun.a
//! BOTTLE_SYSTEM_LIBKRUN ──► system.rs: probed with cc, linked dynamically
//! ```
//!
//! Environment:
//!
//! - `BOTTLE_SYSTEM_LIBKRUN`: `1` links the libkrun that pkg-config or the compiler finds; a path is the directory
//!   that holds it.
//! - `BOTTLE_LIBKRUN=skip`: builds no libkrun. `cargo check` and `clippy` then do without it, on any target; what
//!   they check can't be linked.
//! - `BOTTLE_LIBKRUN=check`: type-checks the patched libkrun for the target instead of building it. For another
//!   target than the machine's own, its standard library is checked from source (`-Zbuild-std`, which takes
//!   `RUSTC_BOOTSTRAP=1` and the `rust-src` component).

mod nested;
mod pins;
mod source;
mod system;

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    for name in ["BOTTLE_SYSTEM_LIBKRUN", "BOTTLE_LIBKRUN"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    println!("cargo::rerun-if-changed=build");

    let vendor = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("../vendor/libkrun");
    let feature = |name: &str| env::var_os(format!("CARGO_FEATURE_{name}")).is_some();
    let series = match (feature("STOCK"), feature("HOLES")) {
        (false, false) => pins::Series::Ours,
        (false, true) => pins::Series::WithHoles,
        (true, false) => pins::Series::None,
        (true, true) => return Err("the features stock and holes are for different libkruns".into()),
    };
    let pins = pins::Pins::read(&vendor, series)?;
    println!("cargo::rerun-if-changed={}", pins.directory.display());
    println!("cargo::rustc-env=LIBKRUN_VERSION={}", pins.version);
    println!("cargo::rustc-env=LIBKRUN_PATCHES_SHA256={}", pins.patches_sha256);

    match env::var("BOTTLE_SYSTEM_LIBKRUN") {
        Ok(place) if !place.is_empty() && place != "0" => {
            println!("cargo::rustc-env=LIBKRUN_LINKED=system");
            return system::link(&place);
        }
        _ => println!("cargo::rustc-env=LIBKRUN_LINKED=bundled"),
    }

    match env::var("BOTTLE_LIBKRUN").as_deref() {
        Ok("skip") => Ok(()),
        Ok("check") => nested::check(&pins),
        Err(_) | Ok("" | "build") => nested::link(&pins),
        Ok(other) => Err(format!("BOTTLE_LIBKRUN is {other:?}, not one of build, check, skip").into()),
    }
}

/// A variable that cargo sets for every build script.
fn variable(name: &str) -> Result<String> {
    env::var(name).map_err(|error| format!("{name}: {error}").into())
}
