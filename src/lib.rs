//! `bottle`: a coding agent in a libkrun microVM whose only way out is a sidecar bundle made for it.
//!
//! Data passes from [`image`] (a docker image becomes `base.ext4`) to [`vm`] (a disk becomes a running guest);
//! [`bundle`] is the container that the guest may reach, and [`launch`] puts the three together and takes them
//! apart again.

pub mod bundle;
pub mod image;
pub mod launch;
pub mod logs;
pub mod plan;
pub mod state;
pub mod vm;
