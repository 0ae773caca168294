//! `cargo xtask setup`: everything a Debian 12 machine with only a Rust toolchain lacks. What is there already is left
//! alone, so that it takes a fraction of a second then, and every other command calls it first.

mod backports;
pub(crate) mod kernel;
mod libkrunfw;
mod packages;

pub(crate) use backports::{KEYRING, archive};

use crate::{error::Result, paths};

/// How much to say.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Voice {
    /// What is changed.
    Changes,
    /// What is there, too.
    Full,
}

impl Voice {
    fn there(self, what: &str) {
        if self == Self::Full {
            eprintln!("setup: {what}");
        }
    }

    fn doing(self, what: &str) {
        eprintln!("setup: {what}");
    }
}

/// Makes sure that all is there.
pub(crate) fn run(voice: Voice) -> Result<()> {
    if voice == Voice::Changes && is_complete()? {
        return Ok(());
    }
    let _lock = paths::lock_cache()?;
    packages::ensure(voice)?;
    kernel::ensure(voice)?;
    libkrunfw::ensure(voice)
}

fn is_complete() -> Result<bool> {
    Ok(packages::missing()?.is_empty() && kernel::find()?.is_some() && libkrunfw::is_there()?)
}
