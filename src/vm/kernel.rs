//! The guest kernel: libkrun loads it from the shared library `libkrunfw`.
//!
//! It is looked for beside this program, in the user's data directory (`lib/`), then where the system's loader looks.

use std::path::PathBuf;

use libkrun_sys::LIBKRUNFW_FILE;

use super::{VmError, sys};
use crate::state;

/// Where the guest kernel is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelLibrary {
    /// In this file.
    File(PathBuf),
    /// Where the system's loader finds it by its name.
    System,
}

/// Finds the guest kernel.
///
/// # Errors
/// [`VmError::NoKernel`] when it is in none of the places.
pub fn find_kernel_library() -> Result<KernelLibrary, VmError> {
    let candidates: Vec<PathBuf> = [
        std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_owned())),
        state::data_root().ok().map(|data| data.join("lib")),
    ]
    .into_iter()
    .flatten()
    .map(|dir| dir.join(LIBKRUNFW_FILE))
    .collect();
    if let Some(found) = candidates.iter().find(|path| path.is_file()) {
        return Ok(KernelLibrary::File(found.clone()));
    }
    if sys::can_load(LIBKRUNFW_FILE.as_ref()) {
        return Ok(KernelLibrary::System);
    }
    let mut looked_at: Vec<String> = candidates.iter().map(|path| path.display().to_string()).collect();
    looked_at.push("the system's libraries".to_owned());
    Err(VmError::NoKernel { looked_at: looked_at.join(", ") })
}
