//! The bundle's real daemons in a real container: pipelock and egress between a client on this machine and a server under a name that
//! only the bundle knows. Run by `cargo xtask test`, which makes the image.

// clippy.toml lets tests do this in functions marked as tests, and not in what those share.
#![allow(clippy::expect_used, clippy::panic)]

mod approvals;
mod bench;
mod credentials;
mod git;
mod life;
mod refusals;
mod streams;
