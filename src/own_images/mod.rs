//! The images that are `bottle`'s own, that of agents' guests and that of the bundle's daemons: what they are made of is in this
//! program, and docker builds them where they are missing, or were made of something else.
//!
//! ```text
//! images/NAME, bottle-sidecar ─► [`context`] ─► [`recipe`]: a name, and the hash of all that goes into the image
//!                                                  │
//!               docker has the name, and its label [`HASH_LABEL`] has the hash? ── yes ─► done
//!                                                  │ no: one process at a time    ([`ensure()`])
//!   the CAs of this machine ─► [`certificates`] ─► docker builds it               ([`build`])
//! ```
//!
//! An image under the name that was loaded, or built by hand, and has no such label, is built again: nobody knows what it was made of,
//! and the daemons in it and this program have to be of one version.

mod build;
mod certificates;
mod context;
mod ensure;
mod error;
mod output;
mod recipe;

pub use build::BuildProgress;
pub use context::Context;
pub use ensure::{BuildTerms, Ensured, ensure};
pub use error::OwnImageError;
pub use recipe::{HASH_LABEL, Recipe};
