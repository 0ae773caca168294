//! The image of a bottle's bundle, from `images/sidecars/`.
//!
//! ```text
//! bottle image build sidecars ([`super::released`]) ─► docker save ─► cache
//!                 ▲
//! golang:…, debian:… pulled, or local stand-ins under their names ([`super::bases`]); pipelock's module, or a stand-in ([`stand_in`])
//! ```
//!
//! The Dockerfile does not know the difference. The image's tag is the hash of what it is made of; that of one with the stand-in for
//! pipelock ends in `-stand-in`.

mod stand_in;

use std::{fs, path::PathBuf};

use super::{
    bases::{self, DEBIAN, GOLANG},
    builder::Builder,
    released::{self, Released},
};
use crate::{
    command,
    error::{Context, Result},
    paths,
};

/// As `cargo xtask images` knows it.
pub(crate) const NAME: &str = "sidecars";

/// The image, saved.
pub(crate) struct Image {
    /// Its name in docker, with the tag.
    pub(crate) reference: String,
    pub(crate) archive: PathBuf,
    /// Why it has a stand-in instead of pipelock, if it has.
    pub(crate) stand_in: Option<String>,
}

impl Image {
    /// Says aloud that it is not the image that users have, if it is not.
    pub(crate) fn warn_of_stand_in(&self) {
        if let Some(why) = &self.stand_in {
            let Self { reference, .. } = self;
            eprintln!("images: {reference} IS FOR TESTS ALONE: in it is {}.", stand_in::WHAT);
            eprintln!("images: pipelock's module cannot be had here: {why}");
        }
    }
}

/// The image, made if it is not in the cache.
pub(crate) fn ensure() -> Result<Image> {
    let released = Released::new(NAME)?;
    let dockerfile = paths::workspace().join("images/sidecars/Dockerfile");
    let dockerfile = fs::read_to_string(&dockerfile).file("read", &dockerfile)?;
    let stand_in = stand_in::refusal(stand_in::version(&dockerfile)?)?;
    let (family, hash, tag) = match stand_in {
        Some(_) => {
            let hash = stand_in::hash(&released.hash)?;
            ("sidecars-stand-in", hash.clone(), format!("{hash}-stand-in"))
        }
        None => (NAME, released.hash.clone(), released.hash.clone()),
    };
    let archive = released::archive(family, &hash)?;
    let image = Image { reference: format!("bottle-sidecars:{tag}"), archive, stand_in };
    released::ensure(family, &image.archive, || make(&image, &released))?;
    image.warn_of_stand_in();
    Ok(image)
}

fn make(image: &Image, released: &Released) -> Result<()> {
    let builder = Builder::start()?;
    bases::get(&builder, &[DEBIAN, GOLANG])?;
    if image.stand_in.is_some() {
        stand_in::put_into_golang(&builder)?;
        // It is for tests, and is not to pass for the one that users have.
        let version = format!("PIPELOCK={}", stand_in::VERSION);
        released.build(&builder, Some((&image.reference, &version)))?;
        return builder.save(&[&image.reference], &image.archive);
    }
    released.build(&builder, None)?;
    command::output(builder.docker().docker().args(["tag", &released.reference, &image.reference]))?;
    builder.save(&[&image.reference, &released.reference], &image.archive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dockerfile_begins_with_what_is_got_for_it() {
        let text = include_str!("../../../../images/sidecars/Dockerfile");
        assert_eq!(bases::of(text), [DEBIAN, GOLANG]);
    }
}
