//! The bundle's container: how it is held, where its ports went.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddrV4};

use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, EndpointIpamConfig, EndpointSettings, HealthConfig,
    HostConfig, HostConfigLogConfig, Mount, MountType, NetworkingConfig, PortBinding, RestartPolicy,
    RestartPolicyNameEnum,
};
use bollard::query_parameters::CreateContainerOptions;

use super::client::Docker;
use super::error::{BundleError, status, words};
use super::logs;
use super::names;
use super::network::Network;
use super::spec::BundleSpec;

/// How often docker looks whether the container is well, and how long that may take: for people who look at `docker ps`. The
/// launcher asks by itself.
const HEALTH_INTERVAL_NS: i64 = 30_000_000_000;
const HEALTH_TIMEOUT_NS: i64 = 10_000_000_000;

/// Makes the container, not yet started. Its alias is taken from here on.
pub(super) async fn create(
    docker: &Docker,
    spec: &BundleSpec,
    network: &Network,
    alias: Ipv4Addr,
) -> Result<String, BundleError> {
    let name = names::container(&spec.slug);
    let options = CreateContainerOptions { name: Some(name.clone()), ..CreateContainerOptions::default() };
    match docker.api().create_container(Some(options), request(spec, network, alias)).await {
        Ok(made) => {
            for warning in &made.warnings {
                log::warn!("{name}: {warning}");
            }
            Ok(made.id)
        }
        Err(error) if status(&error) == Some(404) => {
            Err(BundleError::ImageNotFound { image: spec.image.clone() })
        }
        Err(error) => Err(BundleError::docker(format!("create container {name}"), &error)),
    }
}

fn request(spec: &BundleSpec, network: &Network, alias: Ipv4Addr) -> ContainerCreateBody {
    let hold = &spec.hardening;
    let mut labels = names::labels(&spec.state_dir, &spec.slug);
    labels.insert(names::ALIAS_LABEL.to_owned(), alias.to_string());
    let memory_bytes = i64::from(hold.memory_mib) * 1024 * 1024;
    let bindings = spec
        .ports
        .iter()
        .map(|port| {
            // An empty host port is docker's "any free one".
            let binding = PortBinding { host_ip: Some(alias.to_string()), host_port: Some(String::new()) };
            (tcp(*port), Some(vec![binding]))
        })
        .collect();
    let mounts = spec.mounts.iter().map(|mount| Mount {
        typ: Some(MountType::BIND),
        source: mount.source.to_str().map(str::to_owned),
        target: Some(mount.target.clone()),
        read_only: Some(mount.read_only),
        ..Mount::default()
    });
    // What is in memory is data, whatever it looks like.
    let tmpfs =
        spec.tmpfs.iter().map(|(path, options)| (path.clone(), format!("noexec,nosuid,nodev,{options}")));
    let health = spec.health.as_ref().map(|argv| HealthConfig {
        test: Some(std::iter::once("CMD".to_owned()).chain(argv.iter().cloned()).collect()),
        interval: Some(HEALTH_INTERVAL_NS),
        timeout: Some(HEALTH_TIMEOUT_NS),
        retries: Some(2),
        ..HealthConfig::default()
    });
    let pinned = EndpointSettings {
        ipam_config: Some(EndpointIpamConfig {
            ipv4_address: Some(network.container.to_string()),
            ..EndpointIpamConfig::default()
        }),
        ..EndpointSettings::default()
    };
    let host_config = HostConfig {
        network_mode: Some(network.id.clone()),
        port_bindings: Some(bindings),
        publish_all_ports: Some(false),
        privileged: Some(false),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(hold.cap_add.clone()),
        security_opt: hold.no_new_privileges.then(|| vec!["no-new-privileges:true".to_owned()]),
        memory: Some(memory_bytes),
        // Memory and swap together: as much as memory alone is no swap.
        memory_swap: Some(memory_bytes),
        pids_limit: Some(i64::from(hold.pids)),
        readonly_rootfs: Some(hold.read_only_root),
        mounts: Some(mounts.collect()),
        tmpfs: Some(tmpfs.collect()),
        extra_hosts: Some(spec.extra_hosts.iter().map(|(name, ip)| format!("{name}:{ip}")).collect()),
        init: Some(hold.init),
        // A bundle that ends is an event that its launcher must see, not something to paper over.
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(HashMap::from([
                ("max-size".to_owned(), format!("{}m", hold.log_mib)),
                ("max-file".to_owned(), "2".to_owned()),
            ])),
        }),
        ..HostConfig::default()
    };
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        cmd: spec.command.clone(),
        user: spec.user.clone(),
        env: Some(spec.env.iter().map(|(key, value)| format!("{key}={value}")).collect()),
        exposed_ports: Some(spec.ports.iter().copied().map(tcp).collect()),
        labels: Some(labels),
        healthcheck: health,
        host_config: Some(host_config),
        networking_config: Some(NetworkingConfig {
            endpoints_config: Some(HashMap::from([(network.id.clone(), pinned)])),
        }),
        ..ContainerCreateBody::default()
    }
}

