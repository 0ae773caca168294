//! The image of agents' guests, from `images/agent/`: the real programs, from the registry of npm.

use std::path::PathBuf;

use super::{
    bases::{self, DEBIAN},
    builder::Builder,
    released::{self, Released},
};
use crate::error::Result;

/// As `cargo xtask images` knows it.
pub(crate) const NAME: &str = "agent";

/// What it is called in docker, and its archive, made if it is not in the cache.
pub(crate) fn ensure() -> Result<(String, PathBuf)> {
    let image = Released::new(NAME)?;
    let archive = released::archive(NAME, &image.hash)?;
    released::ensure(NAME, &archive, || {
        let builder = Builder::start()?;
        bases::get(&builder, &[DEBIAN])?;
        image.build(&builder, None)?;
        builder.save(&[&image.reference], &archive)
    })?;
    Ok((image.reference, archive))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCKERFILE: &str = include_str!("../../../images/agent/Dockerfile");

    #[test]
    fn the_dockerfile_begins_with_what_is_got_for_it() {
        assert_eq!(bases::of(DOCKERFILE), [DEBIAN]);
    }

    #[test]
    fn what_is_installed_is_pinned() {
        let pins: Vec<&str> = DOCKERFILE.lines().filter_map(|line| line.strip_prefix("ARG ")).collect();
        assert_eq!(pins.len(), 4);
        for pin in pins {
            let (name, version) = pin.split_once('=').unwrap();
            assert!(
                version.split('.').count() == 3 && version.split('.').all(|part| part.parse::<u32>().is_ok())
            );
            assert!(DOCKERFILE.contains(&format!("@${{{name}}}\"")), "{name}");
        }
    }
}
