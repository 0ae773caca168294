//! The bundle: the one docker container that a bottle can reach, on a bridge of its own.
//!
//! ```text
//! BundleSpec ──► network bottle-bundle-<slug>      own /24, derived from the slug          (network)
//!                  └─► alias                        lowest free one of 127.0.0.16 … .31     (alias)
//!                        └─► container              bottle-sidecars-<slug>, pinned at .2    (container)
//!                              └─► ports            <alias>::random, looked up, checked     (container)
//!                                    └─► ready      something listens behind the port       (ready)
//! ```
//!
//! [`Bundle::start`] makes these in order and takes everything away again, in reverse, when a step fails.
//! Whatever is made carries labels ([`names`]), so that [`Bundle::remove`] and [`sweep`] find it by what it is
//! and never by a name that someone else may have given.
//!
//! Left-overs of the same slug and the same state directory are removed and made anew, not adopted: their image,
//! ports or environment may be those of another run, and a bundle costs less than a second. Things under the same
//! names that are not ours are an error and stay as they are.

mod alias;
mod ca;
mod client;
mod container;
mod error;
mod files;
mod inside;
mod lifecycle;
mod logs;
mod manifest;
pub mod names;
mod network;
pub mod plan;
mod ready;
mod reload;
mod remove;
mod routes;
mod sidecars;
mod socket;
mod spec;
mod sys;
mod tokens;

pub use alias::{ALIASES, Alias};
pub use client::Docker;
pub use error::BundleError;
pub(crate) use error::{status as docker_status, words as docker_words};
pub(crate) use files::{ANSWERS, CONFIG, MANIFEST, PIPELOCK_LOG, PROPOSALS};
pub use lifecycle::{Bundle, BundleSteps};
pub use manifest::{
    AuthScheme, BundleManifest, HostPattern, ManifestError, Route, SecretPattern, TokenSource,
};
pub use plan::BundlePlan;
pub use plan::git_gate::{GitGateError, GitUpstream};
pub use remove::{Swept, sweep};
pub use sidecars::{Sidecars, SidecarsSpec};
pub(crate) use socket::docker_socket;
pub use spec::{BundleSpec, Hardening, Mount};
pub use tokens::read_tokens;
