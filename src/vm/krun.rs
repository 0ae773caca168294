//! libkrun, safely: one method a call. Nothing else in the crate sees a raw pointer of libkrun's.

#![allow(unsafe_code)]

use std::convert::Infallible;
use std::ffi::{CString, NulError};
use std::os::fd::{IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::{io, ptr};

use libkrun_sys as sys;

/// A call of libkrun that failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum KrunError {
    /// With this error number.
    #[error("{call}: {source}")]
    Call {
        /// The C function.
        call: &'static str,
        /// The error.
        source: io::Error,
    },
    /// A string that C can't have.
    #[error("a path or name has a NUL byte in it")]
    Nul(#[from] NulError),
}

/// A VM that is being configured.
#[derive(Debug)]
pub(super) struct Krun {
    id: u32,
}

/// libkrun answers zero or more, or a negative error number.
fn check(answer: i32, call: &'static str) -> Result<u32, KrunError> {
    u32::try_from(answer)
        .map_err(|_| KrunError::Call { call, source: io::Error::from_raw_os_error(answer.wrapping_neg()) })
}

fn c_path(path: &Path) -> Result<CString, NulError> {
    CString::new(path.as_os_str().as_bytes())
}

/// Sends what libkrun logs (errors and warnings) to `log`.
pub(super) fn init_log(log: OwnedFd) -> Result<(), KrunError> {
    // SAFETY: no pointers. libkrun owns the descriptor from here on.
    let answer = unsafe {
        sys::krun_init_log(
            log.into_raw_fd(),
            sys::KRUN_LOG_LEVEL_WARN,
            sys::KRUN_LOG_STYLE_NEVER,
            sys::KRUN_LOG_OPTION_NO_ENV,
        )
    };
    check(answer, "krun_init_log").map(drop)
}

/// How many virtual processors a VM can have here.
pub(super) fn most_cpus() -> u8 {
    // On x86_64, libkrun rounds the number up to a power of two, in eight bits, for the CPUID leaves.
    const LIBKRUN_LIMIT: u8 = if cfg!(target_arch = "x86_64") { 128 } else { u8::MAX };
    // SAFETY: no pointers, no state.
    let answer = unsafe { sys::krun_get_max_vcpus() };
    u8::try_from(answer).unwrap_or(if answer > 0 { u8::MAX } else { 1 }).min(LIBKRUN_LIMIT)
}

impl Krun {
    /// An empty configuration.
    pub(super) fn new() -> Result<Self, KrunError> {
        // SAFETY: no pointers.
        check(unsafe { sys::krun_create_ctx() }, "krun_create_ctx").map(|id| Self { id })
    }

    /// Virtual processors, and memory in MiB.
    pub(super) fn set_size(&self, cpus: u8, memory_mib: u32) -> Result<(), KrunError> {
        // SAFETY: no pointers.
        check(unsafe { sys::krun_set_vm_config(self.id, cpus, memory_mib) }, "krun_set_vm_config").map(drop)
    }

    /// A root file system with nothing of the host in it.
    pub(super) fn add_virtual_root(&self) -> Result<(), KrunError> {
        // SAFETY: the tag is a constant C string; a null path is a virtual file system.
        let answer =
            unsafe { sys::krun_add_virtiofs3(self.id, sys::KRUN_FS_ROOT_TAG.as_ptr(), ptr::null(), 0, true) };
        check(answer, "krun_add_virtiofs3").map(drop)
    }

    /// A directory in the virtual root.
    pub(super) fn add_root_dir(&self, path: &str) -> Result<(), KrunError> {
        let path = CString::new(path)?;
        // SAFETY: both strings live through the call, which copies them.
        let answer = unsafe {
            sys::krun_fs_add_overlay_dir(self.id, sys::KRUN_FS_ROOT_TAG.as_ptr(), path.as_ptr(), 0o755)
        };
        check(answer, "krun_fs_add_overlay_dir").map(drop)
    }

    /// A directory of the host's, under a tag that the guest mounts it by. Read-only means that the device refuses every
    /// change, whatever the guest's kernel sends.
    pub(super) fn add_volume(&self, tag: &str, path: &Path, read_only: bool) -> Result<(), KrunError> {
        let (tag, path) = (CString::new(tag)?, c_path(path)?);
        // SAFETY: both strings live through the call, which copies them.
        let answer = unsafe { sys::krun_add_virtiofs3(self.id, tag.as_ptr(), path.as_ptr(), 0, read_only) };
        check(answer, "krun_add_virtiofs3").map(drop)
    }

    /// A file in the virtual root. libkrun reads `content` as long as the VM lives.
    pub(super) fn add_root_file(
        &self,
        path: &str,
        content: &'static [u8],
        mode: u32,
    ) -> Result<(), KrunError> {
        let path = CString::new(path)?;
        // SAFETY: the strings live through the call; the content lives for ever, as libkrun demands.
        let answer = unsafe {
            sys::krun_fs_add_overlay_file(
                self.id,
                sys::KRUN_FS_ROOT_TAG.as_ptr(),
                path.as_ptr(),
                content.as_ptr(),
                content.len(),
                mode,
                false,
            )
        };
        check(answer, "krun_fs_add_overlay_file").map(drop)
    }

    /// A writable qcow2 image, as the next of `/dev/vda`, `/dev/vdb` ...
    pub(super) fn add_qcow2_disk(&self, id: &str, path: &Path) -> Result<(), KrunError> {
        let (id, path) = (CString::new(id)?, c_path(path)?);
        // SAFETY: both strings live through the call, which copies them.
        let answer = unsafe {
            sys::krun_add_disk3(
                self.id,
                id.as_ptr(),
                path.as_ptr(),
                sys::KRUN_DISK_FORMAT_QCOW2,
                false,
                false,
                // The guest's flushes reach the disk, so that what it synced is there after a power cut.
                sys::KRUN_SYNC_FULL,
            )
        };
        check(answer, "krun_add_disk3").map(drop)
    }

    /// Everything is forwarded: for the test that only the second wall stands in.
    #[cfg(feature = "no-first-wall")]
    pub(super) fn add_network(&self, _rules: &[String]) -> Result<(), KrunError> {
        self.add_vsock(sys::KRUN_TSI_HIJACK_INET)
    }

    /// The guest's connects are forwarded to the host, those that a rule allows, and nothing else.
    #[cfg(not(feature = "no-first-wall"))]
    pub(super) fn add_network(&self, rules: &[String]) -> Result<(), KrunError> {
        let rules: Vec<CString> =
            rules.iter().map(|rule| CString::new(rule.as_str())).collect::<Result<_, _>>()?;
        let pointers: Vec<_> = rules.iter().map(|rule| rule.as_ptr()).chain([ptr::null()]).collect();
        // The list goes first: no moment with a network and without a list.
        // SAFETY: the array ends in a null pointer; it and its strings live through the call, which copies them.
        check(unsafe { sys::krun_set_tsi_allowlist(self.id, pointers.as_ptr()) }, "krun_set_tsi_allowlist")?;
        self.add_vsock(sys::KRUN_TSI_HIJACK_INET)
    }

    /// A socket to the guest agent, and no network.
    pub(super) fn add_no_network(&self) -> Result<(), KrunError> {
        self.add_vsock(0)
    }

    fn add_vsock(&self, tsi_features: u32) -> Result<(), KrunError> {
        // SAFETY: no pointers.
        check(unsafe { sys::krun_disable_implicit_vsock(self.id) }, "krun_disable_implicit_vsock")?;
        // SAFETY: no pointers.
        check(unsafe { sys::krun_add_vsock(self.id, tsi_features) }, "krun_add_vsock").map(drop)
    }

    /// Joins a vsock port to a UNIX socket: connections to the socket go to the guest's port (`listen`), or those of
    /// the guest to the host's port go to the socket.
    pub(super) fn add_vsock_port(&self, port: u32, socket: &Path, listen: bool) -> Result<(), KrunError> {
        let socket = c_path(socket)?;
        // SAFETY: the string lives through the call, which copies it.
        let answer = unsafe { sys::krun_add_vsock_port2(self.id, port, socket.as_ptr(), listen) };
        check(answer, "krun_add_vsock_port2").map(drop)
    }

    /// The one console, for what the guest's kernel and init print.
    pub(super) fn add_console(
        &self,
        input: OwnedFd,
        output: OwnedFd,
        error: OwnedFd,
    ) -> Result<(), KrunError> {
        // SAFETY: no pointers.
        check(unsafe { sys::krun_disable_implicit_console(self.id) }, "krun_disable_implicit_console")?;
        // SAFETY: no pointers. libkrun owns the descriptors from here on.
        let answer = unsafe {
            sys::krun_add_virtio_console_default(
                self.id,
                input.into_raw_fd(),
                output.into_raw_fd(),
                error.into_raw_fd(),
            )
        };
        check(answer, "krun_add_virtio_console_default").map(drop)
    }

    /// Runs the VM. The process ends with it; this returns only when the VM could not be started.
    pub(super) fn start_enter(self) -> Result<Infallible, KrunError> {
        // SAFETY: no pointers. libkrun takes the process over.
        let answer = unsafe { sys::krun_start_enter(self.id) };
        check(answer, "krun_start_enter")?;
        let source = io::Error::other("it returned without an error");
        Err(KrunError::Call { call: "krun_start_enter", source })
    }
}
