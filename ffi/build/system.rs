//! A libkrun that the system brings, linked dynamically.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{Result, variable};

/// `place` is `1`, or the directory that holds the library.
pub(crate) fn link(place: &str) -> Result<()> {
    let search = if place == "1" { searched_by_pkg_config() } else { vec![place.to_owned()] };
    for directory in &search {
        println!("cargo::rustc-link-search=native={directory}");
    }
    println!("cargo::rustc-link-lib=dylib=krun");

    let out = variable("OUT_DIR")?;
    probe(&out, &search, "krun_create_ctx")
        .map_err(|error| format!("BOTTLE_SYSTEM_LIBKRUN={place}: no libkrun to link was found:\n{error}"))?;
    probe(&out, &search, "krun_set_tsi_allowlist").map_err(|error| {
        format!(
            "BOTTLE_SYSTEM_LIBKRUN={place}: this libkrun lacks krun_set_tsi_allowlist, without which the network of \
             a guest cannot be limited; apply vendor/libkrun/patches to it, or unset the variable:\n{error}"
        )
    })?;
    Ok(())
}

/// Without pkg-config, or if it knows of no libkrun, the compiler's own search path has to do.
fn searched_by_pkg_config() -> Vec<String> {
    let Ok(output) = Command::new("pkg-config").args(["--libs-only-L", "libkrun"]).output() else {
        return Vec::new();
    };
    let flags = String::from_utf8_lossy(&output.stdout).into_owned();
    flags.split_whitespace().filter_map(|flag| flag.strip_prefix("-L")).map(str::to_owned).collect()
}

/// Links a program that calls `function`. It is never run, so any signature will do.
fn probe(out: &str, search: &[String], function: &str) -> Result<()> {
    let source = Path::new(out).join("probe.c");
    fs::write(&source, format!("int {function}(void);\nint main(void) {{ return {function}(); }}\n"))?;
    let mut command = Command::new("cc");
    command.arg(&source).arg("-o").arg(Path::new(out).join("probe"));
    for directory in search {
        command.arg(format!("-L{directory}"));
    }
    command.arg("-lkrun");
    if !variable("TARGET")?.contains("apple") {
        // What libkrun itself needs is not the question here.
        command.arg("-Wl,--allow-shlib-undefined");
    }
    let output = command.output().map_err(|error| format!("the C compiler cc could not be run: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into()) }
}
