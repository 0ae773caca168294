//! The reference: `ffi/examples/plain.rs`, which does nothing but boot, and two inits for it that do next to nothing.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    command,
    error::{Context, Result},
    paths,
};

/// Restarts, which is how libkrun's machines end: the cheapest end there is.
const TRUE: &str =
    "unsafe extern \"C\" { fn reboot(how: i32) -> i32; } fn main() { unsafe { reboot(0x0123_4567) }; }";

/// Idles.
const IDLE: &str = "fn main() { loop { std::thread::park(); } }";

/// The inits, built.
pub(super) struct Inits {
    pub(super) directory: PathBuf,
}

impl Inits {
    pub(super) fn build(directory: &Path) -> Result<Self> {
        for (name, source) in [("true", TRUE), ("idle", IDLE)] {
            let path = directory.join(format!("{name}.rs"));
            fs::write(&path, source).file("write", &path)?;
            let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
            rustc.args(["--edition=2024", "-Copt-level=s", "-Cpanic=abort", "-Cstrip=symbols"]);
            rustc.args(["-Ctarget-feature=+crt-static", "-o"]).arg(directory.join(name)).arg(&path);
            command::output(&mut rustc)?;
        }
        Ok(Self { directory: directory.to_path_buf() })
    }
}

/// How it is started.
pub(super) struct Plain {
    program: PathBuf,
    libraries: OsString,
    inits: PathBuf,
    /// The same kind of disk as bottle's: an overlay over the image.
    pub(super) disk: PathBuf,
}

impl Plain {
    pub(super) fn new(programs: &Path, inits: &Path, work: &Path) -> Result<Self> {
        Ok(Self {
            program: programs.join("examples/plain"),
            libraries: paths::library_dir()?.into(),
            inits: inits.to_path_buf(),
            disk: work.join("plain.qcow2"),
        })
    }

    pub(super) fn command(&self, init: &str) -> Command {
        let mut plain = Command::new(&self.program);
        plain.arg(&self.disk).args([super::MEMORY_MIB, super::CPUS]).arg(self.inits.join(init));
        plain.env("LD_LIBRARY_PATH", &self.libraries);
        plain
    }
}