/// A port as docker writes it.
fn tcp(port: u16) -> String {
    format!("{port}/tcp")
}

/// Starts the container.
pub(super) async fn start(docker: &Docker, slug: &str, id: &str, alias: Ipv4Addr) -> Result<(), BundleError> {
    let container = names::container(slug);
    docker.api().start_container(id, None).await.map_err(|error| {
        let said = words(&error);
        let about_ports =
            ["port is already allocated", "address already in use", "cannot assign requested address"];
        let lowercase = said.to_ascii_lowercase();
        if about_ports.iter().any(|phrase| lowercase.contains(phrase)) {
            BundleError::PortTaken { container, alias, words: said }
        } else {
            BundleError::docker(format!("start container {container}"), &error)
        }
    })
}

/// Where docker published the ports, after checking that it is where we asked and nowhere else.
pub(super) async fn published(
    docker: &Docker,
    spec: &BundleSpec,
    id: &str,
    network: &Network,
    alias: Ipv4Addr,
) -> Result<BTreeMap<u16, SocketAddrV4>, BundleError> {
    let container = names::container(&spec.slug);
    let found = docker
        .api()
        .inspect_container(id, None)
        .await
        .map_err(|error| BundleError::docker(format!("inspect container {container}"), &error))?;
    if let Some(exited) = exited(docker, &container, &found).await {
        return Err(exited);
    }
    check_address(&container, &found, network.container)?;
    endpoints(&container, &spec.ports, &found, alias)
}

/// The error that says that the container has ended, if it has.
pub(super) async fn exited(
    docker: &Docker,
    container: &str,
    found: &ContainerInspectResponse,
) -> Option<BundleError> {
    let state = found.state.as_ref()?;
    if state.running == Some(true) {
        return None;
    }
    Some(BundleError::Exited {
        container: container.to_owned(),
        code: state.exit_code.unwrap_or(-1),
        out_of_memory: state.oom_killed == Some(true),
        log: logs::tail(docker, container).await,
    })
}

fn check_address(
    container: &str,
    found: &ContainerInspectResponse,
    wanted: Ipv4Addr,
) -> Result<(), BundleError> {
    let networks = found.network_settings.as_ref().and_then(|settings| settings.networks.as_ref());
    let addresses: Vec<&str> =
        networks.into_iter().flatten().map(|(_, end)| end.ip_address.as_deref().unwrap_or("")).collect();
    if addresses == [wanted.to_string()] {
        Ok(())
    } else {
        let found = if addresses.is_empty() { "no address".to_owned() } else { addresses.join(", ") };
        Err(BundleError::WrongAddress { container: container.to_owned(), wanted, found })
    }
}

