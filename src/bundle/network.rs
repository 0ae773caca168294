//! The bundle's bridge: its own /24 out of 10.201.0.0–10.254.255.0, gateway at .1, container at .2.
//!
//! The subnet follows from the slug, so that the same bottle usually gets the same addresses; when it is taken, by
//! docker or by one of the host's routes, another one is tried.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::Path;

use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};
use sha2::{Digest as _, Sha256};

use super::client::Docker;
use super::error::{BundleError, status, words};
use super::names;
use super::routes::Subnet;
use super::sys;

/// The first second octet of the range, and how many there are. Above what home routers, Kubernetes and docker's own
/// pools hand out.
const FIRST_OCTET: u32 = 201;
const OCTETS: u32 = 54;
const SUBNETS: u32 = OCTETS * 256;

/// From one candidate to the next. Prime, and no divisor of `SUBNETS`, so every candidate comes once; more than 256,
/// so the next one lies in another /16: what takes one /24 (a VPN) often takes its neighbours.
const STRIDE: u32 = 257;

/// How many candidates are offered to docker. Each costs a request; with 54 and more /16s tried, the range is full.
const OFFERS_MAX: usize = 64;

/// A bundle's network, as docker made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Network {
    pub(super) id: String,
    /// The host's end of the bridge.
    pub(super) gateway: Ipv4Addr,
    /// Where the container is to be.
    pub(super) container: Ipv4Addr,
}

/// The three octets that make up one candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Candidate {
    second: u8,
    third: u8,
}

impl Candidate {
    fn address(self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.second, self.third, host)
    }

    fn subnet(self) -> Subnet {
        Subnet::new(self.address(0), Ipv4Addr::new(255, 255, 255, 0))
    }
}

/// Every subnet of the range, each once, beginning with the slug's own.
fn candidates(slug: &str) -> impl Iterator<Item = Candidate> {
    let digest = Sha256::digest(slug.as_bytes());
    let start = digest.iter().take(4).fold(0_u32, |sum, byte| (sum << 8) | u32::from(*byte)) % SUBNETS;
    (0..SUBNETS).filter_map(move |step| {
        let index = (start + step * STRIDE) % SUBNETS;
        Some(Candidate {
            second: u8::try_from(FIRST_OCTET + index / 256).ok()?,
            third: u8::try_from(index % 256).ok()?,
        })
    })
}

/// Makes the network of `slug`, whose name nobody has.
pub(super) async fn create(docker: &Docker, state_dir: &Path, slug: &str) -> Result<Network, BundleError> {
    let name = names::network(slug);
    let routed = sys::routed_subnets();
    let free = candidates(slug).filter(|one| !routed.iter().any(|route| route.overlaps(one.subnet())));
    let mut tried = 0;
    let mut last = "every one of them is routed elsewhere by this host".to_owned();
    for candidate in free.take(OFFERS_MAX) {
        tried += 1;
        let (gateway, container) = (candidate.address(1), candidate.address(2));
        match docker.api().create_network(request(&name, state_dir, slug, candidate)).await {
            Ok(made) => {
                log::debug!("network {name} is {}/24", candidate.address(0));
                return Ok(Network { id: made.id, gateway, container });
            }
            Err(error) if means_taken(&error) => {
                last = words(&error);
                log::debug!("{}/24 is taken: {last}", candidate.address(0));
            }
            Err(error) => return Err(BundleError::docker(format!("create network {name}"), &error)),
        }
    }
    Err(BundleError::NoSubnet { network: name, tried, last })
}

fn request(name: &str, state_dir: &Path, slug: &str, candidate: Candidate) -> NetworkCreateRequest {
    let range = IpamConfig {
        subnet: Some(format!("{}/24", candidate.address(0))),
        gateway: Some(candidate.address(1).to_string()),
        ..IpamConfig::default()
    };
    NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some("bridge".to_owned()),
        enable_ipv6: Some(false),
        ipam: Some(Ipam { driver: Some("default".to_owned()), config: Some(vec![range]), options: None }),
        // Ports are published on the alias by address. Should a later change forget the address, this keeps the port
        // off the LAN.
        options: Some(HashMap::from([(
            "com.docker.network.bridge.host_binding_ipv4".to_owned(),
            "127.0.0.1".to_owned(),
        )])),
        labels: Some(names::labels(state_dir, slug)),
        ..NetworkCreateRequest::default()
    }
}

/// Docker has no code for "taken". Its address allocator says "Pool overlaps with other one on this address space", its
/// bridge driver "conflicts with network …: networks have overlapping IPv4".
fn means_taken(error: &bollard::errors::Error) -> bool {
    status(error).is_some() && words(error).to_ascii_lowercase().contains("overlap")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_subnet_comes_once_and_lies_in_the_range() {
        let all: Vec<Candidate> = candidates("reviewer-7f3a").collect();
        let distinct: HashSet<(u8, u8)> = all.iter().map(|one| (one.second, one.third)).collect();
        assert_eq!(distinct.len(), SUBNETS as usize);
        assert!(all.iter().all(|one| (201..=254).contains(&one.second)));
    }

    #[test]
    fn the_first_offers_lie_in_many_networks() {
        let seconds: HashSet<u8> = candidates("a").take(OFFERS_MAX).map(|one| one.second).collect();
        assert_eq!(seconds.len(), OCTETS as usize);
    }

    #[test]
    fn the_slug_decides_and_always_the_same_way() {
        assert_eq!(candidates("a").next(), candidates("a").next());
        assert_ne!(candidates("a").next(), candidates("b").next());
    }
}
