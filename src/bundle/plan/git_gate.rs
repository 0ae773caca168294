//! The plan of git-gate: from the upstreams that a manifest declares to its configuration, and to the identities, which are in
//! no configuration.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bottle_gates::git_gate::{GitGateConfig, Upstream};
use bottle_gates::grant::{Invalid, upstream_name};
use bottle_gates::push::PushRule;
use bottle_protocol::bundle::{Daemon, Reload};
use serde::{Deserialize, Serialize};

use super::{Part, SIDECAR, in_container, pretty};

/// Its name, by which it gets the identities.
pub(in crate::bundle) const NAME: &str = "git-gate";

/// Where it listens in the container.
pub const PORT: u16 = 9418;

/// Its configuration, below the directory that is mounted read-only.
pub const CONFIG: &str = "git-gate/git-gate.json";

/// Where its mirrors are in the container: on disk, and gone with it.
pub const MIRRORS: &str = "/var/lib/bottle/mirrors";

/// Its sockets and hooks, in memory.
const RUN: &str = "/run/bottle/git-gate";

/// An RSA key of 16,384 bits has 13 KiB.
const IDENTITY_BYTES: u64 = 32 * 1024;

/// A repository that a bottle may fetch from, and push to by rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GitUpstream {
    /// What it is called in the bottle: `git://…/<name>.git`.
    pub name: String,
    /// `ssh://git@example.com[:PORT]/group/project.git`, or `git@example.com:group/project.git`.
    pub url: String,
    /// The private key, a file without a passphrase that only its owner may read.
    pub identity: PathBuf,
    /// The server's host key, as in a `known_hosts` without the name: `ssh-ed25519 AAAA…`.
    pub host_key: String,
    /// What may be pushed; nothing, if there are none.
    #[serde(default)]
    pub push: Vec<PushRule>,
}

/// Why an upstream can't be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GitGateError {
    /// A field that can't be meant.
    #[error("upstream {name:?}: {what}")]
    Invalid {
        /// The upstream.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// An identity that can't be used.
    #[error("upstream {name:?}: the identity {} {why}", path.display())]
    Identity {
        /// The upstream.
        name: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// The configuration for these upstreams; nothing is read.
///
/// # Errors
/// Says which upstream is not right, and why.
pub fn plan(upstreams: &[GitUpstream]) -> Result<GitGateConfig, GitGateError> {
    let mut planned: Vec<Upstream> = Vec::new();
    for upstream in upstreams {
        let invalid = |what: String| GitGateError::Invalid { name: upstream.name.clone(), what };
        let words = |error: Invalid| invalid(error.to_string());
        upstream_name(&upstream.name).map_err(words)?;
        upstream.push.iter().try_for_each(PushRule::check).map_err(words)?;
        if planned.iter().any(|other| other.name == upstream.name) {
            return Err(invalid("there is another of this name".to_owned()));
        }
        let (user, host, port, path) = parse_url(&upstream.url).map_err(&invalid)?;
        check_host_key(&upstream.host_key).map_err(&invalid)?;
        planned.push(Upstream {
            name: upstream.name.clone(),
            user,
            host,
            port,
            path,
            host_key: upstream.host_key.clone(),
            push: upstream.push.clone(),
        });
    }
    Ok(GitGateConfig {
        listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)),
        mirrors: PathBuf::from(MIRRORS),
        run: PathBuf::from(RUN),
        upstreams: planned,
    })
}

/// Its part of a plan. It reads its configuration at each connection, so that nothing is to be told it when that changes.
pub(super) fn part(config: &GitGateConfig) -> Part {
    Part {
        daemon: Daemon {
            name: NAME.to_owned(),
            argv: vec![SIDECAR.to_owned(), "git-gate".to_owned(), in_container(CONFIG)],
            env: BTreeMap::new(),
            port: Some(PORT),
            reload: Reload::Nothing,
            secrets: true,
        },
        files: [(CONFIG.to_owned(), pretty(config))].into(),
    }
}

/// The identities, by the upstream's name. They go to the container's init and from there to git-gate, each over a pipe; see
/// `docs/ARCHITECTURE.md`.
///
/// # Errors
/// Says which identity can't be read, or must not be used.
pub fn read_identities(files: &BTreeMap<String, PathBuf>) -> Result<BTreeMap<String, String>, GitGateError> {
    let read = |(name, path): (&String, &PathBuf)| {
        let key = read_identity(path).map_err(|error| GitGateError::Identity {
            name: name.clone(),
            path: path.clone(),
            why: error.to_string(),
        })?;
        Ok((name.clone(), key))
    };
    files.iter().map(read).collect()
}

fn read_identity(path: &Path) -> io::Result<String> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(wrong("is no file"));
    }
    // As ssh has it.
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(wrong("can be read by others: `chmod 600` it"));
    }
    let mut key = String::new();
    file.take(IDENTITY_BYTES).read_to_string(&mut key)?;
    if key.contains("PRIVATE KEY-----") { Ok(key) } else { Err(wrong("is no private key")) }
}

