//! One image in each form that is imported or measured against.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    command,
    error::{Context, Error, Result},
    kvm::Dockerd,
    paths,
};

/// The tag in the OCI layout.
pub(super) const TAG: &str = "bench";

/// One image, in each form.
pub(super) struct Forms {
    /// As `docker save` wrote it: plain layers.
    pub(super) docker_archive: PathBuf,
    /// The layers' tars out of it, in order.
    pub(super) plain_layers: Vec<PathBuf>,
    /// As `skopeo` made it: gzip layers.
    pub(super) oci_archive: PathBuf,
    /// The same as a directory.
    pub(super) oci_layout: PathBuf,
    /// The layers' blobs out of it, in order, under names that gunzip takes.
    pub(super) gzip_layers: Vec<PathBuf>,
    /// A daemon that has the image.
    pub(super) docker: Dockerd,
    /// The image's name there.
    pub(super) reference: String,
}

impl Forms {
    pub(super) fn make(archive: &Path, reference: String, docker: Dockerd, work: &Path) -> Result<Self> {
        let saved = untar(archive, &work.join("saved"))?;
        let plain_layers = texts(&saved, "manifest.json", "/0/Layers", None)?;
        let plain_layers = plain_layers.iter().map(|name| saved.join(name)).collect();
        let oci_archive = work.join("oci.tar");
        let oci = |path: &Path| format!("oci-archive:{}:{TAG}", path.display());
        // Without a policy file of the machine's.
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["--insecure-policy", "copy", "--quiet"]);
        skopeo.arg(format!("docker-archive:{}", archive.display())).arg(oci(&oci_archive));
        command::output(&mut skopeo)?;
        let oci_layout = untar(&oci_archive, &work.join("oci"))?;
        let manifest = blob(&text_at(&oci_layout, "index.json", "/manifests/0/digest")?);
        let mut gzip_layers = Vec::new();
        for digest in texts(&oci_layout, &manifest, "/layers", Some("digest"))? {
            let layer = work.join(format!("layer-{}.gz", gzip_layers.len()));
            let blob = oci_layout.join(blob(&digest));
            fs::hard_link(&blob, &layer).file("link", &layer)?;
            gzip_layers.push(layer);
        }
        docker.load(archive)?;
        let docker_archive = archive.to_owned();
        Ok(Self { docker_archive, plain_layers, oci_archive, oci_layout, gzip_layers, docker, reference })
    }
}

fn untar(archive: &Path, to: &Path) -> Result<PathBuf> {
    paths::make_dir(to)?;
    command::output(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(to))?;
    Ok(to.to_owned())
}

fn blob(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

fn json(dir: &Path, file: &str) -> Result<serde_json::Value> {
    let path = dir.join(file);
    let text = fs::read(&path).file("read", &path)?;
    serde_json::from_slice(&text).map_err(|error| Error::other(format!("{}: {error}", path.display())))
}

fn text_at(dir: &Path, file: &str, pointer: &str) -> Result<String> {
    let value = json(dir, file)?;
    let text = value.pointer(pointer).and_then(serde_json::Value::as_str);
    text.map(str::to_owned).ok_or_else(|| Error::other(format!("{file} has no {pointer}")))
}

/// The texts of a list, or the texts that its objects have in `field`.
fn texts(dir: &Path, file: &str, pointer: &str, field: Option<&str>) -> Result<Vec<String>> {
    let value = json(dir, file)?;
    let list = value.pointer(pointer).and_then(serde_json::Value::as_array).map_or(&[][..], Vec::as_slice);
    let texts: Option<Vec<String>> = list
        .iter()
        .map(|item| field.map_or(Some(item), |field| item.get(field))?.as_str().map(str::to_owned))
        .collect();
    texts
        .filter(|texts| !texts.is_empty())
        .ok_or_else(|| Error::other(format!("{file} has no list {pointer}")))
}
