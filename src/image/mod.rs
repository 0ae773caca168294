//! A docker image becomes `base.ext4`.
//!
//! ```text
//! Source ─► daemon (export) ─┐
//!        ├─► registry ────────┤
//!        └───────────────────┴► archive ─► layer ─► tree ─► fixup ─► ext4 ─► store
//!                               finds the   made    merged   owners  written  renamed into
//!                               config and  plain,  in       that    once,    its place
//!                               the layers  hashed  memory   agents  in order
//!                                                            need
//! ```
//!
//! Only headers and small files are held in memory; contents go from the archive into the ext4 image once. Everything
//! read is taken for hostile. What the ext4 writer of this version can't express is refused, with the layer and the
//! entry named.
//!
//! On disk, below the cache directory (each directory for its user alone):
//!
//! ```text
//! images/
//! ├── <sha256 of the image's config>/
//! │   ├── base.ext4     the merged layers, 16 GiB nominal, sparse, mode 0400
//! │   ├── config.json   the config, byte for byte: its digest is the directory's name
//! │   ├── record.json   where it came from, when, what was changed of it, and what base.ext4 is by
//! │   │                 size, time and checksum: one that is not is imported again
//! │   └── used          its time is that of the last use
//! ├── daemon/<id>       for a daemon whose image IDs are not config digests: the config's digest
//! ├── locks/<id>        held while that image is imported, so that two imports do the work once
//! └── work/
//!     ├── .lock         held while the directories beside it come and go
//!     └── import-…/     an import at work; it becomes images/<id> by renaming, or is removed,
//!                       at the latest by the next import
//! ```

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
mod header;
mod hidden;
mod input;
mod inventory;
mod key;
mod layer;
mod manifest;
mod members;
mod record;
mod region;
mod registry;
mod report;
mod source;
mod sparse;
mod store;
mod tarball;
mod tree;
#[cfg(test)]
mod tree_tests;
mod work;

pub use check::Damage;
pub use config::{BadDigest, ImageConfig, ImageId};
pub use error::ImageError;
pub use inventory::Stored;
pub use key::ImageKey;
pub use registry::{Reference, RegistryError};
pub use report::{OnProgress, Progress};
pub use source::{ImageFile, Source};
pub use store::{Image, ImportOptions, Store};
