//! The docker daemon that builds images, of which this machine's own notices nothing.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::{
    command,
    error::{Context, Error, Result},
    kvm::Dockerd,
    paths,
};

/// The bridge of the daemon that builds, and its address: of TEST-NET-2, which is nobody's. Nothing is ever sent there.
const BRIDGE: &str = "bottle-images";
const BRIDGE_ADDRESS: &str = "198.51.100.1/30";

/// That bridge, as long as this lives.
struct Bridge;

impl Bridge {
    /// One that a killed run has left is nobody's: who is here has the cache's lock.
    fn add() -> Result<Self> {
        drop(Self);
        command::output(&mut ip(&["link", "add", "name", BRIDGE, "type", "bridge"]))?;
        let bridge = Self;
        command::output(&mut ip(&["address", "add", BRIDGE_ADDRESS, "dev", BRIDGE]))?;
        Ok(bridge)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        // It fails where there is none.
        command::succeeds(&mut ip(&["link", "delete", "dev", BRIDGE]));
    }
}

fn ip(words: &[&str]) -> Command {
    let mut ip = Command::new("ip");
    ip.args(words);
    ip
}

/// See the module.
pub(super) struct Builder {
    // The first to go.
    docker: Dockerd,
    _bridge: Bridge,
    work: TempDir,
}

impl Builder {
    /// Starts it, in a directory of its own. What it builds may use this machine's own network, of which nothing is changed. That
    /// takes a bridge of the daemon's own: told to have none, it removes `docker0`, which is that of the machine's daemon.
    pub(super) fn start() -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Err(Error::other("to make the images takes root: debootstrap and docker need it"));
        }
        let dir = cache_dir()?;
        paths::make_dir(&dir)?;
        let work = tempfile::tempdir_in(&dir).file("make a directory in", &dir)?;
        let bridge = Bridge::add()?;
        let named = format!("--bridge={BRIDGE}");
        let options = [&*named, "--iptables=false", "--ip-forward=false", "--ip-masq=false"];
        let docker =
            Dockerd::start_with(&work.path().join("docker"), &work.path().join("docker.sock"), &options)?;
        Ok(Self { docker, _bridge: bridge, work })
    }

    pub(super) fn docker(&self) -> &Dockerd {
        &self.docker
    }

    /// A directory that goes with this.
    pub(super) fn work(&self) -> &Path {
        self.work.path()
    }

    /// Builds the Dockerfile of this directory, under this name and without a network.
    pub(super) fn build(&self, context: &Path, name: &str) -> Result<()> {
        let mut build = self.docker.docker();
        build.env("DOCKER_BUILDKIT", "0").args(["build", "--quiet", "--network=none", "--tag", name]);
        command::output(build.arg(context)).map(drop)
    }

    /// Saves the image of these names, and only then there is an archive.
    pub(super) fn save(&self, names: &[&str], archive: &Path) -> Result<()> {
        let saved = self.work().join("saved.tar");
        command::output(self.docker.docker().args(["save", "--output"]).arg(&saved).args(names))?;
        // docker makes it readable for its own user only, but others may run the tests.
        fs::set_permissions(&saved, fs::Permissions::from_mode(0o644)).file("open up", &saved)?;
        fs::rename(&saved, archive).file("rename to", archive)
    }
}

/// Where archives are kept.
pub(super) fn cache_dir() -> Result<PathBuf> {
    Ok(paths::cache_dir()?.join("images"))
}
