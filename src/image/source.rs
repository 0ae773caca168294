//! Where an image comes from, as it is written on the command line (containers-transports(5)).

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::error::ImageError;

/// Where an image comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file written by `docker save`, in any of its forms.
    DockerArchive(PathBuf),
    /// An image of the local docker daemon, by name or ID.
    DockerDaemon(String),
}

/// The transports of containers-transports(5) that are not here yet.
const OTHER_TRANSPORTS: [&str; 8] =
    ["oci:", "oci-archive:", "docker://", "dir:", "containers-storage:", "ostree:", "sif:", "tarball:"];

impl FromStr for Source {
    type Err = ImageError;

    /// `docker-archive:PATH` and `docker-daemon:REF` are taken by their word. A bare path that exists is an archive
    /// (what it really holds is seen at import), anything else a reference in the local docker daemon.
    fn from_str(name: &str) -> Result<Self, ImageError> {
        let bad = |reason| ImageError::BadName { name: name.to_owned(), reason };
        if let Some(path) = name.strip_prefix("docker-archive:") {
            return if path.is_empty() { Err(bad("no path")) } else { Ok(Self::DockerArchive(path.into())) };
        }
        if let Some(reference) = name.strip_prefix("docker-daemon:") {
            check_reference(reference).map_err(bad)?;
            return Ok(Self::DockerDaemon(reference.to_owned()));
        }
        if let Some(transport) = OTHER_TRANSPORTS.iter().find(|transport| name.starts_with(**transport)) {
            return Err(ImageError::UnsupportedTransport {
                transport: (*transport).to_owned(),
                name: name.to_owned(),
            });
        }
        let path = Path::new(name);
        if path.is_dir() && path.join("index.json").is_file() {
            return Err(ImageError::UnsupportedTransport {
                transport: "oci:".to_owned(),
                name: name.to_owned(),
            });
        }
        if path.is_file() {
            return Ok(Self::DockerArchive(path.to_owned()));
        }
        // No reference begins like this, so a path was meant.
        if name.starts_with(['/', '.', '~']) {
            return Err(ImageError::Missing(path.to_owned()));
        }
        check_reference(name).map_err(bad)?;
        Ok(Self::DockerDaemon(name.to_owned()))
    }
}

/// Only what can be in a reference: the name becomes part of a URL's path in the daemon's API.
fn check_reference(reference: &str) -> Result<(), &'static str> {
    if reference.is_empty() {
        return Err("no name");
    }
    if reference.len() > 512 {
        return Err("longer than 512 bytes");
    }
    if !reference.bytes().all(|c| c.is_ascii_alphanumeric() || b"._-/:@".contains(&c)) {
        return Err("a reference has only letters, digits and . _ - / : @");
    }
    if !reference.as_bytes()[0].is_ascii_alphanumeric()
        || reference.split('/').any(|part| matches!(part, "" | "." | ".."))
    {
        return Err("not of the form [HOST/]NAME[:TAG][@DIGEST]");
    }
    Ok(())
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DockerArchive(path) => write!(f, "docker-archive:{}", path.display()),
            Self::DockerDaemon(reference) => write!(f, "docker-daemon:{reference}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_recognised() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("image.tar");
        std::fs::write(&file, b"x").unwrap();
        let parse = |text: &str| text.parse::<Source>();
        assert_eq!(parse(file.to_str().unwrap()).unwrap(), Source::DockerArchive(file.clone()));
        assert_eq!(parse("docker-archive:a b").unwrap(), Source::DockerArchive("a b".into()));
        for reference in ["debian", "docker-daemon:debian:12", "host:5000/a/b@sha256:00"] {
            let source = parse(reference).unwrap();
            assert_eq!(
                source,
                Source::DockerDaemon(reference.trim_start_matches("docker-daemon:").to_owned())
            );
        }
    }

    #[test]
    fn what_cannot_be_an_image_is_said_to_be_none() {
        let parse = |text: &str| text.parse::<Source>().unwrap_err();
        for transport in OTHER_TRANSPORTS {
            let error = parse(&format!("{transport}x"));
            assert!(matches!(error, ImageError::UnsupportedTransport { .. }), "{error}");
            assert!(error.hint().is_some());
        }
        for bad in [
            "",
            "docker-archive:",
            "docker-daemon:",
            "a b",
            "a?b",
            "docker-daemon:../x",
            "a//b",
            "a/../b",
            "-x",
        ] {
            assert!(matches!(parse(bad), ImageError::BadName { .. }), "{bad}");
        }
        for path in ["/no/such/file.tar", "./no-such.tar"] {
            assert!(matches!(parse(path), ImageError::Missing(_)), "{path}");
        }
    }

    #[test]
    fn an_oci_directory_is_named_as_such() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("index.json"), b"{}").unwrap();
        let error = dir.path().to_str().unwrap().parse::<Source>().unwrap_err();
        assert!(matches!(error, ImageError::UnsupportedTransport { .. }), "{error}");
    }
}
