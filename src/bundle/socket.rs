//! Where docker's socket is, found as the docker CLI finds it: `DOCKER_HOST`, the context in use, then the usual places.
//!
//! A context is a directory named after the SHA-256 of its name,
//! `~/.docker/contexts/meta/<sha256>/meta.json` = `{"Endpoints":{"docker":{"Host":"unix:///…"}}}`; the one in use is
//! `DOCKER_CONTEXT`, or `currentContext` in `~/.docker/config.json`.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::error::BundleError;
use super::sys;

/// The context that means "no context": the default socket.
const DEFAULT_CONTEXT: &str = "default";

/// The socket of the daemon that the docker CLI would use.
pub(crate) fn docker_socket() -> Result<PathBuf, BundleError> {
    Surroundings::of_process().socket()
}

/// What the search depends on, taken from the process's environment once.
#[derive(Debug, Default)]
pub(super) struct Surroundings {
    docker_host: Option<String>,
    docker_context: Option<String>,
    docker_config: Option<PathBuf>,
    home: Option<PathBuf>,
    runtime_dir: Option<PathBuf>,
}

impl Surroundings {
    /// As this process has them. A variable that is empty counts as unset, as it does for docker.
    pub(super) fn of_process() -> Self {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let path = |name: &str| text(name).map(PathBuf::from);
        Self {
            docker_host: text("DOCKER_HOST"),
            docker_context: text("DOCKER_CONTEXT"),
            docker_config: path("DOCKER_CONFIG"),
            home: path("HOME"),
            runtime_dir: path("XDG_RUNTIME_DIR"),
        }
    }

    /// The socket to use. Whether a daemon listens there is the caller's to find out.
    pub(super) fn socket(&self) -> Result<PathBuf, BundleError> {
        if let Some(host) = &self.docker_host {
            return unix_path("DOCKER_HOST".to_owned(), host);
        }
        if let Some(socket) = self.context_socket()? {
            return Ok(socket);
        }
        let mut tried = vec![PathBuf::from("/var/run/docker.sock")];
        tried.extend(sys::user_sockets(self.home.as_deref(), self.runtime_dir.as_deref()));
        match tried.iter().find(|path| path.exists()) {
            Some(socket) => Ok(socket.clone()),
            None => Err(BundleError::NoDaemon { tried }),
        }
    }

    fn context_socket(&self) -> Result<Option<PathBuf>, BundleError> {
        let config_dir = self.docker_config.clone().or_else(|| Some(self.home.as_ref()?.join(".docker")));
        let Some(config_dir) = config_dir else { return Ok(None) };
        let name = match &self.docker_context {
            Some(name) => Some(name.clone()),
            None => current_context(&config_dir),
        };
        let Some(name) = name.filter(|name| name != DEFAULT_CONTEXT) else { return Ok(None) };
        let bad = |reason: String| BundleError::BadContext { name: name.clone(), reason };

        let digest = Sha256::digest(name.as_bytes());
        let directory: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let meta = config_dir.join("contexts/meta").join(directory).join("meta.json");
        let text =
            std::fs::read_to_string(&meta).map_err(|error| bad(format!("{}: {error}", meta.display())))?;
        let context: Context =
            serde_json::from_str(&text).map_err(|error| bad(format!("{}: {error}", meta.display())))?;
        unix_path(format!("the host of docker context {name:?}"), &context.endpoints.docker.host).map(Some)
    }
}

/// The context that `docker context use` chose. A config file that cannot be read chooses nothing, as with docker.
fn current_context(config_dir: &Path) -> Option<String> {
    let text = std::fs::read_to_string(config_dir.join("config.json")).ok()?;
    match serde_json::from_str::<Config>(&text) {
        Ok(config) => config.current_context.filter(|name| !name.is_empty()),
        Err(error) => {
            log::warn!("{}: {error}", config_dir.join("config.json").display());
            None
        }
    }
}

fn unix_path(origin: String, value: &str) -> Result<PathBuf, BundleError> {
    match value.strip_prefix("unix://") {
        Some(path) if path.starts_with('/') => Ok(PathBuf::from(path)),
        _ => Err(BundleError::UnsupportedHost { origin, value: value.to_owned() }),
    }
}

#[derive(Deserialize)]
struct Config {
    #[serde(rename = "currentContext")]
    current_context: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Context {
    endpoints: Endpoints,
}

#[derive(Deserialize)]
struct Endpoints {
    docker: Endpoint,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Endpoint {
    host: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_host(host: &str) -> Surroundings {
        Surroundings { docker_host: Some(host.to_owned()), ..Surroundings::default() }
    }

    #[test]
    fn docker_host_wins_and_must_be_a_unix_socket() {
        assert_eq!(with_host("unix:///run/d.sock").socket().unwrap(), Path::new("/run/d.sock"));
        for other in ["tcp://127.0.0.1:2375", "ssh://host", "unix://relative", "/run/docker.sock"] {
            let error = with_host(other).socket().unwrap_err();
            assert!(matches!(error, BundleError::UnsupportedHost { .. }), "{other}: {error}");
        }
    }

    #[test]
    fn the_context_in_use_is_followed() {
        let home = tempfile::tempdir().unwrap();
        // printf colima | sha256sum
        let hash = "f24fd3749c1368328e2b149bec149cb6795619f244c5b584e844961215dadd16";
        let meta = home.path().join(".docker/contexts/meta").join(hash);
        std::fs::create_dir_all(&meta).unwrap();
        std::fs::write(home.path().join(".docker/config.json"), r#"{"currentContext":"colima"}"#).unwrap();
        let surroundings = Surroundings { home: Some(home.path().to_owned()), ..Surroundings::default() };
        let missing = surroundings.socket().unwrap_err();
        assert!(matches!(missing, BundleError::BadContext { .. }), "{missing}");

        let text = r#"{"Name":"colima","Endpoints":{"docker":{"Host":"unix:///h/colima.sock"}}}"#;
        std::fs::write(meta.join("meta.json"), text).unwrap();
        assert_eq!(surroundings.socket().unwrap(), Path::new("/h/colima.sock"));

        let default = Surroundings { docker_context: Some("default".to_owned()), ..surroundings };
        assert!(default.context_socket().unwrap().is_none());
    }
}
