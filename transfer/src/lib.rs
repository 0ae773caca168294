//! A tree of files becomes the entries of a copy, and these become a tree again: the same on both sides of it, host and
//! guest.
//!
//! ```text
//! tree ─► Walk ─► Entry, content, Entry, ... ─► Apply ─► a tree below one directory
//! ```
//!
//! - [`walk`] reads. Below the source that was named no symbolic link is followed, and what is swapped for one
//!   while it is read is not followed either.
//! - [`place`] decides where the root of a copy goes: the rules are those of `docker cp`.
//! - [`apply`] writes, and takes what it is given for hostile: [`path`] refuses what is no path below the root,
//!   [`tree`] opens directories one component at a time and none through a link, so that nothing can be put
//!   anywhere but below the destination.
//! - [`pending`] is a file that is not complete: it has no name, or where the system can't have that a temporary one,
//!   until its last byte is written.
//!
//! No memory grows with what comes in: not with the number of entries, their sizes or their order. What is read takes the
//! names of the directories on the way down, and the paths of files that have several names.

mod apply;
mod error;
mod path;
mod pending;
mod place;
mod sys;
#[cfg(test)]
mod tests;
mod tree;
mod walk;

pub use apply::{Apply, Owners, Rules};
pub use error::TransferError;
pub use path::{check as check_path, printable};
pub use place::Destination;
pub use walk::Walk;