/// Reads docker's port map. Whatever it holds beyond `<alias>:<port>` for each of `ports` is an error: a port that the
/// image exposes is in it without a binding, one that is bound elsewhere would be open to the LAN.
fn endpoints(
    container: &str,
    ports: &[u16],
    found: &ContainerInspectResponse,
    alias: Ipv4Addr,
) -> Result<BTreeMap<u16, SocketAddrV4>, BundleError> {
    let map = found.network_settings.as_ref().and_then(|settings| settings.ports.clone()).unwrap_or_default();
    let wrong = |port: u16, found: String| BundleError::WrongBinding {
        container: container.to_owned(),
        port,
        alias,
        found,
    };
    let mut endpoints = BTreeMap::new();
    for (key, bindings) in &map {
        let port = key.split('/').next().and_then(|number| number.parse::<u16>().ok()).unwrap_or(0);
        for binding in bindings.iter().flatten() {
            let ip = binding.host_ip.clone().unwrap_or_default();
            let host_port = binding.host_port.clone().unwrap_or_default();
            let number = host_port.parse::<u16>().ok().filter(|number| *number != 0);
            let asked = ports.contains(&port) && *key == tcp(port);
            match number {
                Some(number) if asked && ip.parse() == Ok(alias) => {
                    if endpoints.insert(port, SocketAddrV4::new(alias, number)).is_some() {
                        return Err(wrong(port, "two ports of the alias".to_owned()));
                    }
                }
                _ => return Err(wrong(port, format!("{ip}:{host_port} ({key})"))),
            }
        }
    }
    match ports.iter().find(|port| !endpoints.contains_key(port)) {
        Some(missing) => Err(wrong(*missing, "no port at all".to_owned())),
        None => Ok(endpoints),
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::NetworkSettings;

    use super::*;

    const ALIAS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 17);

    /// Docker's port map: container port, then the host's addresses and ports.
    type Ports<'a> = &'a [(&'a str, &'a [(&'a str, &'a str)])];

    fn read(map: Ports<'_>) -> Result<BTreeMap<u16, SocketAddrV4>, BundleError> {
        let bindings = |all: &[(&str, &str)]| {
            all.iter()
                .map(|(ip, port)| PortBinding {
                    host_ip: Some((*ip).to_owned()),
                    host_port: Some((*port).to_owned()),
                })
                .collect()
        };
        let ports = map.iter().map(|(key, all)| ((*key).to_owned(), Some(bindings(all)))).collect();
        let found = ContainerInspectResponse {
            network_settings: Some(NetworkSettings { ports: Some(ports), ..NetworkSettings::default() }),
            ..ContainerInspectResponse::default()
        };
        endpoints("c", &[8888], &found, ALIAS)
    }

    #[test]
    fn the_alias_is_the_only_place_for_a_port() {
        let good = read(&[("8888/tcp", &[("127.0.0.17", "40123")]), ("53/udp", &[])]).unwrap();
        assert_eq!(good[&8888], SocketAddrV4::new(ALIAS, 40123));
        let bad: &[Ports<'_>] = &[
            &[],
            &[("8888/tcp", &[])],
            &[("8888/tcp", &[("0.0.0.0", "40123")])],
            &[("8888/tcp", &[("127.0.0.1", "40123")])],
            &[("8888/tcp", &[("127.0.0.17", "40123"), ("::", "40123")])],
            &[("8888/tcp", &[("127.0.0.17", "40123"), ("127.0.0.17", "40124")])],
            &[("8888/tcp", &[("127.0.0.17", "0")])],
            &[("8888/udp", &[("127.0.0.17", "40123")])],
            &[("8888/tcp", &[("127.0.0.17", "40123")]), ("22/tcp", &[("0.0.0.0", "22")])],
        ];
        for map in bad {
            let error = read(map).unwrap_err();
            assert!(matches!(error, BundleError::WrongBinding { .. }), "{map:?}: {error}");
        }
    }

    #[test]
    fn the_defaults_hold_the_container_tightly() {
        let network = Network {
            id: "n".to_owned(),
            gateway: Ipv4Addr::new(10, 201, 0, 1),
            container: Ipv4Addr::new(10, 201, 0, 2),
        };
        let spec = BundleSpec { ports: vec![8888], ..BundleSpec::new("one", "/nonexistent", "image") };
        let made = request(&spec, &network, ALIAS);
        let host = made.host_config.unwrap();
        assert_eq!(host.cap_drop.unwrap(), ["ALL"]);
        assert!(host.cap_add.unwrap().is_empty());
        assert_eq!(host.security_opt.unwrap(), ["no-new-privileges:true"]);
        assert_eq!((host.privileged, host.publish_all_ports), (Some(false), Some(false)));
        assert_eq!(host.memory, host.memory_swap);
        assert!(host.memory.unwrap() > 0 && host.pids_limit.unwrap() > 0);
        let binding = &host.port_bindings.unwrap()["8888/tcp"].clone().unwrap()[0];
        assert_eq!(binding.host_ip.as_deref(), Some("127.0.0.17"));
    }
}
