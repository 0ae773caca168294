//! The images that the Dockerfile begins with. Where no registry of containers can be reached, stand-ins are what those images are
//! in the main: a minimal Debian of the same release, and that with this machine's own Go.

use std::{fs, path::Path, process::Command};

use super::{DEBIAN, GOLANG};
use crate::{
    command,
    error::{Context, Result},
    images::{debootstrap, import_tree},
    kvm::Dockerd,
};

/// Where the image has Go.
const GO_ROOT: &str = "usr/local/go";
const GO_ENV: &str =
    "ENV PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Gets the images that the Dockerfile begins with.
pub(super) fn get(docker: &Dockerd, work: &Path) -> Result<()> {
    let pull = |name: &str| command::succeeds(docker.docker().args(["pull", "--quiet", name]));
    if pull(DEBIAN) && pull(GOLANG) {
        return Ok(());
    }
    eprintln!("images: no registry has {DEBIAN} and {GOLANG} for us: making stand-ins");
    let tree = work.join("stand-in");
    debootstrap::make(&tree, &[], debootstrap::Installer::Debootstrap)?;
    import_tree(docker, &tree, DEBIAN, &[])?;
    let go = command::text(Command::new("go").args(["env", "GOROOT"]))?;
    let copy = ["--archive", "--no-target-directory", go.trim()];
    command::output(Command::new("cp").args(copy).arg(tree.join(GO_ROOT)))?;
    import_tree(docker, &tree, GOLANG, &[GO_ENV])?;
    fs::remove_dir_all(&tree).file("remove", &tree)
}
