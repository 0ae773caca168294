//! The image of agents' guests, from `images/agent/`: the real programs, from the registry of npm.

use std::path::PathBuf;

use super::{
    bases::{self, DEBIAN},
    builder::{Builder, Network},
    released::{self, Source},
};
use crate::error::Result;

/// As `cargo xtask images` knows it.
pub(crate) const NAME: &str = "agent";

/// What `bottle` of this version looks for in docker.
pub(crate) const RELEASE: &str = concat!("bottle-agent:", env!("CARGO_PKG_VERSION"));

const SOURCE: Source = Source { name: NAME, files: &["Dockerfile", "certificates/README"] };

/// Its archive, made if it is not in the cache.
pub(crate) fn ensure() -> Result<PathBuf> {
    let archive = released::archive(NAME, &released::hash(SOURCE.paths())?)?;
    released::ensure(NAME, &archive, || {
        let builder = Builder::start()?;
        bases::get(&builder, &[DEBIAN])?;
        let context = SOURCE.context(&builder, &[])?;
        eprintln!("images: building {RELEASE}");
        builder.build(&context, &[RELEASE], &[], Network::Machine)?;
        builder.save(&[RELEASE], &archive)
    })?;
    Ok(archive)
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
