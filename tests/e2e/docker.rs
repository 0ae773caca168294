//! What the docker daemon has, asked through its socket: to start docker's own program takes a second and more in an
//! emulated host.

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::Once;
use std::time::Duration;

use serde_json::Value;

use crate::harness::archive;

/// `{"label":["bottle.slug"]}`, as it stands in a URL: everything that any bottle has made.
const OURS: &str = "filters=%7B%22label%22%3A%5B%22bottle.slug%22%5D%7D";

fn get(path: &str) -> Value {
    let host = std::env::var("DOCKER_HOST").expect("DOCKER_HOST is not set: run cargo xtask test");
    let mut stream = UnixStream::connect(host.strip_prefix("unix://").unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // HTTP/1.0: the answer ends with the connection, and is not chunked.
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(" 200 "), "{path}: {answer}");
    serde_json::from_str(body).unwrap()
}

fn containers() -> Value {
    get(&format!("/containers/json?all=1&{OURS}"))
}

fn networks() -> Value {
    get(&format!("/networks?{OURS}"))
}

/// The names of all containers and networks of bottles.
pub(crate) fn leftovers() -> Vec<String> {
    let containers = containers();
    let networks = networks();
    let containers = containers.as_array().unwrap().iter().map(|one| &one["Names"][0]);
    let networks = networks.as_array().unwrap().iter().map(|one| &one["Name"]);
    containers.chain(networks).map(ToString::to_string).collect()
}

/// This machine's address in docker's own network, which the containers of all networks reach.
pub(crate) fn host_address() -> Ipv4Addr {
    let network = get("/networks/bridge");
    // Docker 20.10 does not name its own address there: it is the first of the range.
    let subnet = network["IPAM"]["Config"][0]["Subnet"].as_str().unwrap().to_owned();
    let base: Ipv4Addr = subnet.split('/').next().unwrap().parse().unwrap();
    Ipv4Addr::from_bits(base.to_bits() + 1)
}

/// A container that stands for somebody outside. It ends with this.
pub(crate) struct Outsider {
    id: String,
}

impl Outsider {
    /// Runs a command in it, on the host's own network, since docker lets nothing pass from one of its networks to another. It sees
    /// this directory where the host has it.
    pub(crate) fn start(dir: &Path, command: &[&str]) -> Self {
        static IMAGE: Once = Once::new();
        // It takes half a minute in an emulated host, and most tests want no such container.
        IMAGE.call_once(|| {
            drop(docker(&["load", "--quiet", "--input", archive("upstream").to_str().unwrap()]))
        });
        let volume = format!("--volume={0}:{0}", dir.display());
        let run = ["run", "--detach", "--pull=never", "--network=host", &volume, "bottle-test/upstream"];
        Self { id: docker(&[&run, command].concat()).trim().to_owned() }
    }
}

impl Drop for Outsider {
    fn drop(&mut self) {
        // Of a test that fails, this is not to be the reason that is seen.
        drop(Command::new("docker").args(["rm", "--force", &self.id]).output());
    }
}

/// Runs docker's own program to its end; what it prints.
fn docker(words: &[&str]) -> String {
    let output = Command::new("docker").args(words).output().unwrap();
    assert!(output.status.success(), "docker {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// All that docker keeps of the one bundle there is, but for its log.
pub(crate) fn bundle_inspected() -> String {
    let id = containers()[0]["Id"].as_str().unwrap().to_owned();
    get(&format!("/containers/{id}/json")).to_string()
        + &get(&format!("/containers/{id}/changes")).to_string()
}

/// A bundle as docker sees it.
pub(crate) struct BundleAddresses {
    /// The container's own.
    pub(crate) container: Ipv4Addr,
    /// The host's, on the bridge.
    pub(crate) gateway: Ipv4Addr,
}

/// The addresses of the one bundle there is.
pub(crate) fn bundle() -> BundleAddresses {
    let containers = containers();
    let networks = containers[0]["NetworkSettings"]["Networks"].as_object().unwrap();
    let network = networks.values().next().unwrap();
    let address = |key: &str| network[key].as_str().unwrap().parse().unwrap();
    // An internal network has no gateway by docker's word; the bridge has an address all the same.
    let container: Ipv4Addr = address("IPAddress");
    let [a, b, c, _] = container.octets();
    let gateway = network["Gateway"].as_str().and_then(|text| text.parse().ok());
    BundleAddresses { container, gateway: gateway.unwrap_or(Ipv4Addr::new(a, b, c, 1)) }
}
