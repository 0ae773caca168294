//! What a machine has beside its root file system: mounts, modules, settings. All of it by plain mounts and writes, and
//! `modprobe`.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command, thread, time::Duration};

use rustix::{mount::MountFlags, system::RebootCommand};

use crate::{
    command,
    error::{Context, Result},
    paths,
};

/// What every emulated host has. The root, /proc, /sys, /dev, /run and the loopback interface are `init.sh`'s work.
pub(super) fn basics() -> Result<()> {
    mount("devpts", "/dev/pts", "devpts", MountFlags::empty(), "mode=620,ptmxmode=666")?;
    mount("shm", "/dev/shm", "tmpfs", MountFlags::empty(), "mode=1777")?;
    mount("mqueue", "/dev/mqueue", "mqueue", MountFlags::empty(), "")?;
    mount("securityfs", "/sys/kernel/security", "securityfs", MountFlags::empty(), "")?;
    mount("cgroup2", "/sys/fs/cgroup", "cgroup2", MountFlags::empty(), "")?;
    own_cgroup()?;
    // Made by devtmpfs for none; programs expect them.
    for (link, target) in [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
    ] {
        std::os::unix::fs::symlink(target, link).file("create", link)?;
    }
    let name = "emulated-host";
    rustix::system::sethostname(name.as_bytes()).doing("set the host's name")
}

/// Moves all of us into a control group below the root, which lacks some of the files: dockerd finds no swap limit there.
fn own_cgroup() -> Result<()> {
    let root = Path::new("/sys/fs/cgroup");
    let enabled = root.join("cgroup.subtree_control");
    fs::write(&enabled, "+cpu +cpuset +io +memory +pids").file("write", &enabled)?;
    let processes = root.join("system/cgroup.procs");
    paths::make_dir(&root.join("system"))?;
    fs::write(&processes, "0").file("write", &processes)
}

/// Lets `modprobe`, and by it the kernel, find the modules of the kernel that runs; loads those that nothing asks for.
pub(super) fn modules(kernel: &Path) -> Result<()> {
    let from = kernel.join("lib/modules");
    let to = Path::new("/lib/modules");
    paths::make_dir(to)?;
    rustix::mount::mount_bind(&from, to).file("mount modules at", to)?;
    // docker's bridges filter nothing without br_netfilter, and nothing loads it by itself.
    command::output(Command::new("/sbin/modprobe").arg("br_netfilter"))?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").doing("switch on IPv4 forwarding")?;
    // As on a desktop, where a group or an ACL gives it to whoever sits there.
    for device in ["/dev/kvm", "/dev/fuse"] {
        if Path::new(device).exists() {
            fs::set_permissions(device, fs::Permissions::from_mode(0o666)).file("open up", device)?;
        }
    }
    Ok(())
}

/// Mounts the writable share at the path that it has outside. Nothing of it is cached here, so that what the command has
/// written is outside when it ends.
pub(super) fn share(at: &Path) -> Result<()> {
    let options = "trans=virtio,version=9p2000.L,msize=512000,cache=none,access=any";
    mount("out", at, "9p", MountFlags::empty(), options)
}

/// Ends the emulated host.
pub(super) fn power_off() -> ! {
    rustix::fs::sync();
    if let Err(error) = rustix::system::reboot(RebootCommand::PowerOff) {
        eprintln!("emulated host: power off: {error}");
    }
    loop {
        thread::sleep(Duration::from_secs(1));
    }
}

fn mount(source: &str, at: impl AsRef<Path>, kind: &str, flags: MountFlags, options: &str) -> Result<()> {
    let at = at.as_ref();
    paths::make_dir(at)?;
    let options =
        std::ffi::CString::new(options).map_err(std::io::Error::from).doing("name mount options")?;
    rustix::mount::mount(source, at, kind, flags, options.as_c_str()).file("mount at", at)
}
