//! What an image in a registry is called: `[HOST[:PORT]/]NAME[:TAG][@DIGEST]`.
//!
//! As docker reads it: without a host it is docker.io's, where a name without `/` is in `library/`; without tag and digest
//! the tag is `latest`. A digest is believed before a tag.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::image::config::ImageId;

const DOCKER_IO: &str = "docker.io";
/// Where docker.io's registry answers.
const DOCKER_IO_API: &str = "registry-1.docker.io";

/// The longest host and name; that of a DNS name, and the most that registries accept.
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;

/// The whole name of an image in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// With its port, if one is given.
    host: String,
    repository: String,
    /// There is one or the other, or both.
    tag: Option<String>,
    digest: Option<ImageId>,
}

impl Reference {
    /// The registry as users know it, with its port if one is given.
    pub(super) fn registry(&self) -> &str {
        &self.host
    }

    /// Where the registry answers.
    pub(super) fn api_host(&self) -> &str {
        if self.is_docker_io() { DOCKER_IO_API } else { &self.host }
    }

    pub(super) fn is_docker_io(&self) -> bool {
        self.host == DOCKER_IO
    }

    pub(super) fn repository(&self) -> &str {
        &self.repository
    }

    pub(super) fn digest(&self) -> Option<ImageId> {
        self.digest
    }

    /// What a manifest is asked for by.
    pub(super) fn version(&self) -> String {
        match self.digest {
            Some(digest) => format!("sha256:{digest}"),
            None => self.tag.clone().unwrap_or_default(),
        }
    }

    /// Whether the registry is on this machine, so that nobody else can listen to what is said to it.
    pub(super) fn is_loopback(&self) -> bool {
        let host = match self.host.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|c| c.is_ascii_digit()) => host,
            _ => &self.host,
        };
        is_loopback(host)
    }
}

/// Whether a host as it stands in a URL is this machine's loopback.
pub(super) fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    host == "localhost"
        || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        || bare.is_some_and(|host| host.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback()))
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match self.digest {
            Some(digest) => write!(f, "@sha256:{digest}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Reference {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (text, digest) = match text.split_once('@') {
            Some((text, digest)) if digest.starts_with("sha256:") => {
                let digest = digest.parse().map_err(|_| "the digest is not 64 lower-case hex digits")?;
                (text, Some(digest))
            }
            Some(_) => return Err("only sha256 digests are known"),
            None => (text, None),
        };
        let (host, path) = match text.split_once('/') {
            Some((host, path)) if is_host(host) => (host, path),
            _ => (DOCKER_IO, text),
        };
        let (name, tag) = match path.rsplit_once(':') {
            Some((name, tag)) => (name, Some(tag)),
            None => (path, None),
        };
        if !valid_host(host) {
            return Err("the registry is not of the form HOST[:PORT]");
        }
        if name.len() > MAX_NAME || !name.split('/').all(valid_component) {
            return Err("a name in a registry has lower-case letters and digits, and . _ - / between them");
        }
        if !tag.is_none_or(valid_tag) {
            return Err("a tag has up to 128 letters, digits and . _ -");
        }
        let host = if host == "index.docker.io" || host == DOCKER_IO_API { DOCKER_IO } else { host };
        let library = host == DOCKER_IO && !name.contains('/');
        Ok(Self {
            host: host.to_owned(),
            repository: if library { format!("library/{name}") } else { name.to_owned() },
            tag: tag.or(digest.is_none().then_some("latest")).map(str::to_owned),
            digest,
        })
    }
}

/// Whether the part before the first `/` is a host, and not the name's first part.
fn is_host(part: &str) -> bool {
    part == "localhost" || part.contains(['.', ':']) || part.bytes().any(|c| c.is_ascii_uppercase())
}

fn valid_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        // The colons of a bare IPv6 address are within brackets.
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let valid_name = match name.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()),
        None => {
            name.len() <= MAX_NAME
                && name.split('.').all(|label| {
                    !label.is_empty()
                        && !label.starts_with('-')
                        && !label.ends_with('-')
                        && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
                })
        }
    };
    let is_port = |port: &str| port.bytes().all(|c| c.is_ascii_digit()) && port.parse::<u16>().is_ok();
    valid_name && port.is_none_or(is_port)
}

/// Runs of letters and digits, with `.`, `_`, `__` or any number of `-` between two of them.
fn valid_component(part: &str) -> bool {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = part.as_bytes();
    bytes.first().copied().is_some_and(plain)
        && bytes.last().copied().is_some_and(plain)
        && bytes
            .split(|c| plain(*c))
            .all(|between| matches!(between, b"" | b"." | b"_" | b"__") || between.iter().all(|c| *c == b'-'))
}

fn valid_tag(tag: &str) -> bool {
    (1..=MAX_TAG).contains(&tag.len())
        && !tag.starts_with(['.', '-'])
        && tag.bytes().all(|c| c.is_ascii_alphanumeric() || b"._-".contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_is_completed_as_docker_does() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (short, whole) in [
            ("debian", "docker.io/library/debian:latest"),
            ("debian:12", "docker.io/library/debian:12"),
            ("a/b", "docker.io/a/b:latest"),
            ("index.docker.io/debian", "docker.io/library/debian:latest"),
            ("localhost/a", "localhost/a:latest"),
            ("localhost:5000/a/b:1", "localhost:5000/a/b:1"),
            ("[::1]:5000/a", "[::1]:5000/a:latest"),
            ("ghcr.io/x/y__z-w:T.1", "ghcr.io/x/y__z-w:T.1"),
            (&format!("debian@{digest}"), &format!("docker.io/library/debian@{digest}")),
            (&format!("h:1/a:2@{digest}"), &format!("h:1/a:2@{digest}")),
        ] {
            let reference: Reference = short.parse().unwrap();
            assert_eq!(reference.to_string(), whole);
            assert_eq!(whole.parse::<Reference>().unwrap(), reference);
        }
        let reference: Reference = format!("h:1/a:2@{digest}").parse().unwrap();
        assert_eq!(reference.version(), digest);
        assert_eq!("debian".parse::<Reference>().unwrap().api_host(), DOCKER_IO_API);
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        let long = format!("a:{}", "t".repeat(129));
        for bad in [
            "",
            "A",
            "a//b",
            "/a",
            "a/",
            "a:",
            "a:.x",
            "a b",
            "a@sha256:00",
            "a@md5:00",
            "a@",
            "h:99999/a",
            "h:x/a",
            "h:/a",
            "[::1/a",
            "[x]:1/a",
            "-h.x/a",
            "a.-b",
            "a..b",
            "_a",
            "a___b",
            "h.x/../a",
            "user@host.x/a",
            "h.x?y/a",
            &long,
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_loopback_is_loopback() {
        for host in ["localhost", "localhost:80", "127.0.0.1:5000", "127.9.9.9", "[::1]", "[::1]:5000"] {
            assert!(format!("{host}/a").parse::<Reference>().unwrap().is_loopback(), "{host}");
        }
        for host in
            ["localhost.evil.com", "127.0.0.1.evil.com", "10.0.0.1:80", "[::2]", "docker.io", "0.0.0.0:1"]
        {
            assert!(!format!("{host}/a").parse::<Reference>().unwrap().is_loopback(), "{host}");
        }
    }
}
