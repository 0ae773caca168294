//! The images that tests, demo and bench use: real Debian systems, made by debootstrap from this machine's own package
//! source, and built and saved by a real docker daemon, so that the archives are what users have. The large ones of
//! `cargo xtask bench image` are made only when they are named.
//!
//! ```text
//! debootstrap ─► tree ─► docker import ─► docker build (xtask/images/NAME.Dockerfile) ─► docker save ─► cache
//! ```
//!
//! The images of the bundle and of agents' guests, which users have too, are in [`sidecars`] and [`agent`].
//!
//! An archive is kept under a name that holds its recipe's hash.

pub(crate) mod agent;
mod bases;
mod builder;
mod debootstrap;
mod released;
pub(crate) mod sidecars;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use builder::Builder;
use sha2::{Digest, Sha256};

use crate::{
    error::{Context, Error, Result},
    kvm::{Dockerd, hex},
    paths,
};

/// How an image is made.
pub(crate) struct Recipe {
    /// Its name here and, below `bottle-test/`, in docker.
    pub(crate) name: &'static str,
    dockerfile: &'static str,
    base: &'static Base,
    /// Whether the tests want it in the docker daemon, too.
    pub(crate) in_docker: bool,
}

struct Base {
    /// As the Dockerfile's `FROM` names it.
    name: &'static str,
    /// What is to be installed beside the minimal system.
    packages: &'static [&'static str],
    /// Who installs it.
    installer: debootstrap::Installer,
    /// As many regular files there must be at least.
    least_files: usize,
}

impl Base {
    const fn new(name: &'static str, packages: &'static [&'static str]) -> Self {
        Self { name, packages, installer: debootstrap::Installer::Debootstrap, least_files: 0 }
    }
}

const PLAIN: Base = Base::new("base", &[]);
/// With what people use at a terminal.
const TOOLS: Base = Base::new("tools-base", &["less", "procps", "tmux", "vim-tiny"]);
const PROXY: Base = Base::new("proxy-base", &["busybox-static", "tinyproxy"]);
const CLIENT: Base = Base::new("client-base", &["ca-certificates", "curl", "git"]);
const UPSTREAM: Base = Base::new("upstream-base", &["git", "openssh-server", "python3"]);
const LARGE: Base = Base::new("large-base", &["gcc", "git", "libc6-dev", "make"]);
const NODE: Base = Base {
    installer: debootstrap::Installer::Apt,
    least_files: 30_000,
    ..Base::new(
        "node-base",
        &["npm", "webpack", "eslint", "gulp", "yarnpkg", "rollup", "mocha", "jest", "node-typescript"],
    )
};

/// Those of the benchmark of imports.
pub(crate) const BENCH: [Recipe; 2] = [
    Recipe {
        name: "bench-debian",
        dockerfile: "FROM large-base\nCMD [\"bash\"]\n",
        base: &LARGE,
        in_docker: false,
    },
    Recipe {
        name: "bench-node",
        dockerfile: "FROM node-base\nCMD [\"node\"]\n",
        base: &NODE,
        in_docker: false,
    },
];

/// Those of tests and demo.
pub(crate) const ALL: [Recipe; 6] = [
    Recipe {
        name: "client",
        dockerfile: include_str!("../../images/client.Dockerfile"),
        base: &CLIENT,
        in_docker: false,
    },
    Recipe {
        name: "debian",
        dockerfile: include_str!("../../images/debian.Dockerfile"),
        base: &TOOLS,
        in_docker: true,
    },
    Recipe {
        name: "fidelity",
        dockerfile: include_str!("../../images/fidelity.Dockerfile"),
        base: &PLAIN,
        in_docker: false,
    },
    Recipe {
        name: "node-user",
        dockerfile: include_str!("../../images/node-user.Dockerfile"),
        base: &PLAIN,
        in_docker: false,
    },
    Recipe {
        name: "proxy",
        dockerfile: include_str!("../../images/proxy.Dockerfile"),
        base: &PROXY,
        in_docker: true,
    },
    // Some tests load it themselves.
    Recipe {
        name: "upstream",
        dockerfile: include_str!("../../images/upstream.Dockerfile"),
        base: &UPSTREAM,
        in_docker: false,
    },
];

impl Recipe {
    /// The name under which docker knows it.
    pub(crate) fn reference(&self) -> String {
        format!("bottle-test/{}:latest", self.name)
    }

