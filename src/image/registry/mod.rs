//! Images in registries, by the protocol that OCI's distribution specification describes.
//!
//! ```text
//! Reference ─► Connection ─► manifest ─► config ─► Archived { layers: RemoteBlob … }
//!                │   ▲        by the guest's platform              │
//!           401  ▼   │ Authorization                               ▼ read as the layer is unpacked
//!              login, credentials ◄── docker's config.json      Download: goes on where it broke off
//!                       └── helper ◄─ docker-credential-NAME
//! ```
//!
//! Whatever a registry says is taken for hostile: manifests, configs and tokens have a largest size, blobs the size and
//! the digest that the manifest promises. HTTPS everywhere; plain HTTP is spoken with registries on loopback addresses
//! only, and no redirect or token server leads out of that. Credentials are looked up when a registry asks for them, and
//! stand in no message.
//!
//! Written upon reqwest rather than a client of registries: see `docs/ARCHITECTURE.md`.

mod connection;
mod credentials;
mod download;
#[cfg(test)]
mod download_tests;
mod error;
mod helper;
mod login;
mod pull;
mod reference;
mod tls;

pub(crate) use download::RemoteBlob;
pub use error::RegistryError;
pub(crate) use pull::open;
pub use reference::Reference;
