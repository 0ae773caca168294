//! git-gate with a real git and a real sshd, on loopback ports of this machine: from a client's `git` to the upstream's.

// clippy.toml lets tests do this in functions marked as tests, and not in what those share.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod attacks;
mod bench;
mod pushes;
mod upstreams;
