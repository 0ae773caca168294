//! Where an image comes from, as it is written on the command line (containers-transports(5)).

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::error::ImageError;
use super::registry::Reference;

/// Where an image comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file written by `docker save`, in any of its forms.
    DockerArchive(ImageFile),
    /// An OCI layout in a tar file.
    OciArchive(ImageFile),
    /// A directory with an OCI layout.
    OciLayout(ImageFile),
    /// An image of the local docker daemon, by name or ID.
    DockerDaemon(String),
    /// An image in a registry.
    Registry(Reference),
    /// A name without more: the local docker daemon's, or else that of an image in a registry.
    Name(String),
}

/// An image on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFile {
    /// The archive or directory.
    pub path: PathBuf,
    /// Which image in it, where there are several: a tag in a docker archive, a name or digest of the index in an OCI
    /// layout.
    pub reference: Option<String>,
}

impl ImageFile {
    /// `PATH[:REFERENCE]`: all of it is the path if there is something of that name, otherwise the first colon ends it.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let (path, reference) = match text.split_once(':') {
            Some((path, reference)) if !Path::new(text).exists() => (path, Some(reference)),
            _ => (text, None),
        };
        if path.is_empty() {
            return Err("no path");
        }
        if reference == Some("") {
            return Err("no reference behind the colon");
        }
        Ok(Self { path: path.into(), reference: reference.map(str::to_owned) })
    }
}

impl From<PathBuf> for ImageFile {
    /// The only image in it.
    fn from(path: PathBuf) -> Self {
        Self { path, reference: None }
    }
}

impl fmt::Display for ImageFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reference {
            Some(reference) => write!(f, "{}:{reference}", self.path.display()),
            None => write!(f, "{}", self.path.display()),
        }
    }
}

/// The transports of containers-transports(5) that are not here yet.
const OTHER_TRANSPORTS: [&str; 5] = ["dir:", "containers-storage:", "ostree:", "sif:", "tarball:"];

impl FromStr for Source {
    type Err = ImageError;

    /// `docker-archive:`, `oci-archive:` and `oci:PATH[:REF]`, `docker-daemon:REF` and `docker://REF` are taken by their word.
    /// A bare path to a file is an archive (what it really holds is seen at import), one to an OCI layout is that, and
    /// anything else a name.
    fn from_str(name: &str) -> Result<Self, ImageError> {
        let bad = |reason| ImageError::BadName { name: name.to_owned(), reason };
        if let Some(file) = name.strip_prefix("docker-archive:") {
            return ImageFile::parse(file).map(Self::DockerArchive).map_err(bad);
        }
        if let Some(file) = name.strip_prefix("oci-archive:") {
            return ImageFile::parse(file).map(Self::OciArchive).map_err(bad);
        }
        if let Some(file) = name.strip_prefix("oci:") {
            return ImageFile::parse(file).map(Self::OciLayout).map_err(bad);
        }
        if let Some(reference) = name.strip_prefix("docker-daemon:") {
            check_reference(reference).map_err(bad)?;
            return Ok(Self::DockerDaemon(reference.to_owned()));
        }
        if let Some(reference) = name.strip_prefix("docker://") {
            return reference.parse().map(Self::Registry).map_err(bad);
        }
        if let Some(transport) = OTHER_TRANSPORTS.iter().find(|transport| name.starts_with(**transport)) {
            return Err(ImageError::UnsupportedTransport {
                transport: (*transport).to_owned(),
                name: name.to_owned(),
            });
        }
        let path = Path::new(name);
        if path.is_dir() && path.join("index.json").is_file() {
            return Ok(Self::OciLayout(path.to_owned().into()));
        }
        if path.is_file() {
            return Ok(Self::DockerArchive(path.to_owned().into()));
        }
        // No reference begins like this, so a path was meant.
        if name.starts_with(['/', '.', '~']) {
            return Err(ImageError::Missing(path.to_owned()));
        }
        check_reference(name).map_err(bad)?;
        Ok(Self::Name(name.to_owned()))
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
            Self::DockerArchive(file) => write!(f, "docker-archive:{file}"),
            Self::OciArchive(file) => write!(f, "oci-archive:{file}"),
            Self::OciLayout(file) => write!(f, "oci:{file}"),
            Self::DockerDaemon(reference) => write!(f, "docker-daemon:{reference}"),
            Self::Registry(reference) => write!(f, "docker://{reference}"),
            Self::Name(name) => write!(f, "{name}"),
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
        let only = |path: &str| ImageFile { path: path.into(), reference: None };
        let named = |path: &str, name: &str| ImageFile { path: path.into(), reference: Some(name.into()) };
        let file = file.to_str().unwrap();
        assert_eq!(parse(file).unwrap(), Source::DockerArchive(only(file)));
        assert_eq!(parse("docker-archive:a b").unwrap(), Source::DockerArchive(only("a b")));
        assert_eq!(parse("docker-archive:x:a/b:1").unwrap(), Source::DockerArchive(named("x", "a/b:1")));
        assert_eq!(parse("oci-archive:x.tar").unwrap(), Source::OciArchive(only("x.tar")));
        assert_eq!(parse("oci:layout:latest").unwrap(), Source::OciLayout(named("layout", "latest")));
        let colon = dir.path().join("a:b");
        std::fs::write(&colon, b"x").unwrap();
        let colon = colon.to_str().unwrap();
        assert_eq!(parse(&format!("oci-archive:{colon}")).unwrap(), Source::OciArchive(only(colon)));
        for source in ["docker-archive:x:a:1", "oci-archive:x", "oci:x:y", "docker-daemon:debian:12"] {
            assert_eq!(parse(source).unwrap().to_string(), source);
        }
        for name in ["debian", "host:5000/a/b@sha256:00", "0123456789ab"] {
            assert_eq!(parse(name).unwrap(), Source::Name(name.to_owned()));
        }
        let daemon = parse("docker-daemon:debian:12").unwrap();
        assert_eq!(daemon, Source::DockerDaemon("debian:12".to_owned()));
        let registry = parse("docker://debian").unwrap();
        assert_eq!(registry.to_string(), "docker://docker.io/library/debian:latest");
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
            "oci:",
            "oci:x:",
            "oci-archive::y",
            "docker-daemon:",
            "a b",
            "a?b",
            "docker-daemon:../x",
            "docker://",
            "docker:///a",
            "docker://Debian",
            "docker://../x",
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
    fn a_directory_with_an_index_is_an_oci_layout() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("index.json"), b"{}").unwrap();
        let source = dir.path().to_str().unwrap().parse::<Source>().unwrap();
        assert_eq!(source, Source::OciLayout(dir.path().to_owned().into()));
    }
}
