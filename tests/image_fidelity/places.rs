//! One image, unpacked by us, by umoci and by docker.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bottle::image::{ImageId, ImportOptions, Source, Store};
use serde_json::json;

use crate::layers::{Packing, config, docker_archive, fsck};
use crate::listing::{Listing, list};

/// Its layers, from the bottom up.
pub(crate) struct Image {
    pub(crate) layers: Vec<Vec<u8>>,
}

impl Image {
    fn stored(&self, packing: Packing) -> Vec<Vec<u8>> {
        self.layers.iter().map(|layer| packing.pack(layer)).collect()
    }

    fn write_archive(&self, path: &Path, packing: Packing) {
        fs::write(path, docker_archive(&config(&self.layers), &self.stored(packing))).unwrap();
    }

    /// Imported by us, checked by e2fsck, and mounted by the kernel.
    #[track_caller]
    pub(crate) fn ours(&self, packing: Packing) -> Listing {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("image.tar");
        self.write_archive(&archive, packing);
        let store = Store::open(&dir.path().join("cache")).unwrap();
        let image =
            store.import(&Source::DockerArchive(archive.into()), &ImportOptions::default(), &mut |_| {
                ControlFlow::Continue(())
            });
        let image = image.unwrap_or_else(|error| panic!("{packing:?}: {error}"));
        fsck(&image.base);
        let mounted = Mounted::new(dir.path().join("mnt"), &image.base);
        list(&mounted.0)
    }

    /// Unpacked by umoci, as root.
    pub(crate) fn umoci(&self) -> Listing {
        let dir = tempfile::tempdir().unwrap();
        let layout = dir.path().join("layout");
        self.write_layout(&layout);
        let bundle = dir.path().join("bundle");
        let source = format!("{}:test", layout.display());
        done(Command::new("umoci").args(["unpack", "--image", &source]).arg(&bundle));
        list(&bundle.join("rootfs"))
    }

    fn write_layout(&self, dir: &Path) {
        fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
        let blob = |kind: &str, bytes: &[u8]| {
            let id = ImageId::of(bytes).to_string();
            fs::write(dir.join("blobs/sha256").join(&id), bytes).unwrap();
            json!({ "mediaType": kind, "digest": format!("sha256:{id}"), "size": bytes.len() })
        };
        let layers: Vec<_> = self
            .stored(Packing::Gzip)
            .iter()
            .map(|layer| blob("application/vnd.oci.image.layer.v1.tar+gzip", layer))
            .collect();
        let config = blob("application/vnd.oci.image.config.v1+json", &config(&self.layers));
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({ "schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers });
        let mut manifest = blob(kind, manifest.to_string().as_bytes());
        manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "test" });
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
        fs::write(dir.join("index.json"), index.to_string()).unwrap();
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    }

    /// As a process that docker runs sees it. The image has busybox in `/bin/busybox`.
    pub(crate) fn docker(&self) -> Listing {
        let container = match self.container() {
            Ok(container) => container,
            Err(said) => panic!("docker load: {said}"),
        };
        let format = "--format={{.State.Pid}}";
        let pid = done(Command::new("docker").args(["inspect", format, &container.0]));
        list(&PathBuf::from(format!("/proc/{}/root", pid.trim())))
    }

    /// A container that runs until it is dropped, or what docker says against the image.
    pub(crate) fn container(&self) -> Result<Container, String> {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("image.tar");
        self.write_archive(&archive, Packing::Plain);
        let loaded =
            Command::new("docker").args(["load", "--quiet", "--input"]).arg(&archive).output().unwrap();
        if !loaded.status.success() {
            return Err(String::from_utf8_lossy(&loaded.stderr).into_owned());
        }
        let run = ["run", "--detach", "--network=none", "--pull=never", "test:1"];
        let id = done(Command::new("docker").args(run).args(["/bin/busybox", "sleep", "1000"]));
        Ok(Container(id.trim().to_owned()))
    }
}

pub(crate) struct Container(String);

impl Drop for Container {
    fn drop(&mut self) {
        drop(Command::new("docker").args(["rm", "--force", &self.0]).output());
    }
}

/// Unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    #[track_caller]
    fn new(at: PathBuf, image: &Path) -> Self {
        fs::create_dir(&at).unwrap();
        // `noload`: the journal is not looked at, since nothing may be written.
        done(Command::new("mount").args(["-t", "ext4", "-o", "loop,ro,noload"]).arg(image).arg(&at));
        Self(at)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        done(Command::new("umount").arg(&self.0));
    }
}

/// What a program says that succeeds.
#[track_caller]
pub(crate) fn done(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{command:?}: {status}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8_lossy(&stdout).into_owned()
}
