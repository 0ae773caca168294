//! Images made to do harm. Each is refused with a message that names the layer and the entry, or becomes a correct image that
//! e2fsck finds nothing in. None panics or hangs, and no byte is written outside the store.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../layers/mod.rs"]
mod layers;

mod attributes;
mod damage;
mod duplicates;
mod links;
mod manifests;
mod many;
mod names;
mod sizes;
mod sparse;
