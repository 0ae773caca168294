//! The emulated host: QEMU in TCG mode with AMD-V, so that KVM is real inside it.
//!
//! ```text
//! this machine                         emulated host
//! /            ── 9p, read-only ──►    lower half of the root
//! an unnamed sparse file ─ virtio ──►  /dev/vda, ext4: upper half of the root, docker's data
//! $BOTTLE_OUT  ◄── 9p ────────────►    the same path
//! four socket pairs ◄─ virtio-serial ► see `wire`
//! console.log  ◄── serial ─────────    the kernel's console
//! ```

use std::{
    fs::{self, File},
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::fs::{Mode, OFlags};

use super::{Request, initramfs, rundir::RunDir, spawn, wire};
use crate::{
    command,
    error::{Context, Result},
    paths,
    setup::kernel::Kernel,
};

/// QEMU's name in Debian.
pub(crate) const QEMU: &str = "qemu-system-x86_64";

/// The size of the scratch file, which is sparse: what a run may write at most.
const SCRATCH_BYTES: u64 = 48 * 1024 * 1024 * 1024;

const SCRATCH_OPTIONS: &str = "format=raw,if=none,id=scratch,cache=unsafe,discard=unmap";

/// Where the child finds the descriptors; far above those that are open.
const SCRATCH_FD: RawFd = 200;
const FIRST_PORT_FD: RawFd = 210;

/// A started emulated host, and our ends of its ports.
pub(crate) struct Emulator {
    /// QEMU.
    pub(crate) process: Child,
    /// The ports, by what goes over them.
    pub(crate) control: UnixStream,
    /// See [`wire`].
    pub(crate) stdin: UnixStream,
    /// See [`wire`].
    pub(crate) stdout: UnixStream,
    /// See [`wire`].
    pub(crate) stderr: UnixStream,
}

/// The console's log.
pub(crate) fn console_log(run: &RunDir) -> PathBuf {
    run.join("console.log")
}

/// What QEMU itself has to say.
pub(crate) fn qemu_log(run: &RunDir) -> PathBuf {
    run.join("qemu.log")
}

/// Starts an emulated host.
pub(crate) fn start(
    request: &Request,
    kernel: &Kernel,
    run: &RunDir,
    inside: &Path,
    out: &Path,
) -> Result<Emulator> {
    let scratch = scratch()?;
    let initramfs = initramfs::for_kernel(kernel, true)?;
    let mut qemu = Command::new(QEMU);
    qemu.args(["-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max,+svm"])
        .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-monitor", "none"])
        .args(["-smp", &request.cpus.to_string(), "-m", &request.memory_mib.to_string()])
        .arg("-kernel")
        .arg(kernel.image())
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", &command_line(inside)])
        .args(["-chardev", &format!("file,id=console,path={}", console_log(run).display())])
        .args(["-serial", "chardev:console"])
        .args(["-device", "virtio-rng-pci"])
        .args(["-drive", &format!("file=/proc/self/fd/{SCRATCH_FD},{SCRATCH_OPTIONS}")])
        .args(["-device", "virtio-blk-pci,drive=scratch"])
        .args(share("root", Path::new("/"), true))
        .args(share("out", out, false))
        .args(["-device", "virtio-serial-pci"]);
    let mut inherited = vec![(scratch, SCRATCH_FD)];
    let mut ours = Vec::new();
    for (name, fd) in
        [wire::CONTROL, wire::STDIN, wire::STDOUT, wire::STDERR].into_iter().zip(FIRST_PORT_FD..)
    {
        let (near, far) = UnixStream::pair().doing("make a socket pair")?;
        qemu.args(["-chardev", &format!("socket,id={name},fd={fd}")])
            .args(["-device", &format!("virtserialport,chardev={name},name={name}")]);
        inherited.push((far.into(), fd));
        ours.push(near);
    }
    let log = qemu_log(run);
    let log = File::create(&log).file("create", &log)?;
    qemu.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    // Ctrl-C at a terminal is for us: we end QEMU when all is told.
    std::os::unix::process::CommandExt::process_group(&mut qemu, 0);
    let inherited: Vec<(&OwnedFd, RawFd)> = inherited.iter().map(|(fd, number)| (fd, *number)).collect();
    let process = spawn::dying_with_us(&mut qemu, &inherited)?;
    let mut ours = ours.into_iter();
    let mut next = || ours.next().ok_or_else(|| crate::error::Error::other("a port is missing"));
    Ok(Emulator { process, control: next()?, stdin: next()?, stdout: next()?, stderr: next()? })
}

/// A kernel that stumbles must end, not linger: then QEMU ends too, and is seen to.
fn command_line(inside: &Path) -> String {
    // Without AppArmor: where it is on, dockerd wants a parser of its profiles, which takes seconds here.
    let fixed = "console=ttyS0 quiet mitigations=off apparmor=0 panic=-1 oops=panic";
    format!("{fixed} bottle.inside={}", inside.display())
}

/// QEMU's options for a directory shared over 9p. `multidevs=remap` keeps inode numbers of different file systems apart.
fn share(tag: &str, path: &Path, readonly: bool) -> [String; 2] {
    let readonly = if readonly { ",readonly=on" } else { "" };
    // A comma in an option's value is written twice.
    let path = path.display().to_string().replace(',', ",,");
    let share = format!("local,path={path},mount_tag={tag},security_model=none,multidevs=remap{readonly}");
    ["-virtfs".to_owned(), share]
}

/// The scratch disk: a sparse file without a name, which so is gone with the last process that has it open.
fn scratch() -> Result<OwnedFd> {
    let dir = paths::cache_dir()?;
    let mode = Mode::RUSR | Mode::WUSR;
    let fd = rustix::fs::open(&dir, OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC, mode)
        .file("make a scratch file in", &dir)?;
    rustix::fs::ftruncate(&fd, SCRATCH_BYTES).doing("size the scratch file")?;
    // No journal: nothing of it outlives the run.
    let path = format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd());
    command::output(
        Command::new("/sbin/mkfs.ext4")
            .args([
                "-q",
                "-F",
                "-O",
                "^has_journal",
                "-m",
                "0",
                "-E",
                "lazy_itable_init=1,nodiscard",
                "-i",
                "65536",
            ])
            .arg(path),
    )?;
    Ok(fd)
}

/// The end of a log, for an error message.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    let log = fs::read(path).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let all: Vec<&str> = log.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let from = all.len().saturating_sub(lines);
    all[from..].iter().map(|line| format!("    {line}\n")).collect()
}
