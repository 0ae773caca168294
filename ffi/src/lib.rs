//! Raw bindings to libkrun, and the build of the library they bind.
//!
//! libkrun is built from pinned, patched sources (`vendor/libkrun/`) and linked statically; `build/main.rs` says how,
//! and which environment variables change it. `include/libkrun.h` describes the calls. Nothing here is safe to call
//! without reading it: the safe layer is `bottle::vm`.
//!
//! `src/bindings.rs` is generated. After a change to the header, or with another bindgen:
//!
//! ```text
//! BOTTLE_BLESS=1 cargo test --release -p libkrun-sys --test bindings
//! ```

#![allow(unsafe_code)]

mod bindings;

pub use bindings::*;

/// The version of libkrun that this crate describes and, unless a system's is linked, builds.
pub const LIBKRUN_VERSION: &str = env!("LIBKRUN_VERSION");

/// SHA-256, in hex, over the patch series that libkrun is built with.
pub const LIBKRUN_PATCHES_SHA256: &str = env!("LIBKRUN_PATCHES_SHA256");

/// Whether libkrun is ours, linked statically, rather than the system's (`BOTTLE_SYSTEM_LIBKRUN`).
pub const LIBKRUN_BUNDLED: bool = matches!(env!("LIBKRUN_LINKED").as_bytes(), b"bundled");

/// The file that libkrun loads the guest kernel from.
#[cfg(target_os = "linux")]
pub const LIBKRUNFW_FILE: &str = "libkrunfw.so.5";
/// The file that libkrun loads the guest kernel from.
#[cfg(target_os = "macos")]
pub const LIBKRUNFW_FILE: &str = "libkrunfw.5.dylib";

/// The rules of `krun_set_tsi_allowlist` and their matcher: the very file that is compiled into libkrun.
#[allow(missing_docs)]
#[allow(clippy::collapsible_if, reason = "the file is of libkrun's edition, 2021, where these can't be collapsed")]
#[path = "../../vendor/libkrun/files/src/devices/src/virtio/vsock/allowlist.rs"]
#[rustfmt::skip]
pub mod allowlist;

/// What libkrun logs of a refusal: here for its unit tests alone.
#[cfg(test)]
#[allow(unreachable_pub, reason = "in libkrun, it is reached")]
#[path = "../../vendor/libkrun/files/src/devices/src/virtio/vsock/denials.rs"]
#[rustfmt::skip]
mod denials;
