//! `cargo xtask demo`: the main job on real input, for a newcomer. It makes the images, then has this same program run
//! the [`script`] where KVM works: each command is shown as one would type it, with what it prints, its exit code and how
//! long it took, and checked ([`step`]). The last of them is an agent that asks an API in the world [`outside`], and tries to reach a
//! [`listener`] on the host's own loopback.

mod listener;
mod outside;
mod script;
mod step;

use std::{
    env,
    ffi::OsString,
    path::Path,
    process::{Command, ExitCode},
    time::Instant,
};

use crate::{
    command,
    error::{Error, Result},
    images, kvm, paths, setup,
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
    let made = images::ensure(&["debian".into(), "client".into(), "upstream".into()])?;
    let [(_, debian), (_, client), (upstream, upstream_archive)] = made.as_slice() else {
        return Err(Error::other("there are not three images"));
    };
    let bundle = images::sidecars::ensure()?;
    build()?;
    println!("  {:.1} s", start.elapsed().as_secs_f32());
    println!(
        "\nNow to a machine where KVM works. If that is not this one, it is emulated, and everything in it is slow."
    );
    let mut command: Vec<OsString> = vec![paths::this_program()?.into(), "demo".into(), "--inside".into()];
    command.extend([debian.into(), client.into(), upstream.reference().into(), bundle.reference.into()]);
    kvm::run(kvm::Request {
        docker: true,
        images: vec![bundle.archive, upstream_archive.clone()],
        timeout_seconds: LIMIT_SECONDS,
        memory_mib: kvm::MEMORY_MIB,
        cpus: kvm::CPUS,
        place: kvm::Place::WhereKvmWorks,
        verbose: false,
        command,
    })
}

fn build() -> Result<()> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(paths::workspace()).args(["build", "--quiet", "--release", "--workspace"]);
    command::run(&mut cargo)
}

/// The images that the script needs.
pub(crate) struct Images<'a> {
    /// The archive of a guest's.
    pub(crate) debian: &'a Path,
    /// The archive of a guest's that has curl and git.
    pub(crate) client: &'a Path,
    /// The name in docker of that in which the API runs.
    pub(crate) upstream: &'a str,
    /// The name in docker of the bundle's.
    pub(crate) bundle: &'a str,
}

/// Runs the script, here and now. `bottle` lies beside this program.
pub(crate) fn run_inside(images: &Images<'_>) -> Result<ExitCode> {
    let this = paths::this_program()?;
    let programs = this.parent().unwrap_or(Path::new("/"));
    if !programs.join("bottle").is_file() {
        return Err(Error::other(format!("there is no bottle in {}", programs.display())));
    }
    script::run(programs, images)
}
