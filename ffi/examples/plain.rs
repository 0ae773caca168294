//! The least program that boots a guest with libkrun, to compare ours with.
//!
//! ```text
//! plain DISK.qcow2|- MEMORY_MIB CPUS INIT [tsi [RULE]...]
//! ```
//!
//! INIT, a static Linux binary, runs as PID 1 on an empty root that has `dev`, `proc`, `sys` and `newroot`; the disk
//! is `/dev/vda`. There is no vsock device unless TSI is wanted, without an allowlist if there is no rule. Nothing is printed. The
//! process ends when INIT ends or reboots.

#![allow(unsafe_code)]

use std::error::Error;
use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::IntoRawFd;
use std::{env, io, ptr};

use libkrun_sys::*;

/// Turns the answer of a libkrun call into a result.
fn check(result: i32, call: &str) -> Result<u32, Box<dyn Error>> {
    u32::try_from(result).map_err(|_| format!("{call}: {}", io::Error::from_raw_os_error(-result)).into())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [disk, memory_mib, cpus, init, network @ ..] = arguments.as_slice() else {
        return Err("usage: plain DISK.qcow2|- MEMORY_MIB CPUS INIT [tsi [RULE]...]".into());
    };
    let disk = if disk == "-" { None } else { Some(CString::new(disk.as_str())?) };
    let texts: Vec<CString> =
        network.iter().skip(1).map(|rule| CString::new(rule.as_str())).collect::<Result<_, _>>()?;
    let rules: Vec<_> = texts.iter().map(|rule| rule.as_ptr()).chain([ptr::null()]).collect();
    // libkrun keeps a reference to the bytes for as long as the VM runs, which is until this process ends.
    let init: &'static [u8] = fs::read(init).map_err(|error| format!("{init}: {error}"))?.leak();
    let null = File::options().read(true).write(true).open("/dev/null")?.into_raw_fd();
    let root = KRUN_FS_ROOT_TAG.as_ptr();

    // SAFETY: all pointers are to strings that end with NUL and outlive the calls, or to `init`, which is never
    // freed; `null` stays open.
    unsafe {
        let context = check(krun_create_ctx(), "krun_create_ctx")?;
        check(krun_set_vm_config(context, cpus.parse()?, memory_mib.parse()?), "krun_set_vm_config")?;
        check(krun_add_virtiofs3(context, root, ptr::null(), 0, true), "krun_add_virtiofs3")?;
        let path = c"init.krun".as_ptr();
        let added = krun_fs_add_overlay_file(context, root, path, init.as_ptr(), init.len(), 0o100_755, true);
        check(added, "krun_fs_add_overlay_file")?;
        for directory in [c"dev", c"proc", c"sys", c"newroot"] {
            let added = krun_fs_add_overlay_dir(context, root, directory.as_ptr(), 0o040_755);
            check(added, "krun_fs_add_overlay_dir")?;
        }
        if let Some(disk) = &disk {
            let format = KRUN_DISK_FORMAT_QCOW2;
            let id = c"vda".as_ptr();
            let added = krun_add_disk3(context, id, disk.as_ptr(), format, false, false, KRUN_SYNC_RELAXED);
            check(added, "krun_add_disk3")?;
        }
        check(krun_disable_implicit_vsock(context), "krun_disable_implicit_vsock")?;
        if rules.len() > 1 {
            #[cfg(feature = "stock")]
            return Err("libkrun as it is published has no allowlist".into());
            #[cfg(not(feature = "stock"))]
            check(krun_set_tsi_allowlist(context, rules.as_ptr()), "krun_set_tsi_allowlist")?;
        }
        if !network.is_empty() {
            check(krun_add_vsock(context, KRUN_TSI_HIJACK_INET), "krun_add_vsock")?;
        }
        check(krun_disable_implicit_console(context), "krun_disable_implicit_console")?;
        check(krun_add_virtio_console_default(context, null, null, null), "krun_add_virtio_console_default")?;
        check(krun_start_enter(context), "krun_start_enter")?;
    }
    Ok(())
}
