//! Images from registries: `bottle` as a user runs it, against Debian's `docker-registry` on loopback, pushed to by
//! `skopeo`, and against servers of our own that do what that one would not.
//!
//! Needs the packages docker-registry, skopeo and openssl; `cargo xtask setup` installs them.

// clippy.toml lets tests do this in functions marked as tests, and not in what those share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod accounts;
mod bottle;
mod docker_registry;
mod faults;
mod http;
mod image;
mod lies;
mod proxy;
mod pull;
mod tokens;
