//! `cargo xtask demo`: the main job on real input, for a newcomer. It makes the images, then has this same program run
//! the [`script`] where KVM works: each command is shown as one would type it, with what it prints, its exit code and how
//! long it took, and checked ([`step`]). One step tries to reach a [`listener`] on the host's own loopback.

mod listener;
mod script;
mod step;

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};

use crate::{
    command,
    error::{Error, Result},
    images::{self, Recipe},
    kvm, paths, setup,
};

/// The whole script takes about two minutes in the emulated host, and several times that on a busy machine.
const LIMIT_SECONDS: u64 = 1800;

/// Makes what is needed, and has the script run where KVM works.
pub(crate) fn run() -> Result<u8> {
    let start = Instant::now();
    println!(
        "Making what the demo needs: packages, guest kernel, images, `bottle` itself. Once, this takes minutes."
    );
    setup::run(setup::Voice::Changes)?;
    let images = images::ensure(&["debian".into(), "proxy".into()])?;
    let [(_, guest), (bundle, bundle_archive)] = images.as_slice() else {
        return Err(Error::other("there are not two images"));
    };
    build()?;
    println!("  {:.1} s", start.elapsed().as_secs_f32());
    println!(
        "\nNow to a machine where KVM works. If that is not this one, it is emulated, and everything in it is slow."
    );
    kvm::run(kvm::Request {
        docker: true,
        images: vec![bundle_archive.clone()],
        timeout_seconds: LIMIT_SECONDS,
        memory_mib: kvm::MEMORY_MIB,
        cpus: kvm::CPUS,
        place: kvm::Place::WhereKvmWorks,
        verbose: false,
        command: inside_command(guest, bundle)?,
    })
}

fn build() -> Result<()> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(paths::workspace()).args(["build", "--quiet", "--release", "--workspace"]);
    command::run(&mut cargo)
}

fn inside_command(guest: &Path, bundle: &Recipe) -> Result<Vec<std::ffi::OsString>> {
    let this = paths::this_program()?;
    let mut words: Vec<std::ffi::OsString> = vec![this.into(), "demo".into(), "--inside".into()];
    words.extend([guest.into(), bundle.reference().into()]);
    Ok(words)
}

/// Runs the script, here and now. `bottle` lies beside this program.
pub(crate) fn run_inside(guest: PathBuf, bundle: &str) -> Result<ExitCode> {
    let this = paths::this_program()?;
    let programs = this.parent().unwrap_or(Path::new("/")).to_path_buf();
    if !programs.join("bottle").is_file() {
        return Err(Error::other(format!("there is no bottle in {}", programs.display())));
    }
    script::run(&programs, &guest, bundle)
}
