//! (g) A bundle from nothing to all its daemons ready, against docker's own commands with the same image; and (h) what its proxies
//! add to a request, against the same request without them.
//!
//! All samples but docker's come from `examples/bundle_costs/`. No VM is needed, only docker, which is one for this alone.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use serde::Deserialize;

use super::{
    start,
    table::{self, Samples},
};
use crate::{
    command,
    error::{Context, Error, Result},
    images, paths,
};

/// Of the bring-up. A second or two each.
const STARTS: u32 = 9;

/// Of small requests, on each way; and of large ones, of which some take half a minute.
const SMALL: &str = "200";
const LARGE: &str = "3";

/// What docker makes for the reference.
const NAME: &str = "bench-reference";

/// Measures with this archive of a bundle's image, or with the image that is made here.
pub(super) fn run(archive: Option<&Path>) -> Result<()> {
    let (reference, archive) = image(archive)?;
    // Its own process: it changes its network.
    let this = paths::this_program()?;
    let mut kvm = Command::new(&this);
    kvm.args(["kvm", "--here", "--image"]).arg(archive).arg("--").arg(&this);
    let status = kvm.args(["bench", "--inside-docker", &reference]).status().doing("run xtask kvm")?;
    if status.success() { Ok(()) } else { Err(Error::other(format!("the bench in docker: {status}"))) }
}

/// What docker calls the bundle's image in this archive, or the one that is made here; and its archive.
pub(super) fn image(archive: Option<&Path>) -> Result<(String, PathBuf)> {
    if let Some(archive) = archive {
        // It is to be found from anywhere.
        let archive = archive.canonicalize().file("find", archive)?;
        return Ok((first_name(&archive)?, archive));
    }
    let image = images::sidecars::ensure()?;
    if image.stand_in.is_some() {
        println!("NOT OF PIPELOCK: the image has a stand-in for it, which looks into nothing.");
        println!("An image with pipelock is taken by --bundle-image ARCHIVE.");
    }
    Ok((image.reference, image.archive))
}

/// Measures where docker has the image.
pub(super) fn run_inside(programs: &Path, image: &str) -> Result<()> {
    let example = programs.join("examples/bundle_costs");
    starts(&example, image)?;
    requests(&example, image)
}

fn starts(example: &Path, image: &str) -> Result<()> {
    let mut reference = Samples::new("docker: network create, run of true");
    let mut rows = Groups::default();
    for run in 0..=STARTS {
        let took = by_docker(image)?;
        let samples = start::parse(&command::text(Command::new(example).args([image, "start"]))?);
        // The first one warms the caches.
        if run > 0 {
            reference.add(took);
            samples.into_iter().for_each(|(name, took)| rows.add("", name, took));
        }
    }
    let mut samples = vec![reference];
    samples.extend(rows.0.into_iter().flat_map(|(_, rows)| rows));
    table::print("(g) A bundle from nothing to all daemons ready", &samples, 1);
    Ok(())
}

/// The least that a container on a network of its own takes, by docker's command line; what removes it is not counted.
fn by_docker(image: &str) -> Result<Duration> {
    let docker = |words: &[&str]| command::output(Command::new("docker").args(words)).map(drop);
    let since = Instant::now();
    docker(&["network", "create", NAME])?;
    docker(&["run", "--name", NAME, "--network", NAME, "--entrypoint", "true", image])?;
    let took = since.elapsed();
    docker(&["rm", NAME])?;
    docker(&["network", "rm", NAME])?;
    Ok(took)
}

fn requests(example: &Path, image: &str) -> Result<()> {
    let printed = command::text(Command::new(example).args([image, "requests", SMALL, LARGE]))?;
    let mut groups = Groups::default();
    for (name, took) in start::parse(&printed) {
        let (kind, way) = name.split_once(": ").unwrap_or((&name, ""));
        groups.add(kind, way.to_owned(), took);
    }
    for (kind, rows) in groups.0 {
        table::print(&format!("(h) {kind}"), &rows, 1);
    }
    Ok(())
}

/// Tables of samples, in the order in which the first of each came.
#[derive(Default)]
struct Groups(Vec<(String, Vec<Samples>)>);

impl Groups {
    fn add(&mut self, group: &str, row: String, took: Duration) {
        let at = self.0.iter().position(|(name, _)| name == group).unwrap_or_else(|| {
            self.0.push((group.to_owned(), Vec::new()));
            self.0.len() - 1
        });
        let Some((_, rows)) = self.0.get_mut(at) else { return };
        match rows.iter_mut().find(|samples| samples.name == row) {
            Some(samples) => samples.add(took),
            None => {
                let mut samples = Samples::new(row);
                samples.add(took);
                rows.push(samples);
            }
        }
    }
}

#[derive(Deserialize)]
struct Saved {
    #[serde(rename = "RepoTags")]
    names: Option<Vec<String>>,
}

/// What docker calls the image in an archive.
fn first_name(archive: &Path) -> Result<String> {
    let text = command::output(Command::new("tar").arg("-xOf").arg(archive).arg("manifest.json"))?;
    let images: Vec<Saved> =
        serde_json::from_slice(&text).map_err(|error| Error::other(format!("manifest.json: {error}")))?;
    let named = images.into_iter().filter_map(|image| image.names).flatten().next();
    named.ok_or_else(|| Error::other(format!("the image in {} has no name", archive.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_one_kind_stand_together_in_the_order_in_which_they_came() {
        let mut groups = Groups::default();
        for (group, row) in [("down", "direct"), ("up", "direct"), ("down", "both"), ("down", "direct")] {
            groups.add(group, row.to_owned(), Duration::from_secs(1));
        }
        let names: Vec<(&str, Vec<&str>)> = groups
            .0
            .iter()
            .map(|(group, rows)| (group.as_str(), rows.iter().map(|row| row.name.as_str()).collect()))
            .collect();
        assert_eq!(names, [("down", vec!["direct", "both"]), ("up", vec!["direct"])]);
    }

    #[test]
    fn an_image_is_called_what_its_archive_says() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("manifest.json"), r#"[{"RepoTags":["bundle:one","bundle:two"]}]"#)
            .unwrap();
        let archive = dir.path().join("image.tar");
        let mut tar = Command::new("tar");
        tar.arg("-cf").arg(&archive).arg("-C").arg(dir.path()).arg("manifest.json");
        drop(command::output(&mut tar).unwrap());
        assert_eq!(first_name(&archive).unwrap(), "bundle:one");
    }
}
