//! macOS: docker runs in a virtual machine, so its bridges are not this host's, and the loopback interface has only
//! 127.0.0.1 until someone adds more.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use crate::bundle::routes::Subnet;

/// What to say when the socket may not be opened.
pub(in crate::bundle) const SOCKET_DENIED_HINT: &str =
    "the socket belongs to another user: start Docker Desktop (or colima, OrbStack) as yourself";

/// What to say when nobody answers on the socket.
pub(in crate::bundle) const NOT_ANSWERING_HINT: &str =
    "is Docker Desktop (or colima, OrbStack) running? `open -a Docker`, then `docker info`";

/// Sockets of the docker virtual machines people use; none of them needs `/var/run/docker.sock`.
pub(in crate::bundle) fn user_sockets(home: Option<&Path>, _runtime_dir: Option<&Path>) -> Vec<PathBuf> {
    let usual = [
        ".docker/run/docker.sock",
        ".orbstack/run/docker.sock",
        ".colima/default/docker.sock",
        ".rd/docker.sock",
    ];
    home.map(|home| usual.iter().map(|path| home.join(path)).collect()).unwrap_or_default()
}

/// Bridges are made inside docker's virtual machine, whose routes are not ours: nothing to avoid here.
pub(in crate::bundle) fn routed_subnets() -> Vec<Subnet> {
    Vec::new()
}

/// macOS forgets aliases at every start.
pub(in crate::bundle) fn missing_alias_hint(alias: Ipv4Addr) -> String {
    format!("add it (until the next restart): `sudo ifconfig lo0 alias {alias} netmask 255.255.255.255 up`")
}
