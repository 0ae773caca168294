//! The images of `bottle`'s own: what docker is asked to build, when, and what is said of it.
//!
//! - [`real`]: by a real docker daemon, in small; these tests are ignored, `cargo xtask test` runs them.
//! - [`verbs`]: `bottle image build` and `bottle run`, with a daemon that is played by the test ([`played`]).

// clippy.toml lets tests do this in functions marked as tests, and not in what those share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod played;
mod real;
mod verbs;
