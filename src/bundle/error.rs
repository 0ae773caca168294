//! What can go wrong between us and docker, in words that name the thing, and what to do about it.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;

use super::sys;

/// A failure to find docker, or to make, find or remove a bundle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// No socket is where a docker daemon's usually is.
    #[error("no docker daemon found (looked for {})", list(.tried))]
    NoDaemon {
        /// Where we looked.
        tried: Vec<PathBuf>,
    },
    /// `DOCKER_HOST` or the docker context names something other than a UNIX socket.
    #[error("{origin} is {value:?}, and only unix:// sockets are supported")]
    UnsupportedHost {
        /// What said so: the variable, or the context.
        origin: String,
        /// Its value.
        value: String,
    },
    /// The docker context in use cannot be read.
    #[error("docker context {name:?} cannot be used: {reason}")]
    BadContext {
        /// The context's name.
        name: String,
        /// Why not.
        reason: String,
    },
    /// The socket is there, but not for us.
    #[error("permission denied on the docker socket {}", .socket.display())]
    SocketDenied {
        /// The socket.
        socket: PathBuf,
    },
    /// Nothing answers on the socket.
    #[error("docker does not answer on {}: {reason}", .socket.display())]
    NotAnswering {
        /// The socket.
        socket: PathBuf,
        /// The system's words, or how long we waited.
        reason: String,
    },
    /// The slug cannot be part of docker's names.
    #[error("{slug:?} cannot name a bottle: letters, digits, `-`, `_` and `.`, at most 63")]
    InvalidSlug {
        /// The slug.
        slug: String,
    },
    /// A field of the `BundleSpec` is malformed.
    #[error("bundle of {slug}: {what}")]
    InvalidSpec {
        /// The bottle.
        slug: String,
        /// Which field, and why.
        what: String,
    },
    /// The daemon does not have the bundle's image.
    #[error("docker has no image {image:?}")]
    ImageNotFound {
        /// The image, as asked for.
        image: String,
    },
    /// Something that is not ours has the name that we need.
    #[error("a {kind} named {name} exists and does not belong to this bottle (its labels: {labels})")]
    NameTaken {
        /// `container` or `network`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The `bottle.*` labels it carries.
        labels: String,
    },
    /// Every subnet that was tried is in use.
    #[error(
        "no free subnet for {network} in 10.201.0.0–10.254.255.0 after {tried} tries; docker said: {last}"
    )]
    NoSubnet {
        /// The network.
        network: String,
        /// How many were offered to docker.
        tried: usize,
        /// Docker's last answer.
        last: String,
    },
    /// All sixteen aliases are in use.
    #[error("all loopback aliases are taken: {}", holders(.by))]
    AliasesTaken {
        /// Which bottle has which one.
        by: Vec<(Ipv4Addr, String)>,
    },
    /// The loopback interface does not have the alias.
    #[error("the loopback interface has no address {alias}")]
    AliasMissing {
        /// The alias.
        alias: Ipv4Addr,
    },
    /// The lock around choosing an alias cannot be had.
    #[error("cannot lock {}: {source}", .path.display())]
    AliasLock {
        /// The lock file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Another launch holds the lock for longer than a launch takes.
    #[error("another bottle has been choosing its alias for more than {waited_s} s ({} is locked)", .path.display())]
    AliasLockHeld {
        /// The lock file.
        path: PathBuf,
        /// Seconds we waited.
        waited_s: u64,
    },
    /// Docker found no free host port on the alias, or lost the one it chose.
    #[error("docker could not publish the ports of {container} on {alias}: {words}")]
    PortTaken {
        /// The container.
        container: String,
        /// The alias.
        alias: Ipv4Addr,
        /// Docker's own words.
        words: String,
    },
    /// A port is published elsewhere than on the alias, or not at all.
    #[error(
        "port {port} of {container} should be published on {alias} alone, but docker published it on {found}"
    )]
    WrongBinding {
        /// The container.
        container: String,
        /// The port inside it.
        port: u16,
        /// Where it should be.
        alias: Ipv4Addr,
        /// Where it is.
        found: String,
    },
    /// The container is not at the address it was given.
    #[error("{container} should be at {wanted}, but docker put it at {found}")]
    WrongAddress {
        /// The container.
        container: String,
        /// The pinned address.
        wanted: Ipv4Addr,
        /// Docker's answer.
        found: String,
    },
    /// The container ended before it was asked to.
    #[error("{container} exited with code {code}{}{}", oom(.out_of_memory), quoted(.log))]
    Exited {
        /// The container.
        container: String,
        /// Its exit code.
        code: i64,
        /// Whether the kernel killed it for want of memory.
        out_of_memory: bool,
        /// The last lines of its log.
        log: String,
    },
    /// Somebody removed the container.
    #[error("{container} is gone: it was removed while it ran")]
    Gone {
        /// The container.
        container: String,
    },
    /// Nothing listens behind a published port, and the deadline has passed.
    #[error("port {port} of {container} did not answer on {endpoint} within {waited_ms} ms ({reason}){}", quoted(.log))]
    NotReady {
        /// The container.
        container: String,
        /// The port inside it.
        port: u16,
        /// Where it is published.
        endpoint: SocketAddrV4,
        /// Milliseconds we waited.
        waited_ms: u128,
        /// What the last attempt met.
        reason: String,
        /// The last lines of the container's log.
        log: String,
    },
    /// The port was not among those of the spec.
    #[error("{container} does not publish port {port}")]
    NotPublished {
        /// The container.
        container: String,
        /// The port.
        port: u16,
    },
    /// The caller asked to stop.
    #[error("bundle of {slug}: stopped while it was being started")]
    Stopped {
        /// The bottle.
        slug: String,
    },
    /// The manifest says what no daemon could do.
    #[error(transparent)]
    Manifest(#[from] super::manifest::ManifestError),
    /// A file of the bundle's directory.
    #[error("{}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No certificate authority could be made.
    #[error("cannot make the certificate authority of {daemon}: {reason}")]
    Authority {
        /// Whose it would be.
        daemon: String,
        /// Why not.
        reason: String,
    },
    /// A token's source gives none.
    #[error("{source_of_it} {reason}")]
    Token {
        /// Which source; never what it gave.
        source_of_it: String,
        /// What it did.
        reason: String,
    },
    /// The tokens did not get to the daemon.
    #[error("{container} did not take its tokens: {reason}")]
    HandOver {
        /// The container.
        container: String,
        /// Why not.
        reason: String,
    },
    /// Daemons do not listen, and the deadline has passed.
    #[error("not ready in {container} within {waited_ms} ms: {daemons}{}", quoted(.log))]
    DaemonsNotReady {
        /// The container.
        container: String,
        /// Which, and how they last ended, if they did.
        daemons: String,
        /// Milliseconds we waited.
        waited_ms: u128,
        /// The last lines of the container's log.
        log: String,
    },
    /// The bottle has no bundle that runs.
    #[error("the bottle {slug} has no bundle that runs")]
    NoBundle {
        /// The bottle.
        slug: String,
    },
    /// Anything else, in docker's own words.
    #[error("docker could not {doing}: {words}")]
    Docker {
        /// What we asked for.
        doing: String,
        /// What it answered.
        words: String,
    },
}

