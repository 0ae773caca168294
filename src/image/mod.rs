//! A docker image becomes `base.ext4`.
//!
//! ```text
//! archive, layout ─► members ─┐  manifest   ┌─► plain, in a file: its headers ──────┐
//! registry ───────────────────┴► config ────┤                                       ├─► tree ─► fixup ─► ext4 ─► store
//!                                layers     └─► others: unpack ─┬─► headers ────────┤   merged  owners   names   its place
//! daemon ─► export, as it comes ──────────────►                 ├─► contents ─► ext4 │
//!                                                               └─► SHA-256         ┘
//! ```
//!
//! A layer that is compressed, or comes from afar, is read once, from front to back: unpacked on one thread, hashed on
//! another, its contents written by a third. So nothing lies unpacked on the disk, and what is in memory are headers. Layers
//! are read from the top down, and contents that an upper layer hides are left out ([`hidden`]). A plain layer in a file is
//! not read at all before it is known what of it is wanted. Which file lies where in the end is decided by the merge alone,
//! from the bottom up ([`tree`]).
//!
//! Everything read is taken for hostile. What can't be expressed in ext4 is refused, with the layer and the entry named.
//!
//! On disk, below the cache directory (each directory for its user alone):
//!
//! ```text
//! images/
//! ├── <sha256 of the image's config>/        with -unfixed behind it for one imported without fixups
//! │   ├── base.ext4     the merged layers, 16 GiB nominal, sparse, mode 0400
//! │   ├── config.json   the config, byte for byte: its digest is the directory's name
//! │   ├── record.json   where it came from, when, what was changed of it, and what base.ext4 is to be
//! │   └── used          its time is that of the last use
//! ├── daemon/<id>       for a daemon whose image IDs are not config digests: the config's digest
//! ├── pins/<id>/        which kept bottles have their disk over that image
//! ├── locks/<id>        held while that image is imported, so that two imports do the work once
//! └── work/
//!     ├── .lock         held while the directories beside it come and go
//!     └── import-…/     an import at work; it becomes images/<id> by renaming, or is removed,
//!                       at the latest by the next import
//! ```
//!
//! # What is changed of an image
//!
//! So that an agent can work in it, unless [`ImportOptions::fixups`] says no; `bottle image inspect` tells which of it was done:
//!
//! - `/tmp` and `/var/tmp` exist and are `root:root 1777`;
//! - the home directory of the image's `USER`, by its own `/etc/passwd`, belongs to that user and their primary group, with all
//!   that is in it; not where the home is one that others share;
//! - `/dev`, `/proc`, `/sys` and `/run` exist, to be mounted on.

mod archive;
mod blob;
mod build;
mod check;
mod config;
mod contents;
mod daemon;
mod error;
mod export;
mod ext4;
mod fixup;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzz;
mod header;
mod hidden;
pub(crate) mod input;
mod inventory;
mod key;
mod layer;
mod manifest;
mod members;
mod pin;
mod record;
mod region;
mod registry;
mod report;
mod source;
pub(crate) mod sparse;
mod store;
mod sys;
pub(crate) mod tarball;
mod tree;
#[cfg(test)]
mod tree_tests;
pub(crate) mod work;

pub use check::Damage;
pub use config::{BadDigest, ImageConfig, ImageId};
pub use error::ImageError;
pub use inventory::Stored;
pub use key::ImageKey;
pub use registry::{Reference, RegistryError};
pub use report::{OnProgress, Progress};
pub use source::{ImageFile, Source};
pub use store::{Image, ImportOptions, Store};
