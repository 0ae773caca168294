//! The image of a bottle's bundle, from `images/sidecars/`.
//!
//! ```text
//! images/sidecars/ + bottle-sidecar, static ─► context ─► docker build ─► docker save ─► cache
//!                                                             ▲
//! golang:…, debian:… pulled, or local stand-ins under their names ([`super::bases`]); pipelock's module, or a stand-in ([`stand_in`])
//! ```
//!
//! The Dockerfile does not know the difference. The image's tag is the hash of what it is made of; that of one with the stand-in for
//! pipelock ends in `-stand-in`.

mod stand_in;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    bases::{self, DEBIAN, GOLANG},
    builder::{Builder, Network},
    released::{self, Source},
};
use crate::{
    command,
    error::{Context, Result},
    paths,
};

/// As `cargo xtask images` knows it.
pub(crate) const NAME: &str = "sidecars";

/// What `bottle` of this version looks for in docker.
const RELEASE: &str = concat!("bottle-sidecars:", env!("CARGO_PKG_VERSION"));

/// What the image is made of, beside the program.
const SOURCE: Source =
    Source { name: NAME, files: &["Dockerfile", "certificates/README", "egress.py", "requirements.txt"] };

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
    let program = build_program()?;
    let dockerfile = paths::workspace().join("images/sidecars/Dockerfile");
    let dockerfile = fs::read_to_string(&dockerfile).file("read", &dockerfile)?;
    let version = stand_in::version(&dockerfile)?;
    let stand_in = stand_in::refusal(version)?;
    let stand_ins = stand_in.iter().flat_map(|_| stand_in::sources());
    let hash = released::hash(SOURCE.paths().chain([program.clone()]).chain(stand_ins))?;
    let (family, tag) = match stand_in {
        Some(_) => ("sidecars-stand-in", format!("{hash}-stand-in")),
        None => (NAME, hash.clone()),
    };
    let archive = released::archive(family, &hash)?;
    let image = Image { reference: format!("bottle-sidecars:{tag}"), archive, stand_in };
    released::ensure(family, &image.archive, || make(&image, &program))?;
    image.warn_of_stand_in();
    Ok(image)
}

/// Builds bottle-sidecar for this machine, static, where the guest's init is built as well.
fn build_program() -> Result<PathBuf> {
    let target = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let directory = paths::workspace().join("target/guest");
    let flags = format!("CARGO_TARGET_{}_RUSTFLAGS", target.to_uppercase().replace('-', "_"));
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(paths::workspace()).env(flags, "-C target-feature=+crt-static");
    cargo.env("CARGO_TARGET_DIR", &directory);
    cargo.args(["build", "--quiet", "--locked", "--package", "bottle-sidecar", "--bin", "bottle-sidecar"]);
    command::run(cargo.args(["--profile", "guest", "--target", &target]))?;
    Ok(directory.join(target).join("guest/bottle-sidecar"))
}

fn make(image: &Image, program: &Path) -> Result<()> {
    let builder = Builder::start()?;
    bases::get(&builder, &[DEBIAN, GOLANG])?;
    if image.stand_in.is_some() {
        stand_in::put_into_golang(&builder)?;
    }
    let context = SOURCE.context(&builder, &[("bottle-sidecar", program)])?;
    eprintln!("images: building {}", image.reference);
    // One for tests is not to pass for the one that users have.
    let names = [Some(&*image.reference), image.stand_in.is_none().then_some(RELEASE)];
    let names: Vec<&str> = names.into_iter().flatten().collect();
    let version = image.stand_in.iter().map(|_| format!("PIPELOCK={}", stand_in::VERSION));
    builder.build(&context, &names, &version.collect::<Vec<_>>(), Network::Machine)?;
    builder.save(&names, &image.archive)
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
