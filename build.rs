//! Builds the programs that this crate carries, static Linux programs of the machine's own architecture, and tells it where they are:
//! `include_bytes!(env!("BOTTLE_GUEST_INIT"))`, and `BOTTLE_SIDECAR`.
//!
//! `BOTTLE_GUEST_INIT_PATH` and `BOTTLE_SIDECAR_PATH` name ones that were built before, for hosts that cannot build Linux programs.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A program that the crate carries.
struct Carried {
    /// Its package, and its own name.
    name: &'static str,
    /// What it is, in an error.
    what: &'static str,
    /// Where the crate finds its path; `…_PATH` is the override.
    variable: &'static str,
}

const CARRIED: [Carried; 2] = [
    Carried { name: "bottle-guest", what: "the guest's init", variable: "BOTTLE_GUEST_INIT" },
    Carried { name: "bottle-sidecar", what: "the program of the bundle's image", variable: "BOTTLE_SIDECAR" },
];

fn main() -> Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=Cargo.toml");
    for package in ["gates", "guest", "protocol", "sidecar", "transfer"] {
        println!("cargo::rerun-if-changed={package}/src");
        println!("cargo::rerun-if-changed={package}/Cargo.toml");
    }
    for program in CARRIED {
        let prebuilt = format!("{}_PATH", program.variable);
        println!("cargo::rerun-if-env-changed={prebuilt}");
        let path = match env::var_os(&prebuilt) {
            Some(path) => {
                fs::canonicalize(&path).map_err(|error| format!("{prebuilt}={}: {error}", path.display()))?
            }
            None => build(&program, &prebuilt)?,
        };
        check(&path)?;
        println!("cargo::rustc-env={}={}", program.variable, path.display());
    }
    Ok(())
}

/// Builds it with a cargo of its own, in a target directory beside the profiles' that they all share.
fn build(program: &Carried, prebuilt: &str) -> Result<PathBuf> {
    let Carried { name, what, .. } = program;
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let target = guest_target()?;
    let target_dir = shared_target_dir()?.join("guest");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What this build was told is not meant for that one: its flags, its wrapper (clippy's driver), its own target.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let leaks = text.starts_with("CARGO_") && !["CARGO_HOME", "CARGO_NET_OFFLINE"].contains(&&*text)
            || text.starts_with("RUSTC_") && text != "RUSTC_BOOTSTRAP"
            || ["RUSTFLAGS", "RUSTDOCFLAGS", "CLIPPY_ARGS", "TARGET", "HOST", "OUT_DIR", "PROFILE"]
                .contains(&&*text);
        if leaks {
            cargo.env_remove(&name);
        }
    }
    // With the target named, these flags go to the program only, not to the build scripts of its dependencies.
    let flags = format!("CARGO_TARGET_{}_RUSTFLAGS", target.to_uppercase().replace('-', "_"));
    cargo.current_dir(&root).env(flags, "-C target-feature=+crt-static").env("CARGO_TARGET_DIR", &target_dir);
    cargo.args(["build", "--quiet", "--locked", "--package", name, "--bin", name]);
    cargo.args(["--profile", "guest", "--target", &target]);
    let status = cargo.status().map_err(|error| format!("cannot run cargo for {what}: {error}"))?;
    if !status.success() {
        let hint = format!(
            "{what} could not be built for {target} ({status}); hint: `rustup target add {target}` and a linker for it, \
             or set {prebuilt} to one built on Linux with `cargo build --profile guest -p {name}`"
        );
        return Err(hint.into());
    }
    Ok(target_dir.join(target).join("guest").join(name))
}

/// The guest has the host's architecture. Musl if it is installed: its static programs are smaller.
fn guest_target() -> Result<String> {
    let arch = env::var("CARGO_CFG_TARGET_ARCH")?;
    let musl = format!("{arch}-unknown-linux-musl");
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--print", "target-libdir", "--target", &musl]).output()?;
    let directory = String::from_utf8_lossy(&output.stdout);
    let installed = output.status.success() && Path::new(directory.trim()).is_dir();
    let linux = env::var("CARGO_CFG_TARGET_OS")? == "linux";
    Ok(if installed || !linux { musl } else { format!("{arch}-unknown-linux-gnu") })
}

/// `target/` out of `target/[TRIPLE/]PROFILE/build/bottle-HASH/out`: the nearest one that cargo marked as its own.
fn shared_target_dir() -> Result<PathBuf> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let marked = out.ancestors().skip(1).filter(|directory| directory.join("CACHEDIR.TAG").exists()).last();
    Ok(marked.map_or_else(|| out.clone(), Path::to_path_buf))
}

/// Anything but a Linux program would only show as a guest or a container that does not start.
fn check(program: &Path) -> Result<()> {
    let bytes = fs::read(program).map_err(|error| format!("{}: {error}", program.display()))?;
    let machine = match env::var("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "x86_64" => 62u16,
        "aarch64" => 183,
        "riscv64" => 243,
        other => return Err(format!("libkrun has no guests for {other}").into()),
    };
    let elf = bytes.starts_with(b"\x7fELF\x02\x01") && bytes.get(18..20) == Some(&machine.to_le_bytes()[..]);
    if elf {
        Ok(())
    } else {
        Err(format!("{} is not a Linux program of this machine's kind", program.display()).into())
    }
}