impl BundleError {
    /// What the user can do about it, for a `hint:` line.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoDaemon { .. } => {
                "start docker, or set DOCKER_HOST=unix:///path/to/docker.sock".to_owned()
            }
            Self::UnsupportedHost { .. } => {
                "the bundle's ports must be on this machine's loopback: use a local docker daemon".to_owned()
            }
            Self::BadContext { .. } => {
                "`docker context ls` shows the contexts; DOCKER_HOST overrides them".to_owned()
            }
            Self::SocketDenied { .. } => sys::SOCKET_DENIED_HINT.to_owned(),
            Self::NotAnswering { .. } => sys::NOT_ANSWERING_HINT.to_owned(),
            Self::ImageNotFound { image } => {
                format!(
                    "`docker pull {image}`, `docker build -t {image} …`, or check the name with `docker images`"
                )
            }
            Self::NameTaken { kind, name, .. } => match *kind {
                "network" => format!("if nobody needs it: `docker network rm {name}`"),
                _ => format!("if nobody needs it: `docker rm -f {name}`"),
            },
            Self::NoSubnet { .. } => {
                "`docker network prune` removes networks that nothing uses; `bottle gc` those of dead bottles"
                    .to_owned()
            }
            Self::AliasesTaken { .. } => {
                "end one of them, or let `bottle gc` remove those whose launcher is gone"
                    .to_owned()
            }
            Self::Token { .. } => {
                "a route of the bottle names it: set it for `bottle`, or correct the route".to_owned()
            }
            Self::DaemonsNotReady { .. } => {
                "`docker build` its image anew if `bottle` is of another version; the bundle's log directory has each daemon's log"
                    .to_owned()
            }
            Self::AliasMissing { alias } => sys::missing_alias_hint(*alias),
            Self::Exited { out_of_memory: true, .. } => "give the bundle more memory".to_owned(),
            Self::Exited { .. } => {
                "its image must run a server in the foreground, without capabilities: `docker run --cap-drop ALL IMAGE` \
                 shows what it does"
                    .to_owned()
            }
            _ => return None,
        })
    }

    /// Wraps docker's answer to `doing` (an infinitive: "create network x").
    pub(super) fn docker(doing: impl Into<String>, error: &bollard::errors::Error) -> Self {
        Self::Docker { doing: doing.into(), words: words(error) }
    }
}

/// Docker's own words, without the client library's frame around them.
pub(crate) fn words(error: &bollard::errors::Error) -> String {
    use bollard::errors::Error;
    match error {
        Error::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        Error::DockerStreamError { error } => error.trim().to_owned(),
        Error::RequestTimeoutError => "no answer in time".to_owned(),
        other => {
            let mut text = other.to_string();
            let mut cause = std::error::Error::source(other);
            while let Some(inner) = cause {
                let inner_text = inner.to_string();
                if !text.contains(&inner_text) {
                    text.push_str(": ");
                    text.push_str(&inner_text);
                }
                cause = inner.source();
            }
            text
        }
    }
}

/// The HTTP status docker answered with, if it answered.
pub(crate) fn status(error: &bollard::errors::Error) -> Option<u16> {
    match error {
        bollard::errors::Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn holders(by: &[(Ipv4Addr, String)]) -> String {
    by.iter().map(|(alias, slug)| format!("{alias} by {slug}")).collect::<Vec<_>>().join(", ")
}

fn oom(out_of_memory: &bool) -> &'static str {
    if *out_of_memory { " (out of memory)" } else { "" }
}

fn quoted(log: &str) -> String {
    if log.is_empty() { "; its log is empty".to_owned() } else { format!("; the end of its log:\n{log}") }
}
