//! What a bundle is to be: the image, its ports, and how tightly it is held.

use std::net::IpAddr;
use std::path::PathBuf;

use super::error::BundleError;
use super::names;

/// What [`super::Bundle::start`] makes. The public fields after the constructor's have safe defaults.
#[derive(Debug, Clone)]
pub struct BundleSpec {
    /// The bottle. The caller owns this slug: no other live bottle of the same state directory has it.
    pub slug: String,
    /// The directory that all bottles of one user share. Holds the lock around choosing an alias, and its path is
    /// the label by which [`super::sweep`] tells our things from those of others.
    pub state_dir: PathBuf,
    /// An image that the daemon has: nothing is pulled.
    pub image: String,
    /// TCP ports inside the container that are published on the alias.
    pub ports: Vec<u16>,
    /// Environment. `docker inspect` shows it: never a token.
    pub env: Vec<(String, String)>,
    /// Instead of the image's command.
    pub command: Option<Vec<String>>,
    /// Instead of the image's user, as docker takes it: a name or number, `:group`.
    pub user: Option<String>,
    /// Files and directories of this machine in the container.
    pub mounts: Vec<Mount>,
    /// Directories in memory, and docker's options for each.
    pub tmpfs: Vec<(String, String)>,
    /// Entries of the container's `/etc/hosts`.
    pub extra_hosts: Vec<(String, IpAddr)>,
    /// What docker runs in the container now and then to see how it is.
    pub health: Option<Vec<String>>,
    /// How tightly the container is held.
    pub hardening: Hardening,
}

/// A file or directory of this machine in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Its path here, absolute.
    pub source: PathBuf,
    /// Its path in the container, absolute.
    pub target: String,
    /// The container cannot write it.
    pub read_only: bool,
}

impl BundleSpec {
    /// A bundle of `image` for the bottle `slug`; nothing is published yet.
    pub fn new(slug: impl Into<String>, state_dir: impl Into<PathBuf>, image: impl Into<String>) -> Self {
        Self {
            slug: slug.into(),
            state_dir: state_dir.into(),
            image: image.into(),
            ports: Vec::new(),
            env: Vec::new(),
            command: None,
            user: None,
            mounts: Vec::new(),
            tmpfs: Vec::new(),
            extra_hosts: Vec::new(),
            health: None,
            hardening: Hardening::default(),
        }
    }

    /// Refuses what docker would misread or what would mean something else in a URL of its API.
    pub(super) fn check(&self) -> Result<(), BundleError> {
        names::check_slug(&self.slug)?;
        let invalid = |what: String| Err(BundleError::InvalidSpec { slug: self.slug.clone(), what });
        let plain =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':' | '@' | '+');
        let starts_well = self.image.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !starts_well || !self.image.chars().all(plain) || self.image.contains("..") {
            return invalid(format!("{:?} is not the name of an image", self.image));
        }
        for (at, port) in self.ports.iter().enumerate() {
            if *port == 0 {
                return invalid("port 0 cannot be published".to_owned());
            }
            if self.ports[..at].contains(port) {
                return invalid(format!("port {port} is there twice"));
            }
        }
        for mount in &self.mounts {
            // Docker would read anything but an absolute path as a volume's name.
            if !mount.source.is_absolute() || mount.source.to_str().is_none() {
                return invalid(format!(
                    "{} cannot be mounted: not an absolute path in UTF-8",
                    mount.source.display()
                ));
            }
        }
        for (key, value) in &self.env {
            if key.is_empty() || key.contains(['=', '\0']) || value.contains('\0') {
                return invalid(format!("the environment variable {key:?} is malformed"));
            }
        }
        Ok(())
    }
}

/// How tightly the container is held. The default fits a daemon that runs as its image's own user and needs no
/// capability. One that starts as root and then changes its user needs `SETUID` and `SETGID` in
/// [`cap_add`](Self::cap_add), or, better, a [`BundleSpec::user`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hardening {
    /// Capabilities, by docker's names. All others are dropped.
    pub cap_add: Vec<String>,
    /// setuid files and file capabilities give nothing.
    pub no_new_privileges: bool,
    /// Memory of the whole container; it gets no swap.
    pub memory_mib: u32,
    /// Processes and threads of the whole container.
    pub pids: u32,
    /// The root file system cannot be written.
    pub read_only_root: bool,
    /// Docker's own init is PID 1: for images whose command neither reaps nor handles signals.
    pub init: bool,
    /// Docker keeps two log files of this size.
    pub log_mib: u32,
}

impl Default for Hardening {
    fn default() -> Self {
        Self {
            cap_add: Vec::new(),
            no_new_privileges: true,
            // A MITM proxy in Python with a few large bodies in flight stays under this; a leak does not take the host.
            memory_mib: 1024,
            pids: 512,
            read_only_root: false,
            init: false,
            log_mib: 10,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_that_docker_would_misread_is_refused() {
        let good = BundleSpec {
            ports: vec![8888, 9099],
            env: vec![("A".into(), "b=c".into())],
            ..BundleSpec::new("one", "/tmp", "registry.example:5000/a/b:tag@sha256:00")
        };
        good.check().unwrap();
        for image in ["", "../containers/json", "a?x=1", "a#b", "-f", "a b", "a/../../b"] {
            assert!(BundleSpec { image: image.into(), ..good.clone() }.check().is_err(), "{image:?}");
        }
        for ports in [vec![0], vec![80, 80]] {
            assert!(BundleSpec { ports, ..good.clone() }.check().is_err());
        }
        for key in ["", "A=B", "A\0"] {
            assert!(BundleSpec { env: vec![(key.into(), String::new())], ..good.clone() }.check().is_err());
        }
    }
}
