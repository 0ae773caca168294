//! The images of `bottle`'s own: what docker is asked to build, when, and what is said of it.
//!

// clippy.toml lets tests do this in functions marked as tests, and not in what those share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod real;
