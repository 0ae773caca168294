//! `cargo xtask bench`: what bottle costs, as ratios to references that are measured in the same run, in turns.
//!
//! - [`import`] (a): an image to a disk, against `tar -x` of the same layers and `cp` of the archive; on this machine.
//! - [`image`]: imports of large images from each kind of source, against what else can be done with them; on this machine.
//! - [`start`] (b): a command in a new VM, against the least program that boots the same with plain libkrun ([`plain`]).
//! - [`memory`] (c): the memory of a VM that idles, and its disk; against the same.
//! - [`exec`] (d, e): requests to a VM that runs, and copies of files; against the bare port, docker, and `cat`.
//! - [`net`] (f): connections from a guest to the host behind allowlists, against libkrun as it is published.
//! - [`bundle`] (g, h): the start of a bundle, against docker's own commands, and requests through its proxies, against direct ones;
//!   on this machine, by the hidden option `--inside-docker`.
//! - [`mod@run`] (i): `bottle run` of an agent, against `docker run` of the same image beside the same bundle.
//!
//! All but (a), images and bundles run where KVM works, by the hidden options `--inside` and `--inside-run`.

mod bundle;
mod child;
mod exec;
mod image;
mod import;
mod memory;
mod net;
mod plain;
mod run;
mod start;
mod table;

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use crate::{
    command,
    error::{Context, Error, Result},
    images, kvm, paths, setup,
};

/// Both parts take some four minutes in the emulated host, and several times that on a busy machine.
const LIMIT_SECONDS: u64 = 3600;

/// How often each thing is measured.
const RUNS: usize = 5;

/// A part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// An image to a disk
    A,
    /// Start to output
    B,
    /// Memory and disk
    C,
    /// Requests to a VM that runs, and copies into and out of it
    Exec,
    /// Imports of large images; takes root
    Image,
    /// TCP from a guest to the host, behind allowlists
    Net,
    /// A bundle's start, and requests through it; takes root
    Bundle,
    /// An agent behind its bundle, from nothing to its first byte
    Run,
}

/// Runs these parts, all if there is none; those of bundles with the bundle's image in this archive, if there is one.
pub(crate) fn run(parts: &[Part], copy_mib: u64, bundle_image: Option<&Path>) -> Result<u8> {
    let wanted = |part| parts.is_empty() || parts.contains(&part);
    setup::run(setup::Voice::Changes)?;
    let programs = programs()?;
    if wanted(Part::Net) {
        build_stock(&programs)?;
    }
    build()?;
    if wanted(Part::Image) {
        image::run(&programs)?;
    }
    if wanted(Part::Bundle) {
        bundle::run(bundle_image)?;
    }
    if wanted(Part::Run) {
        let code = run::run(bundle_image)?;
        if code != 0 {
            return Ok(code);
        }
    }
    if !parts.is_empty() && parts.iter().all(|part| matches!(part, Part::Image | Part::Bundle | Part::Run)) {
        return Ok(0);
    }
    let images = images::ensure(&["debian".into()])?;
    let [(_, archive)] = images.as_slice() else { return Err(Error::other("there is not one image")) };
    if wanted(Part::A) {
        import::run(&programs, archive)?;
    }
    if ![Part::B, Part::C, Part::Exec, Part::Net].into_iter().any(wanted) {
        return Ok(0);
    }
    let work = tempfile::tempdir().doing("make a temporary directory")?;
    let inits = plain::Inits::build(work.path())?;
    let this = paths::this_program()?;
    let mut command: Vec<OsString> = vec![this.into(), "bench".into()];
    let names = [("b", Part::B), ("c", Part::C), ("exec", Part::Exec), ("net", Part::Net)];
    command.extend(names.iter().filter(|(_, part)| wanted(*part)).map(|(name, _)| name.into()));
    command.extend(["--size".into(), copy_mib.to_string().into()]);
    command.extend(["--inside".into(), archive.into(), inits.directory.into()]);
    let docker = wanted(Part::Exec);
    kvm::run(kvm::Request {
        docker,
        images: if docker { vec![archive.clone()] } else { Vec::new() },
        timeout_seconds: LIMIT_SECONDS,
        memory_mib: kvm::MEMORY_MIB,
        cpus: kvm::CPUS,
        place: kvm::Place::WhereKvmWorks,
        verbose: false,
        command,
    })
}

