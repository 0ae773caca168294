//! The mounts: first on the virtual root, then the root device in its place, then what every Linux system has.

use std::ffi::{CStr, OsStr};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::Path;

use bottle_protocol::{CANNOT_GROW, Volume};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_move, mount_remount, unmount};

use super::{BootError, named, warn};
use crate::sys;

const NEW_ROOT: &str = "/newroot";

/// That of every image that a bottle makes.
const ROOT_BLOCK_BYTES: u64 = 4096;

/// For file systems that hold no programs and no devices.
const PLAIN: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// What is needed to find the root device. Nothing is written: the virtual root takes no files.
pub(super) fn virtual_root() -> Result<(), BootError> {
    mount_at("devtmpfs", "/dev", "devtmpfs", MountFlags::NOSUID, c"mode=0755")?;
    mount_at("proc", "/proc", "proc", PLAIN, c"")
}

/// Makes the file system on `device` the root, and lets the virtual root go.
pub(super) fn enter_root(device: &str, fstype: &str) -> Result<(), BootError> {
    let mounted = mount(device, NEW_ROOT, fstype, MountFlags::NOATIME, None);
    named(mounted, format_args!("cannot mount the root device {device} ({fstype})"))?;
    for own in ["/proc", "/dev"] {
        named(unmount(own, UnmountFlags::DETACH), own)?;
    }
    named(rustix::process::chdir(NEW_ROOT), NEW_ROOT)?;
    // With both names the same, the old root ends up mounted over the new one, and is unmounted from there: nothing
    // of it is left, under any path, for anyone.
    match rustix::process::pivot_root(".", ".") {
        Ok(()) => named(unmount(".", UnmountFlags::DETACH), "cannot let go of the virtual root")?,
        // The kernel's own first root cannot be pivoted away from; over that one, moving is the way.
        Err(Errno::INVAL) => {
            named(mount_move(".", "/"), "cannot move to the new root")?;
            named(rustix::process::chroot("."), "cannot change to the new root")?;
        }
        Err(error) => return named(Err(error), "cannot change to the new root"),
    }
    named(rustix::process::chdir("/"), "/")
}

/// Grows the root's file system to that size, if it has it not yet.
///
/// What the kernel does not have to write for it, it leaves to a thread that would write it during the next minutes: zeros
/// into inode tables, for which the host's disk would have to have room. Tables work without them.
pub(super) fn grow_root(bytes: u64) -> Result<(), BootError> {
    let what = format!("{CANNOT_GROW} to {bytes} bytes");
    let root = named(fs::File::open("/"), &what)?;
    named(sys::resize_ext4(&root, bytes / ROOT_BLOCK_BYTES), &what)?;
    let no_thread = mount_remount("/", MountFlags::NOATIME, c"noinit_itable");
    named(no_thread, &what)
}

/// `/dev`, `/proc`, `/sys` and `/run` of the new root.
pub(super) fn system() -> Result<(), BootError> {
    let tmpfs = MountFlags::NOSUID | MountFlags::NODEV;
    mount_at("devtmpfs", "/dev", "devtmpfs", MountFlags::NOSUID, c"mode=0755")?;
    mount_at(
        "devpts",
        "/dev/pts",
        "devpts",
        MountFlags::NOSUID | MountFlags::NOEXEC,
        c"gid=5,mode=0620,ptmxmode=0666",
    )?;
    mount_at("shm", "/dev/shm", "tmpfs", tmpfs, c"mode=1777")?;
    mount_at("proc", "/proc", "proc", PLAIN, c"")?;
    mount_at("sysfs", "/sys", "sysfs", PLAIN, c"")?;
    mount_at("tmpfs", "/run", "tmpfs", tmpfs, c"mode=0755")?;
    // A kernel may be built without these two, and a guest is of use without them.
    optional(mount_at("mqueue", "/dev/mqueue", "mqueue", PLAIN, c""));
    optional(mount_at("cgroup2", "/sys/fs/cgroup", "cgroup2", PLAIN, c"nsdelegate"));

    for (link, target) in [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
    ] {
        if fs::symlink_metadata(link).is_err() {
            warn(symlink(target, link), link);
        }
    }
    // The device of that name would do as well; a link into the mount is what programs expect.
    drop(fs::remove_file("/dev/ptmx"));
    warn(symlink("pts/ptmx", "/dev/ptmx"), "/dev/ptmx");
    if !Path::new("/tmp").exists() {
        warn(fs::create_dir("/tmp"), "/tmp");
        warn(fs::set_permissions("/tmp", fs::Permissions::from_mode(0o1777)), "/tmp");
    }
    Ok(())
}

fn optional(mounted: Result<(), BootError>) {
    if let Err(BootError(message)) = mounted {
        crate::log(&message);
    }
}

/// A host directory that the user asked for by name.
pub(super) fn volume(volume: &Volume) -> Result<(), BootError> {
    let path = Path::new(OsStr::from_bytes(&volume.mountpoint));
    let what = format!("cannot mount the volume {} on {}", volume.tag, path.display());
    if !path.is_absolute() {
        return Err(BootError(format!("{what}: not an absolute path")));
    }
    named(fs::create_dir_all(path), &what)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    let flags = if volume.read_only { flags | MountFlags::RDONLY } else { flags };
    named(mount(&*volume.tag, path, "virtiofs", flags, None), &what)
}

fn mount_at(
    source: &str,
    target: &str,
    fstype: &str,
    flags: MountFlags,
    data: &CStr,
) -> Result<(), BootError> {
    if !Path::new(target).is_dir() {
        named(fs::DirBuilder::new().recursive(true).mode(0o755).create(target), target)?;
    }
    match mount(source, target, fstype, flags, data) {
        // The kernel may have mounted it by itself.
        Err(Errno::BUSY) => Ok(()),
        mounted => named(mounted, format_args!("cannot mount {target}")),
    }
}
