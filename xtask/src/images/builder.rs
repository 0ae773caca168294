//! The docker daemon that builds images, of which this machine's own notices nothing.

use std::{path::Path, process::Command};

use crate::{command, error::Result, kvm::Dockerd};

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
}

impl Builder {
    /// Starts it; it keeps everything below `work`. What it builds may use this machine's own network, of which nothing is changed. That
    /// takes a bridge of the daemon's own: told to have none, it removes `docker0`, which is that of the machine's daemon.
    pub(super) fn start(work: &Path) -> Result<Self> {
        let bridge = Bridge::add()?;
        let named = format!("--bridge={BRIDGE}");
        let options = [&*named, "--iptables=false", "--ip-forward=false", "--ip-masq=false"];
        let docker = Dockerd::start_with(&work.join("docker"), &work.join("docker.sock"), &options)?;
        Ok(Self { docker, _bridge: bridge })
    }

    pub(super) fn docker(&self) -> &Dockerd {
        &self.docker
    }
}
