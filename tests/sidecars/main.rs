//! The bundle's real daemons in a real container: pipelock and egress between a client on this machine and a server under a name that
//! only the bundle knows. Run by `cargo xtask test`, which makes the image.
//!
//! Where pipelock's module cannot be had, the image has a stand-in, which knows the allowlist and nothing else: what only pipelock can
//! pass is in modules whose names begin with `pipelock`, and so is no other test's name.

// clippy.toml lets tests do this in functions marked as tests, and not in what those share.
#![allow(clippy::expect_used, clippy::panic)]

mod approvals;
mod bench;
mod credentials;
mod git;
mod life;
mod many;
mod one_user;
mod pipelock_dlp;
mod pipelock_tls;
mod refusals;
mod streams;
#[path = "../upstream/mod.rs"]
mod upstream;