    fn archive(&self) -> Result<PathBuf> {
        let mut hash = Sha256::new();
        hash.update(self.dockerfile);
        hash.update(self.base.packages.join(" "));
        hash.update(debootstrap::SUITE);
        let name = format!("{}-{}.tar", self.name, hex(&hash.finalize()[..8]));
        Ok(builder::cache_dir()?.join(name))
    }
}

/// The archives of the images of these names (of all for tests and demo, if there are none), made if they are not in the cache.
pub(crate) fn ensure(names: &[String]) -> Result<Vec<(&'static Recipe, PathBuf)>> {
    let wanted = choose(names)?;
    let mut archives = Vec::new();
    for recipe in wanted {
        archives.push((recipe, recipe.archive()?));
    }
    if archives.iter().all(|(_, archive)| archive.exists()) {
        return Ok(archives);
    }
    let _lock = paths::lock_cache()?;
    let missing: Vec<_> = archives.iter().filter(|(_, archive)| !archive.exists()).collect();
    if !missing.is_empty() {
        make(&missing)?;
    }
    Ok(archives)
}

/// What each image of these names is called, and its archive; as [`ensure`], and with those that users have, if they are named.
pub(crate) fn named(mut names: Vec<String>) -> Result<Vec<(String, PathBuf)>> {
    let mut archives = Vec::new();
    if let Some(at) = names.iter().position(|name| name == sidecars::NAME) {
        names.remove(at);
        let image = sidecars::ensure()?;
        archives.push((image.reference, image.archive));
    }
    if let Some(at) = names.iter().position(|name| name == agent::NAME) {
        names.remove(at);
        archives.push(agent::ensure()?);
    }
    if archives.is_empty() || !names.is_empty() {
        let made = ensure(&names)?;
        archives.extend(made.into_iter().map(|(recipe, archive)| (recipe.name.to_owned(), archive)));
    }
    Ok(archives)
}

fn choose(names: &[String]) -> Result<Vec<&'static Recipe>> {
    if names.is_empty() {
        return Ok(ALL.iter().collect());
    }
    let find = |name: &String| {
        let all = || ALL.iter().chain(&BENCH);
        let known = || all().map(|recipe| recipe.name).collect::<Vec<_>>().join(", ");
        let found = all().find(|recipe| recipe.name == name);
        found.ok_or_else(|| Error::other(format!("there is no image {name}; there are {}", known())))
    };
    names.iter().map(find).collect()
}

fn make(missing: &[&(&'static Recipe, PathBuf)]) -> Result<()> {
    let builder = Builder::start()?;
    let mut bases: Vec<&str> = Vec::new();
    for (recipe, archive) in missing {
        if !bases.contains(&recipe.base.name) {
            import(builder.docker(), recipe.base, builder.work())?;
            bases.push(recipe.base.name);
        }
        eprintln!("images: building {}", recipe.name);
        build(&builder, recipe)?;
        builder.save(&[&recipe.reference()], archive)?;
        remove_older_of(recipe.name, archive);
    }
    Ok(())
}

fn import(docker: &Dockerd, base: &Base, work: &Path) -> Result<()> {
    eprintln!(
        "images: making a Debian system{}",
        base.packages.iter().map(|p| format!(" +{p}")).collect::<String>()
    );
    let tree = work.join(base.name);
    debootstrap::make(&tree, base.packages, base.installer)?;
    let files = count_files(&tree)?;
    if files < base.least_files {
        let least = base.least_files;
        return Err(Error::other(format!("{} has {files} files, less than {least}", base.name)));
    }
    import_tree(docker, &tree, base.name, &[])?;
    fs::remove_dir_all(&tree).file("remove", &tree)
}

/// Makes a directory an image, and applies these instructions of Dockerfiles to it.
fn import_tree(docker: &Dockerd, tree: &Path, name: &str, changes: &[&str]) -> Result<()> {
    let mut tar = Command::new("tar");
    let mut tar = tar
        .args(["--numeric-owner", "--sort=name", "-c", "."])
        .current_dir(tree)
        .stdout(Stdio::piped())
        .spawn()
        .doing("start tar")?;
    let input = tar.stdout.take().map_or_else(Stdio::null, Stdio::from);
    let mut import = docker.docker();
    import.arg("import").args(changes.iter().flat_map(|change| ["--change", change])).args(["-", name]);
    let import = import.stdin(input).stdout(Stdio::null()).status().doing("start docker import")?;
    let tar = tar.wait().doing("wait for tar")?;
    if !import.success() || !tar.success() {
        return Err(Error::other(format!("import {name}: docker {import}, tar {tar}")));
    }
    Ok(())
}

/// How many regular files there are in a directory and those below it.
fn count_files(dir: &Path) -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(dir).file("read", dir)? {
        let entry = entry.file("read", dir)?;
        let kind = entry.file_type().file("examine", entry.path())?;
        count += if kind.is_dir() { count_files(&entry.path())? } else { usize::from(kind.is_file()) };
    }
    Ok(count)
}

fn build(builder: &Builder, recipe: &Recipe) -> Result<()> {
    let context = builder.work().join("context");
    paths::make_dir(&context)?;
    let dockerfile = context.join("Dockerfile");
    fs::write(&dockerfile, recipe.dockerfile).file("write", &dockerfile)?;
    builder.build(&context, &recipe.reference())
}

/// Removes what older recipes of this image have left.
fn remove_older_of(name: &str, archive: &Path) {
    let prefix = format!("{name}-");
    let Some(Ok(entries)) = archive.parent().map(fs::read_dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let hash = name.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(".tar"));
        let is_hash =
            hash.is_some_and(|hash| hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if is_hash && entry.path() != archive {
            // It only takes space.
            drop(fs::remove_file(entry.path()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_image_is_named() {
        let error = choose(&["debian".into(), "fedora".into()]).err().unwrap();
        assert!(
            error.to_string().starts_with("there is no image fedora; there are client, debian, "),
            "{error}"
        );
    }

    #[test]
    fn each_recipe_builds_on_its_base() {
        for recipe in ALL.iter().chain(&BENCH) {
            let from = format!("FROM {}\n", recipe.base.name);
            assert!(recipe.dockerfile.contains(&from), "{}", recipe.name);
        }
    }
}
