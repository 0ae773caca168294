//! The images that the Dockerfiles below `images/` begin with. Where no registry of containers can be reached, stand-ins are what
//! those images are in the main: a minimal Debian of the same release, and that with this machine's own Go.

use std::{fs, process::Command};

use super::{builder::Builder, debootstrap, import_tree};
use crate::{
    command,
    error::{Context, Result},
};

pub(super) const DEBIAN: &str = "debian:bookworm-slim";
pub(super) const GOLANG: &str = "golang:1.26-bookworm";

/// Where the image has Go.
const GO_ROOT: &str = "usr/local/go";
const GO_ENV: &str =
    "ENV PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Gets those of these names.
pub(super) fn get(builder: &Builder, names: &[&str]) -> Result<()> {
    let docker = builder.docker();
    let pull = |name: &&str| command::succeeds(docker.docker().args(["pull", "--quiet", name]));
    if names.iter().all(pull) {
        return Ok(());
    }
    eprintln!("images: no registry has {} for us: making stand-ins", names.join(" and "));
    let tree = builder.work().join("stand-in");
    debootstrap::make(&tree, &[], debootstrap::Installer::Debootstrap)?;
    import_tree(docker, &tree, DEBIAN, &[])?;
    if names.contains(&GOLANG) {
        let go = command::text(Command::new("go").args(["env", "GOROOT"]))?;
        // Debian's has links to where its other half is.
        let copy = ["--archive", "--dereference", "--no-target-directory", go.trim()];
        command::output(Command::new("cp").args(copy).arg(tree.join(GO_ROOT)))?;
        import_tree(docker, &tree, GOLANG, &[GO_ENV])?;
    }
    fs::remove_dir_all(&tree).file("remove", &tree)
}

/// Those that a Dockerfile begins with, each once.
#[cfg(test)]
pub(super) fn of(dockerfile: &str) -> Vec<&str> {
    let mut bases: Vec<&str> =
        dockerfile.lines().filter_map(|line| line.strip_prefix("FROM ")?.split(' ').next()).collect();
    bases.sort_unstable();
    bases.dedup();
    bases
}
