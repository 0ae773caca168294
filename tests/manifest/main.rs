//! Manifests through the command line: found, read, refused, trusted, and made into plans. Nothing is launched.

// clippy.toml lets tests do this in functions marked as tests, and not in what those share.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod hostile;
mod init;
mod mistakes;
mod place;
mod plans;
mod projects;
// Others want delays of it as well.
#[allow(dead_code)]
#[path = "../random/mod.rs"]
mod random;
