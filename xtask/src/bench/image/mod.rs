//! (image) Imports of large images, from each kind of source, against what else can be done with the same bytes.
//!
//! - [`forms`]: one image, as an archive with plain layers, as one with gzip layers, and in a docker daemon.
//! - [`contest`]: the programs, run in turns, and the tables with the aims.
//!
//! All of it lies in one directory on one file system. Caches are warm.

mod contest;
mod forms;

use std::path::Path;

use crate::{
    error::{Context, Result},
    images,
    kvm::Dockerd,
    paths,
};

/// Measures with each image.
pub(super) fn run(programs: &Path) -> Result<()> {
    let names = images::BENCH.map(|recipe| recipe.name.to_owned());
    for (recipe, archive) in images::ensure(&names)? {
        // Where images are kept: on a disk, not in memory.
        let cache = paths::cache_dir()?;
        let work = tempfile::tempdir_in(&cache).file("make a directory in", &cache)?;
        // Nothing runs in a container here, so this daemon does not touch this machine's network.
        let options = ["--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"];
        let docker =
            Dockerd::start_with(&work.path().join("docker"), &work.path().join("docker.sock"), &options)?;
        let forms = forms::Forms::make(&archive, recipe.reference(), docker, work.path())?;
        contest::run(recipe.name, &forms, &programs.join("bottle"), work.path())?;
    }
    Ok(())
}
