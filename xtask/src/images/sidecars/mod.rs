//! The image of a bottle's bundle, from `images/sidecars/`.
//!
//! ```text
//! images/sidecars/ + bottle-sidecar, static ─► context ─► docker build ─► docker save ─► cache
//!                                                             ▲
//! golang:…, debian:… pulled, or local stand-ins under their names ([`bases`]); pipelock's module, or a stand-in ([`stand_in`])
//! ```
//!
//! The Dockerfile does not know the difference. The image's tag is the hash of what it is made of; that of one with the stand-in for
//! pipelock ends in `-stand-in`.

mod bases;
mod stand_in;

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest, Sha256};

use super::builder::Builder;
use crate::{
    command,
    error::{Context, Error, Result},
    kvm::hex,
    paths,
};

/// As `cargo xtask images` knows it.
pub(crate) const NAME: &str = "sidecars";

/// What `bottle` of this version looks for in docker.
const RELEASE: &str = concat!("bottle-sidecars:", env!("CARGO_PKG_VERSION"));

const DEBIAN: &str = "debian:bookworm-slim";
const GOLANG: &str = "golang:1.26-bookworm";

/// What the image is made of, beside the program.
const FILES: [&str; 4] = ["Dockerfile", "certificates/README", "egress.py", "requirements.txt"];

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
    let source = paths::workspace().join("images/sidecars");
    let dockerfile = fs::read_to_string(source.join("Dockerfile")).file("read", source.join("Dockerfile"))?;
    let version = stand_in::version(&dockerfile)?;
    let stand_in = stand_in::refusal(version)?;
    let mut hash = Sha256::new();
    let parts = FILES.iter().map(|file| source.join(file)).chain([program.clone()]);
    for path in parts.chain(stand_in.iter().flat_map(|_| stand_in::sources())) {
        let bytes = fs::read(&path).file("read", &path)?;
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    let hash = hex(&hash.finalize()[..8]);
    let (family, tag) = match stand_in {
        Some(_) => ("sidecars-stand-in", format!("{hash}-stand-in")),
        None => (NAME, hash.clone()),
    };
    let archive = paths::cache_dir()?.join("images").join(format!("{family}-{hash}.tar"));
    let image = Image { reference: format!("bottle-sidecars:{tag}"), archive, stand_in };
    if !image.archive.exists() {
        let _lock = paths::lock_cache()?;
        if !image.archive.exists() {
            make(&image, &source, &program)?;
            super::remove_older_of(family, &image.archive);
        }
    }
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

fn make(image: &Image, source: &Path, program: &Path) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::other("to make the images takes root: debootstrap and docker need it"));
    }
    let cache = paths::cache_dir()?.join("images");
    paths::make_dir(&cache)?;
    let work = tempfile::tempdir_in(&cache).file("make a directory in", &cache)?;
    let builder = Builder::start(work.path())?;
    let docker = builder.docker();
    bases::get(docker, work.path())?;
    if image.stand_in.is_some() {
        stand_in::put_into_golang(docker, work.path())?;
    }
    let context = work.path().join("context");
    paths::make_dir(&context.join("certificates"))?;
    for file in FILES {
        fs::copy(source.join(file), context.join(file)).file("copy", source.join(file))?;
    }
    fs::copy(program, context.join("bottle-sidecar")).file("copy", program)?;
    // A machine behind a proxy of its own has that proxy's CA there.
    if let Some(certificates) = env::var_os("SSL_CERT_FILE").map(PathBuf::from) {
        fs::copy(&certificates, context.join("certificates/machine.crt")).file("copy", &certificates)?;
    }
    eprintln!("images: building {}", image.reference);
    let mut build = docker.docker();
    build.env("DOCKER_BUILDKIT", "0").args(["build", "--quiet", "--network=host"]);
    // One for tests is not to pass for the one that users have.
    let names = [Some(&*image.reference), image.stand_in.is_none().then_some(RELEASE)];
    let names: Vec<&str> = names.into_iter().flatten().collect();
    build.args(names.iter().flat_map(|name| ["--tag", name]));
    if image.stand_in.is_some() {
        build.args(["--build-arg", &format!("PIPELOCK={}", stand_in::VERSION)]);
    }
    command::output(build.arg(&context))?;
    let saved = work.path().join("saved.tar");
    command::output(docker.docker().args(["save", "--output"]).arg(&saved).args(names))?;
    fs::set_permissions(&saved, fs::Permissions::from_mode(0o644)).file("open up", &saved)?;
    fs::rename(&saved, &image.archive).file("rename to", &image.archive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dockerfile_begins_with_what_is_got_for_it() {
        let text = include_str!("../../../../images/sidecars/Dockerfile");
        let mut bases: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("FROM ")?.split(' ').next()).collect();
        bases.sort_unstable();
        bases.dedup();
        assert_eq!(bases, [DEBIAN, GOLANG]);
    }
}
