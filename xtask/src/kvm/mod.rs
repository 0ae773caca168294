//! `cargo xtask kvm`: runs a command where KVM works.
//!
//! [`run`] asks [`probe`] whether KVM works on this machine. If so, [`native`] runs the command here; if not, an
//! [`emulator`] is started, and [`attempt`] has the command run by this same program inside it ([`mod@inside`]). Both talk
//! as [`wire`] says.

mod attempt;
mod docker;
mod emulator;
mod feed;
mod initramfs;
mod inside;
mod modules;
mod mounts;
mod native;
mod probe;
mod rundir;
mod spawn;
mod wire;

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    time::Duration,
};

pub(crate) use docker::Dockerd;
pub(crate) use initramfs::{hex, write_atomically};
pub(crate) use inside::{VERB as INSIDE_VERB, run as inside};
pub(crate) use spawn::dying_with_us;

use crate::{
    error::{Context, FAILED, Result},
    paths, setup,
};

/// The emulated host's memory unless asked otherwise: room for a docker daemon and a few guests.
pub(crate) const MEMORY_MIB: u32 = 4096;
/// Its processors. With two, QEMU 10.0.2 now and then enters a guest with some of the host's own state (guests that
/// pass 64 MiB to the host ended in a triple fault or hung in 4 of 56 runs; with one processor, in none of 30), and much
/// of the second one is idle, since one guest runs at a time.
pub(crate) const CPUS: u32 = 1;

/// The exit code of a command that timed out, as of timeout(1).
const TIMED_OUT: u8 = 124;

/// The emulation is started this often before it is given up.
const ATTEMPTS: u32 = 2;

/// These name sockets and daemons that exist outside only.
const NOT_PASSED_ON: [&str; 5] =
    ["DBUS_SESSION_BUS_ADDRESS", "DOCKER_HOST", "GPG_AGENT_INFO", "SSH_AUTH_SOCK", "XDG_RUNTIME_DIR"];

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Request {
    /// A docker daemon is wanted.
    pub(crate) docker: bool,
    /// The archives to load into it.
    pub(crate) images: Vec<PathBuf>,
    /// The command's limit.
    pub(crate) timeout_seconds: u64,
    /// The emulated host's memory.
    pub(crate) memory_mib: u32,
    /// The emulated host's processors.
    pub(crate) cpus: u32,
    /// Where to run it.
    pub(crate) place: Place,
    /// More is to be said.
    pub(crate) verbose: bool,
    /// The command.
    pub(crate) command: Vec<OsString>,
}

/// Where a command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Here if a probe boots a kernel here, otherwise in the emulated host.
    WhereKvmWorks,
    /// In the emulated host.
    Emulated,
    /// On this machine.
    Here,
}

/// How the command ended, or why it could not be run.
pub(crate) struct Ending {
    code: u8,
    line: Option<String>,
}

impl Ending {
    fn signal(signal: i32) -> Self {
        Self { code: 128_u8.wrapping_add(u8::try_from(signal).unwrap_or(0)), line: None }
    }
}

/// Whether a command, with a docker daemon or without, runs on this machine when it is to run where KVM works.
pub(crate) fn runs_here(docker: bool) -> Result<bool> {
    Ok(native::can(docker) && probe::kvm_works_here(&setup::kernel::cached()?)?)
}

/// Runs the command and returns its exit code.
pub(crate) fn run(mut request: Request) -> Result<u8> {
    setup::run(setup::Voice::Changes)?;
    for image in &mut request.images {
        *image = fs::canonicalize(&*image).file("read", &*image)?;
    }
    let kernel = setup::kernel::cached()?;
    let out = OutDir::make()?;
    let native = match request.place {
        Place::Here => true,
        Place::Emulated => false,
        Place::WhereKvmWorks => runs_here(request.docker)?,
    };
    let ending =
        if native { native::run(&request, &out.path)? } else { emulated(&request, &kernel, &out.path)? };
    if let Some(line) = &ending.line {
        eprintln!("xtask kvm: {line}");
    }
    Ok(ending.code)
}

fn emulated(request: &Request, kernel: &setup::kernel::Kernel, out: &Path) -> Result<Ending> {
    let say = |line: &str| {
        if request.verbose {
            eprintln!("xtask kvm: {line}");
        }
    };
    let signals = attempt::Signals::catch()?;
    let run = rundir::RunDir::new()?;
    let inside = run.copy_of_this_program()?;
    let feed = feed::Feed::start();
    let mut attempt = 1;
    loop {
        let emulator = emulator::start(request, kernel, &run, &inside, out)?;
        let job = job(request, kernel, out)?;
        let timeout = Duration::from_secs(request.timeout_seconds);
        let outcome = attempt::run(emulator, job, timeout, &feed, &signals, &say)?;
        if request.verbose {
            eprint!(
                "xtask kvm: the console's log:\n{}",
                emulator::tail(&emulator::console_log(&run), usize::MAX)
            );
        }
        match outcome {
            attempt::Outcome::Final(ending) => return Ok(ending),
            attempt::Outcome::Dead(why) => {
                eprintln!("xtask kvm: the emulation failed, not the command: {why}");
                eprint!("{}", emulator::tail(&emulator::qemu_log(&run), 10));
                eprint!("{}", emulator::tail(&emulator::console_log(&run), 40));
                if attempt == ATTEMPTS {
                    let line =
                        format!("the emulation failed {ATTEMPTS} times; the command did not run to its end");
                    return Ok(Ending { code: FAILED, line: Some(line) });
                }
                attempt += 1;
                eprintln!("xtask kvm: starting it again; what the command has written so far comes twice");
            }
        }
    }
}

fn job(request: &Request, kernel: &setup::kernel::Kernel, out: &Path) -> Result<wire::Job> {
    let directory = env::current_dir().doing("find the working directory")?;
    let bytes = |path: &Path| path.as_os_str().to_owned().into_vec();
    let mut environment: Vec<(Vec<u8>, Vec<u8>)> = env::vars_os()
        .filter(|(name, _)| !NOT_PASSED_ON.iter().any(|not| name == not) && name != OUT_VARIABLE)
        .map(|(name, value)| (name.into_vec(), value.into_vec()))
        .collect();
    environment.push((OUT_VARIABLE.into(), bytes(out)));
    Ok(wire::Job {
        command: request.command.iter().cloned().map(OsString::into_vec).collect(),
        environment,
        directory: bytes(&directory),
        out: bytes(out),
        user: rustix::process::getuid().as_raw(),
        group: rustix::process::getgid().as_raw(),
        groups: rustix::process::getgroups()
            .doing("read the groups of this process")?
            .into_iter()
            .map(rustix::process::Gid::as_raw)
            .collect(),
        docker: request.docker,
        images: request.images.iter().map(|image| bytes(image)).collect(),
        kernel: bytes(&kernel.dir),
    })
}

const OUT_VARIABLE: &str = "BOTTLE_OUT";

/// The directory that comes back. It is removed at the end if it was made here and nothing was put into it.
struct OutDir {
    path: PathBuf,
    made: bool,
}

impl OutDir {
    fn make() -> Result<Self> {
        let asked = env::var_os(OUT_VARIABLE).map_or_else(|| PathBuf::from("out"), PathBuf::from);
        let made = !asked.exists();
        paths::make_dir(&asked)?;
        let path = fs::canonicalize(&asked).file("find", &asked)?;
        Ok(Self { path, made })
    }
}

impl Drop for OutDir {
    fn drop(&mut self) {
        if self.made {
            // Fails, as it is meant to, if there is something in it.
            drop(fs::remove_dir(&self.path));
        }
    }
}