/// Measures bundles here, where docker has this image of theirs.
pub(crate) fn run_inside_docker(bundle_image: &str) -> Result<ExitCode> {
    bundle::run_inside(&programs()?, bundle_image).map(|()| ExitCode::SUCCESS)
}

/// Measures agents here, where KVM works and docker has these images of the bundle's and the agent's, which is in this archive, too.
pub(crate) fn run_agents_inside(bundle_image: &str, agent_image: &str, archive: &Path) -> Result<ExitCode> {
    run::run_inside(programs()?, bundle_image, agent_image, archive).map(|()| ExitCode::SUCCESS)
}

/// Runs these parts here, where KVM works.
pub(crate) fn run_inside(parts: &[Part], copy_mib: u64, archive: &Path, inits: &Path) -> Result<ExitCode> {
    let programs = programs()?;
    let work = tempfile::tempdir().doing("make a temporary directory")?;
    let setting = Setting {
        programs: programs.clone(),
        archive: archive.to_path_buf(),
        plain: plain::Plain::new(&programs, inits, work.path())?,
        work: work.path().to_path_buf(),
    };
    if parts.contains(&Part::B) || parts.contains(&Part::C) {
        // It leaves the image in the cache, and a disk for the reference.
        let memory = memory::measure(&setting)?;
        if parts.contains(&Part::C) {
            memory.print();
        }
    }
    if parts.contains(&Part::B) {
        start::run(&setting)?;
    }
    if parts.contains(&Part::Exec) {
        exec::run(&setting, copy_mib)?;
    }
    if parts.contains(&Part::Net) {
        net::run(&setting.plain)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is measured inside.
struct Setting {
    programs: PathBuf,
    archive: PathBuf,
    plain: plain::Plain,
    work: PathBuf,
}

/// The guest of both: one processor, since an emulated host is a slow one, and what a shell needs.
const MEMORY_MIB: &str = "512";
const CPUS: &str = "1";

impl Setting {
    /// `bottle vm run … -- COMMAND`.
    fn bottle(&self, command: &[&str]) -> Command {
        let mut bottle = self.verb(&["vm", "run", "--timings", "--cpus", CPUS, "--memory", MEMORY_MIB]);
        bottle.arg(self.image()).arg("--").args(command);
        bottle
    }

    /// The same, by a name.
    fn bottle_named(&self, name: &str, command: &[&str]) -> Command {
        let mut bottle = self.verb(&["vm", "run", "--name", name, "--cpus", CPUS, "--memory", MEMORY_MIB]);
        bottle.arg(self.image()).arg("--").args(command);
        bottle
    }

    /// `bottle WORDS`.
    fn verb(&self, words: &[&str]) -> Command {
        let mut bottle = Command::new(self.programs.join("bottle"));
        self.with_directories(bottle.args(words));
        bottle
    }

    /// Tells a program of ours where to put things.
    fn with_directories<'a>(&self, program: &'a mut Command) -> &'a mut Command {
        program.env("BOTTLE_STATE_DIR", self.state_dir()).env("BOTTLE_CACHE_DIR", self.work.join("cache"))
    }

    /// The image, as it is written on a command line.
    fn image(&self) -> OsString {
        let mut image = OsString::from("docker-archive:");
        image.push(&self.archive);
        image
    }

    fn state_dir(&self) -> PathBuf {
        self.work.join("state")
    }
}

fn programs() -> Result<PathBuf> {
    let this = paths::this_program()?;
    Ok(this.parent().unwrap_or(Path::new("/")).to_path_buf())
}

/// The reference with a libkrun that nothing was done to, beside the other one, which the next build puts back.
fn build_stock(programs: &Path) -> Result<()> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(paths::workspace());
    let example = ["--package", "libkrun-sys", "--example", "plain", "--features", "stock"];
    command::run(cargo.args(["build", "--quiet", "--release"]).args(example))?;
    let examples = programs.join("examples");
    let [from, to] = [plain::Build::Ours, plain::Build::Stock].map(|build| examples.join(build.program()));
    fs::copy(&from, &to).file("copy", &from)?;
    Ok(())
}

/// All of the workspace, as the other commands do it: what is built alone has other features, and is built twice.
fn build() -> Result<()> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(paths::workspace());
    command::run(cargo.args(["build", "--quiet", "--release", "--workspace", "--bins", "--examples"]))
}
