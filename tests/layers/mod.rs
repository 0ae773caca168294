//! Images made byte by byte, and what their import left. For tests that need more than the `tar` crate writes: names of any
//! bytes, headers that lie.
#![allow(dead_code, unused_imports, reason = "each test binary uses its part")]

mod archive;
mod store;
mod tar;

pub(crate) use archive::{Packing, architecture, config, config_of, docker_archive, docker_image, gzip};
pub(crate) use store::{Fixture, content, debugfs, fsck, in_time, kind};
pub(crate) use tar::{END, Entry, pax_records, tarball};
