//! (a) An image to a disk. Caches are warm, nothing is synced on purpose, and each run writes to a fresh directory on the
//! same file system.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use serde::Deserialize;

use super::table::{self, Samples};
use crate::{
    command,
    error::{Context, Error, Result},
    paths,
};

/// These are short and vary with what else the machine does.
const RUNS: usize = 9;

pub(super) fn run(programs: &Path, archive: &Path) -> Result<()> {
    // Where images are kept: on a disk, not in memory.
    let cache = paths::cache_dir()?;
    let work = tempfile::tempdir_in(&cache).file("make a directory in", &cache)?;
    let layers = unpack(archive, &work.path().join("unpacked"))?;
    let (mut tar, mut cp, mut bottle) =
        (Samples::new("tar -x"), Samples::new("cp"), Samples::new("bottle image import"));
    for run in 0..=RUNS {
        let tar_took = in_fresh(work.path(), |dir| {
            layers.iter().try_for_each(|layer| {
                command::output(Command::new("tar").arg("-xf").arg(layer).arg("-C").arg(dir)).map(drop)
            })
        })?;
        let cp_took = in_fresh(work.path(), |dir| {
            command::output(Command::new("cp").arg(archive).arg(dir.join("copy"))).map(drop)
        })?;
        let bottle_took = in_fresh(work.path(), |dir| {
            let mut image = std::ffi::OsString::from("docker-archive:");
            image.push(archive);
            let mut import = Command::new(programs.join("bottle"));
            import.args(["image", "import"]).arg(image).env("BOTTLE_CACHE_DIR", dir);
            command::output(&mut import).map(drop)
        })?;
        // The first one warms the caches.
        if run > 0 {
            tar.add(tar_took);
            cp.add(cp_took);
            bottle.add(bottle_took);
        }
    }
    let mib = fs::metadata(archive).file("examine", archive)?.len() >> 20;
    let title =
        format!("(a) An image of {mib} MiB and {} layer(s) becomes a disk; aim: below tar -x", layers.len());
    table::print(&title, &[tar, cp, bottle], 2);
    Ok(())
}

/// How long it takes in a new directory; the directory is gone afterwards.
fn in_fresh(work: &Path, what: impl Fn(&Path) -> Result<()>) -> Result<Duration> {
    let dir = tempfile::tempdir_in(work).file("make a directory in", work)?;
    let start = Instant::now();
    what(dir.path())?;
    Ok(start.elapsed())
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "Layers")]
    layers: Vec<PathBuf>,
}

/// The layers' tars, in order, out of the archive.
fn unpack(archive: &Path, to: &Path) -> Result<Vec<PathBuf>> {
    paths::make_dir(to)?;
    command::output(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(to))?;
    let manifest = to.join("manifest.json");
    let text = fs::read(&manifest).file("read", &manifest)?;
    let images: Vec<Image> =
        serde_json::from_slice(&text).map_err(|error| Error::other(format!("manifest.json: {error}")))?;
    Ok(images.iter().flat_map(|image| &image.layers).map(|layer| to.join(layer)).collect())
}
