//! Landlock: the files that the VMM may open, and the TCP ports that it may connect to (landlock(7)).
//!
//! What is open already stays usable, so logs, pipes and the guest kernel need no rule. A kernel that knows less than this
//! file enforces what it knows; [`parts`] says what that is.

#![allow(unsafe_code)]

use std::io;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, PathFd, PathFdError, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, make_bitflags,
};

use super::KVM;
use crate::vm::confine::{Limits, WallPart};

/// The newest that this file was written for.
const NEWEST: ABI = ABI::V9;

/// What Landlock gives, since which version of its interface, and which Linux brought that.
///
/// Files: truncating came with 3 and the control of devices with 5; before that, "files" is not whole.
const PARTS: [(&str, i64, &str); 3] = [
    ("files", 5, "Landlock of Linux 6.10"),
    ("TCP connections", 4, "Landlock of Linux 6.7"),
    ("signals and abstract sockets", 6, "Landlock of Linux 6.12"),
];

/// What this kernel's Landlock gives.
pub(super) fn parts() -> Vec<WallPart> {
    let version = version();
    let state = |least, lacking: &str| {
        if version >= least {
            Ok(format!("Landlock, version {version}"))
        } else if version > 0 {
            Err(format!("{lacking}, and this is version {version}"))
        } else {
            Err(format!("{lacking}, compiled in and on the `lsm=` list"))
        }
    };
    PARTS.map(|(name, least, lacking)| WallPart::new(name, state(least, lacking))).into()
}

/// The version of the kernel's interface; negative if it has none, or was told to do without.
fn version() -> i64 {
    const ASK_VERSION: libc::c_uint = 1;
    // SAFETY: with this flag, and without a pointer, the kernel answers its version and does nothing else.
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, ASK_VERSION) }
}

/// Confines this thread, and those that it starts, to what `limits` has, as far as the kernel can.
pub(super) fn restrict(limits: &Limits<'_>) -> io::Result<()> {
    rules(limits).map_err(io::Error::other)
}

#[derive(Debug, thiserror::Error)]
enum LandlockError {
    #[error(transparent)]
    Ruleset(#[from] RulesetError),
    #[error(transparent)]
    Path(#[from] PathFdError),
    #[error("Landlock, which this kernel has, did not take any of its rules")]
    NotEnforced,
}

fn rules(limits: &Limits<'_>) -> Result<(), LandlockError> {
    let mut ruleset = Ruleset::default().handle_access(AccessFs::from_all(NEWEST))?;
    // Every TCP port is every TCP port: there would be nothing to refuse, at the price of 65,535 rules.
    let all_ports = limits.ports.iter().any(|ports| *ports.start() <= 1 && *ports.end() == u16::MAX);
    ruleset = ruleset.handle_access(AccessNet::BindTcp)?;
    if !all_ports {
        ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
    }
    let mut ruleset = ruleset.scope(make_bitflags!(Scope::{AbstractUnixSocket | Signal}))?.create()?;

    let mut allow = |path, access: BitFlags<AccessFs>| -> Result<(), LandlockError> {
        (&mut ruleset).add_rule(PathBeneath::new(PathFd::new(path)?, access))?;
        Ok(())
    };
    if let Some(base) = limits.base {
        allow(base, AccessFs::ReadFile.into())?;
    }
    allow(limits.disk, make_bitflags!(AccessFs::{ReadFile | WriteFile | Truncate}))?;
    if Path::new(KVM).exists() {
        allow(KVM.as_ref(), make_bitflags!(AccessFs::{ReadFile | WriteFile | IoctlDev}))?;
    }
    // libkrun makes the agent's socket in it, once the guest's driver is up.
    allow(limits.state_dir, make_bitflags!(AccessFs::{MakeSock | ResolveUnix}))?;
    for volume in &limits.volumes {
        allow(&volume.path, if volume.read_only { read_only() } else { read_write() })?;
    }
    if !all_ports {
        let ports = limits.ports.iter().cloned().flatten();
        ruleset = ruleset
            .add_rules(ports.map(|port| Ok::<_, RulesetError>(NetPort::new(port, AccessNet::ConnectTcp))))?;
    }
    let status = ruleset.restrict_self()?;
    // `parts` promised something.
    if status.ruleset == RulesetStatus::NotEnforced && version() > 0 {
        return Err(LandlockError::NotEnforced);
    }
    Ok(())
}

/// What a guest may do in a volume that it only reads.
fn read_only() -> BitFlags<AccessFs> {
    make_bitflags!(AccessFs::{ReadFile | ReadDir})
}

/// What a guest may do in its other volumes: nothing with devices, and no programs. Character devices are made only as far
/// as that takes no capability: the whiteouts of overlayfs.
fn read_write() -> BitFlags<AccessFs> {
    let not = make_bitflags!(AccessFs::{Execute | IoctlDev | MakeBlock | ResolveUnix});
    AccessFs::from_all(NEWEST) & !not
}
