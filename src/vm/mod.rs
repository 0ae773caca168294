//! A disk becomes a running guest.
//!
//! ```text
//! VmConfig ─► spawn ──────── this binary again, as the VMM ──► vmm ─► krun ─► libkrun (never returns)
//!               │             config and lifeline on its stdin           guest kernel ─► init
//!               └─► Starting ──────────── ready.sock ◄──────────────────────────────────┘ "ready"
//!                      └─► Vm ─── agent ── agent.sock ─────────────────► exec, info, shutdown
//! ```
//!
//! - [`config`]: what was asked for; [`allow`]: one rule of what the guest may connect to.
//! - [`volume`]: directories of the host that the guest gets.
//! - [`disk`]: the qcow2 overlay that the guest writes to.
//! - [`spawn`]: the child process, the wait for the guest, and [`Vm`], the handle.
//! - [`vmm`]: what the child does, [`clock`] among it; [`confine`]: what it may do; [`krun`]: libkrun's calls, each one once.
//! - [`kernel`]: where `libkrunfw` is found; [`log_file`]: what the guest prints, bounded; [`sys`]: what differs by OS.
//! - [`agent`]: the host's side of the guest agent.
//!
//! libkrun takes the process over that starts a VM, so the VM lives in a child: this same binary, run again. A program
//! that uses this library therefore calls [`become_vmm_if_asked`] first thing in `main`, or names another program that does
//! ([`VmConfig::vmm_program`]).
//!
//! # What ends what
//!
//! | what | ends |
//! | --- | --- |
//! | [`Starting`] dropped | the VM, at once |
//! | [`Vm`] dropped, [`Vm::kill`], [`VmKiller::kill`] | the VM, at once, like a power cut: what the guest has synced is on the disk. Not by dropping one that was started [detached](VmConfig::detached) |
//! | [`Vm::shutdown`] | the guest's processes, in order; its disk is written out |
//! | this process, however it ends | the VM, unless detached: the VMM sees it by a pipe |
//! | the guest powers off, or its kernel panics | the VM: [`Vm::ends_within`] sees it, and whatever was asked of the [`agent`] fails ([`Vm::explain`] says why) |
//! | [`agent::Exec`] dropped | its process: SIGHUP, and SIGKILL two seconds later |
//!
//! All handles can be sent to other threads and used by several at once.

pub mod agent;
mod allow;
mod clock;
pub(crate) mod config;
mod confine;
pub(crate) mod denial;
mod disk;
mod disk_size;
mod error;
mod kernel;
mod krun;
pub(crate) mod log_file;
mod spawn;
pub(crate) mod sys;
mod vmm;
mod volume;

pub use allow::{AllowRule, BadRule};
pub use config::VmConfig;
pub use confine::{BadConfine, Confine, WallPart, wall_parts};
pub use disk::{DiskError, create_overlay};
pub use disk_size::{BadDiskSize, DiskSize};
pub use error::VmError;
pub use kernel::{KernelLibrary, find_kernel_library};
pub use spawn::{BootSteps, Starting, Vm, VmKiller};
pub(crate) use vmm::INIT;
pub use vmm::become_vmm_if_asked;
pub use volume::{Volume, VolumeError, check_volumes};

/// Can this process start a VM at all? What only a boot can tell is not looked at.
///
/// # Errors
/// [`VmError::NoVirtualisation`], with a hint.
pub fn check_virtualisation() -> Result<(), VmError> {
    sys::check_virtualisation()
}

/// What the VMs run on: libkrun's version, and which patches it has.
pub fn libkrun_version() -> String {
    let version = libkrun_sys::LIBKRUN_VERSION;
    if libkrun_sys::LIBKRUN_BUNDLED {
        format!("libkrun {version} with patches {}", &libkrun_sys::LIBKRUN_PATCHES_SHA256[..12])
    } else {
        "the system's libkrun".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compiles, or does not.
    fn is_shared<T: Send + Sync + 'static>() {}

    #[test]
    fn handles_and_errors_can_be_shared_between_threads() {
        is_shared::<VmConfig>();
        is_shared::<Starting>();
        is_shared::<Vm>();
        is_shared::<VmKiller>();
        is_shared::<VmError>();
        is_shared::<DiskError>();
        is_shared::<agent::Agent>();
        is_shared::<agent::Exec>();
        is_shared::<agent::ExecControl>();
        is_shared::<agent::ExecStdin>();
        is_shared::<agent::AgentError>();
        is_shared::<crate::image::Store>();
        is_shared::<crate::image::Image>();
        is_shared::<crate::image::ImageError>();
    }
}
