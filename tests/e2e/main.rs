//! The whole thing: `bottle` as a user runs it, real images, real guests, a real docker daemon.
//!
//! `cargo xtask test` runs these where KVM works, as root and one at a time, and says where things are:
//! `BOTTLE_BIN`, `BOTTLE_EXAMPLES`, and `BOTTLE_TEST_IMAGE_DEBIAN` and so on. One boot takes ten seconds or more in an
//! emulated host, so each boot is asked many things. After every run of `bottle`, nothing may be left of it.

// clippy.toml lets tests do this in functions marked as tests, and not in what those share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod archives;
mod bad_input;
mod bundle;
mod clock;
mod connect;
mod connections;
mod cp;
mod disk;
mod docker;
mod examples;
mod exec;
mod execs;
mod harness;
mod home;
mod host_faults;
mod leftovers;
mod library;
mod life;
mod listing;
mod local_life;
mod memory;
mod names;
mod network;
mod oci_layout;
mod probe;
mod provision;
#[path = "../random/mod.rs"]
mod random;
mod second_wall;
mod sidecars;
mod streams;
mod terminal;
mod tmux;
mod torture;
mod tree;
#[path = "../upstream/mod.rs"]
mod upstream;
mod users;
mod vm_run;
mod volumes;
mod worktree;
