//! What git-gate is to do: `git-gate.json`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::push::PushRule;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GitGateConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where the mirrors are, `<name>.git` each.
    pub mirrors: PathBuf,
    /// For sockets, hooks and git's configuration; gone when the container ends.
    pub run: PathBuf,
    /// The repositories that it has.
    pub upstreams: Vec<Upstream>,
}

/// A repository on a server that speaks ssh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// What it is called here.
    pub name: String,
    /// The server's user.
    pub user: String,
    /// The server, by name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The repository, from the server's root with a `/` in front, else from the user's home.
    pub path: String,
    /// The only host key that is believed: `ssh-ed25519 AAAA…`.
    pub host_key: String,
    /// What may be pushed to it.
    pub push: Vec<PushRule>,
}

impl GitGateConfig {
    /// The upstream of this name.
    pub fn upstream(&self, name: &str) -> Option<&Upstream> {
        self.upstreams.iter().find(|upstream| upstream.name == name)
    }

    /// The mirror of an upstream.
    pub fn mirror(&self, name: &str) -> PathBuf {
        self.mirrors.join(format!("{name}.git"))
    }

    /// The upstream whose mirror this is.
    pub fn upstream_of(&self, mirror: &Path) -> Option<&Upstream> {
        self.upstreams.iter().find(|upstream| self.mirror(&upstream.name) == mirror)
    }
}

impl Upstream {
    /// Where git finds it, in ssh's own notation; ssh is told the port beside it.
    pub fn url(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{}@{host}:{}", self.user, self.path)
    }
}
