//! Files into the guest and out of it: the host's side against the very init that is embedded, serving on a UNIX socket, and
//! against guests that lie.

// clippy.toml lets tests do this in functions marked as tests, and not in what those share.
#![allow(clippy::unwrap_used, clippy::panic)]

mod hostile;
mod interrupted;
mod support;
mod tar_streams;
mod trees;
