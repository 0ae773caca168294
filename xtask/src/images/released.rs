//! The images that users have. `bottle` has in it what they are made of, and has docker build them; here it is given a docker daemon, and
//! what it has built is saved.
//!
//! ```text
//! cargo build ─► bottle image build --plan ─► the hash of what the image is made of ─► the archive's name
//!                bottle image build ─► the daemon of [`super::builder`] ─► docker save ─► cache
//! ```

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;

use super::builder::{self, Builder};
use crate::{
    command,
    error::{Error, Result},
    paths,
};

/// An image of `bottle`'s own.
pub(super) struct Released {
    /// As `bottle image build` knows it.
    name: &'static str,
    bottle: PathBuf,
    /// What `bottle` of this version looks for in docker.
    pub(super) reference: String,
    /// Of what it is made of, in short.
    pub(super) hash: String,
}

/// What `bottle image build --plan` says of an image.
#[derive(Deserialize)]
struct Planned {
    image: String,
    context: String,
}

impl Released {
    /// The one of this name, as a `bottle` of this source has it.
    pub(super) fn new(name: &'static str) -> Result<Self> {
        let bottle = build_bottle()?;
        let text = command::text(Command::new(&bottle).args(["image", "build", "--plan", name]))?;
        let planned: Vec<Planned> = serde_json::from_str(&text)
            .map_err(|error| Error::other(format!("bottle image build --plan {name}: {error}")))?;
        let Some(Planned { image, mut context }) = planned.into_iter().next() else {
            return Err(Error::other(format!("bottle image build --plan {name} plans nothing")));
        };
        context.truncate(16);
        Ok(Self { name, bottle, reference: image, hash: context })
    }

    /// Has it built, with the network of this machine for the registries of packages: with this name instead of its own and these build
    /// arguments, if they are given.
    pub(super) fn build(&self, builder: &Builder, other: Option<(&str, &str)>) -> Result<()> {
        let mut bottle = Command::new(&self.bottle);
        bottle.env("DOCKER_HOST", builder.docker().address());
        bottle.args(["image", "build", "--network", "host", self.name]);
        if let Some((tag, argument)) = other {
            bottle.args(["--tag", tag, "--build-arg", argument]);
        }
        command::run(&mut bottle)
    }
}

/// Builds `bottle`, and tells where it is: beside this program.
fn build_bottle() -> Result<PathBuf> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(paths::workspace());
    command::run(cargo.args(["build", "--quiet", "--release", "--workspace", "--bin", "bottle"]))?;
    Ok(paths::this_program()?.with_file_name("bottle"))
}

/// Where the archive is of what has this hash.
pub(super) fn archive(family: &str, hash: &str) -> Result<PathBuf> {
    Ok(builder::cache_dir()?.join(format!("{family}-{hash}.tar")))
}

/// Makes an archive if it is not in the cache; then those of its older sources go.
pub(super) fn ensure(family: &str, archive: &Path, make: impl FnOnce() -> Result<()>) -> Result<()> {
    if archive.exists() {
        return Ok(());
    }
    let _lock = paths::lock_cache()?;
    if !archive.exists() {
        make()?;
        super::remove_older_of(family, archive);
    }
    Ok(())
}
