//! Linux: docker's bridges are this host's own, all of 127.0.0.0/8 is local, and the kernel lists its routes in
//! `/proc`.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use crate::bundle::routes::Subnet;

/// What to say when the socket may not be opened.
pub(in crate::bundle) const SOCKET_DENIED_HINT: &str = "add yourself to the group docker (`sudo usermod -aG docker $USER`) and log in again, or use rootless docker";

/// What to say when nobody answers on the socket.
pub(in crate::bundle) const NOT_ANSWERING_HINT: &str =
    "is the daemon running? `sudo systemctl start docker`, then `docker info`";

/// Sockets of daemons that run as the user: rootless docker, Docker Desktop.
pub(in crate::bundle) fn user_sockets(home: Option<&Path>, runtime_dir: Option<&Path>) -> Vec<PathBuf> {
    let rootless = runtime_dir.map(|dir| dir.join("docker.sock"));
    let desktop = home.map(|home| home.join(".docker/desktop/docker.sock"));
    rootless.into_iter().chain(desktop).collect()
}

/// The subnets that this host routes somewhere, the default route aside: taking one for a bridge would cut the host
/// off from it (a VPN's, say). Docker itself does not look when it is told a subnet.
pub(in crate::bundle) fn routed_subnets() -> Vec<Subnet> {
    match std::fs::read_to_string("/proc/net/route") {
        Ok(table) => parse_routes(&table),
        Err(error) => {
            log::warn!("cannot read /proc/net/route, so a bundle's subnet may hide one of yours: {error}");
            Vec::new()
        }
    }
}

/// Reads the kernel's table (`net/ipv4/fib_trie.c`, `fib_route_seq_show`): one header line, then tab-separated columns,
/// of which the second is the destination and the eighth the mask, in hexadecimal, in the host's byte order.
fn parse_routes(table: &str) -> Vec<Subnet> {
    let hex = |field: Option<&&str>| {
        let raw = u32::from_str_radix(field?, 16).ok()?;
        Some(Ipv4Addr::from(raw.to_ne_bytes()))
    };
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (base, mask) = (hex(fields.get(1))?, hex(fields.get(7))?);
            // The default route's subnet is everything.
            if mask.is_unspecified() { None } else { Some(Subnet::new(base, mask)) }
        })
        .collect()
}

/// An alias missing on Linux means a loopback interface that is not as usual.
pub(in crate::bundle) fn missing_alias_hint(alias: Ipv4Addr) -> String {
    format!("`sudo ip link set lo up`, and if it lacks 127.0.0.0/8: `sudo ip addr add {alias}/32 dev lo`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_and_the_default_route_is_left_out() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                     eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                     tun0\t0000E60A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
                     broken\tzz\n";
        let expected = Subnet::new(Ipv4Addr::new(10, 230, 0, 0), Ipv4Addr::new(255, 255, 0, 0));
        if cfg!(target_endian = "little") {
            assert_eq!(parse_routes(table), vec![expected]);
        }
    }
}