/// User, host, port, and the path on the server.
fn parse_url(url: &str) -> Result<(String, String, u16, String), String> {
    let wrong =
        || format!("{url:?} is no URL of a repository by ssh: ssh://git@HOST[:PORT]/PATH or git@HOST:PATH");
    let (user, host, port, path) = match url.strip_prefix("ssh://") {
        Some(rest) => {
            let (authority, path) = rest.split_once('/').ok_or_else(wrong)?;
            let (user, server) = authority.split_once('@').ok_or_else(wrong)?;
            let (host, port) = match server.split_once(':') {
                Some((host, port)) => (host, port.parse().map_err(|_| wrong())?),
                None => (server, 22),
            };
            (user, host, port, format!("/{path}"))
        }
        None => {
            let (user, rest) = url.split_once('@').ok_or_else(wrong)?;
            let (host, path) = rest.split_once(':').ok_or_else(wrong)?;
            (user, host, 22, path.to_owned())
        }
    };
    let plain = |text: &str| {
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !text.is_empty() && text.chars().all(fine) && !text.starts_with('-')
    };
    let path_is_fine = path.trim_start_matches('/').len() <= 500
        && path.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '\'' | '"' | '\\' | '`' | '$'))
        && !path.trim_start_matches('/').is_empty()
        && !path.starts_with('-');
    if plain(user) && plain(host) && port != 0 && path_is_fine {
        Ok((user.to_owned(), host.to_owned(), port, path))
    } else {
        Err(wrong())
    }
}

/// A key's kind and the key. The key begins with its kind, so that one of another kind is noticed.
fn check_host_key(host_key: &str) -> Result<(), String> {
    let wrong =
        || format!("{host_key:?} is no host key: `ssh-keyscan HOST` prints them, KIND KEY behind the name");
    let (kind, key) = host_key.split_once(' ').ok_or_else(wrong)?;
    let bytes = BASE64_STANDARD.decode(key).map_err(|_| wrong())?;
    let length = bytes.first_chunk::<4>().map(|length| u32::from_be_bytes(*length) as usize);
    let inner = length.and_then(|length| bytes.get(4..)?.get(..length));
    if inner == Some(kind.as_bytes()) { Ok(()) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";

    fn upstream() -> GitUpstream {
        GitUpstream {
            name: "project".to_owned(),
            url: "git@github.com:acme/project.git".to_owned(),
            identity: PathBuf::from("/nonexistent"),
            host_key: HOST_KEY.to_owned(),
            push: vec![PushRule::branch("agent/*")],
        }
    }

    #[test]
    fn the_configuration_is_what_is_kept() {
        let other = GitUpstream {
            name: "tools".to_owned(),
            url: "ssh://deploy@git.example.com:2222/srv/tools.git".to_owned(),
            push: Vec::new(),
            ..upstream()
        };
        let config = plan(&[upstream(), other]).unwrap();
        let text = serde_json::to_string_pretty(&config).unwrap();
        assert_eq!(text, include_str!("../../../tests/bundle_plan/git-gate.json").trim_end());
        let config = super::super::supervise::plan(Some(&config));
        let text = serde_json::to_string_pretty(&config).unwrap();
        assert_eq!(text, include_str!("../../../tests/bundle_plan/supervise.json").trim_end());
    }

    #[test]
    fn upstreams_that_can_not_be_meant_are_refused() {
        let with_url = |url: &str| plan(&[GitUpstream { url: url.to_owned(), ..upstream() }]);
        for bad in [
            "",
            "https://github.com/acme/project.git",
            "git@github.com",
            "github.com:a",
            "ssh://github.com/a",
            "git@-oProxy:a",
            "-x@host:a",
            "git@host:",
            "ssh://git@host:0/a",
            "ssh://git@host:x/a",
            "ssh://git@host/",
            "git@host:-a",
            "git@host:a'b",
            "git@host:a b",
            "git@ho st:a",
            "file:///etc",
        ] {
            assert!(with_url(bad).is_err(), "{bad}");
        }
        for bad in [
            "",
            "ssh-ed25519",
            "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl",
            "github.com ssh-ed25519 AAAA",
            "ssh-ed25519 AAAA\nother ssh-ed25519 AAAA",
        ] {
            let bad = GitUpstream { host_key: bad.to_owned(), ..upstream() };
            assert!(plan(std::slice::from_ref(&bad)).is_err(), "{bad:?}");
        }
        assert!(plan(&[GitUpstream { name: "../x".to_owned(), ..upstream() }]).is_err());
        let twice = plan(&[upstream(), upstream()]).unwrap_err();
        assert_eq!(twice.to_string(), r#"upstream "project": there is another of this name"#);
    }

    #[test]
    fn an_identity_is_a_private_key_of_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let identity = dir.path().join("id");
        let read = |text: &str, mode: u32| {
            std::fs::write(&identity, text).unwrap();
            std::fs::set_permissions(&identity, std::fs::Permissions::from_mode(mode)).unwrap();
            read_identities(&[("project".to_owned(), identity.clone())].into())
        };
        let key = "-----BEGIN OPENSSH PRIVATE KEY-----\n";
        assert_eq!(read(key, 0o600).unwrap()["project"], key);
        let error = read(key, 0o644).unwrap_err().to_string();
        assert!(error.contains("can be read by others"), "{error}");
        let error = read("SECRET", 0o600).unwrap_err().to_string();
        assert!(error.ends_with("is no private key"), "{error}");
        assert!(read_identities(&[("project".to_owned(), "/nonexistent".into())].into()).is_err());
    }
}
