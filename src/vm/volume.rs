//! Host directories that the guest gets: `HOST:GUEST[:ro]`, by virtiofs.
//!
//! The guest works in such a directory as the user that runs the VMM: that is what it is for. It must therefore hold
//! nothing of which the guest's walls are made, and [`check_volumes`] refuses one that does.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where no directory of the host's goes: the kernel's own file systems.
const KERNELS: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Each is a device with an interrupt of its own, of which libkrun has 11 on x86_64; six are for other devices.
const MOST: usize = if cfg!(target_arch = "x86_64") { 5 } else { 32 };

/// A directory of the host and where the guest has it. One that was read from a file is checked with all others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    host: PathBuf,
    guest: PathBuf,
    read_only: bool,
}

/// Why a directory can't be a volume.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VolumeError {
    /// Not of the form.
    #[error("{text:?} is not a volume: HOST:GUEST, HOST:GUEST:ro")]
    Form {
        /// What was given.
        text: String,
    },
    /// Nothing can be mounted there.
    #[error("a volume can't be mounted on {}: {why}", path.display())]
    Guest {
        /// The path in the guest.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Two of them in the same place.
    #[error("two volumes are to be mounted on {}", path.display())]
    Twice {
        /// The path in the guest.
        path: PathBuf,
    },
    /// More than there can be.
    #[error("{count} volumes can't be had: {most} can")]
    TooMany {
        /// How many were asked for.
        count: usize,
        /// How many there can be.
        most: usize,
    },
    /// It is not there, or may not be looked at.
    #[error("the volume {}: {source}", path.display())]
    Host {
        /// The path on the host.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is a file, for instance.
    #[error("the volume {} is not a directory", path.display())]
    NotADirectory {
        /// The path on the host.
        path: PathBuf,
    },
    /// libkrun takes UTF-8 only.
    #[error("the volume {} has a name that is not UTF-8", path.display())]
    NotUtf8 {
        /// The path on the host.
        path: PathBuf,
    },
    /// It has in it, or is in, what keeps the guest where it is.
    #[error("the volume {} would give the guest {}, where bottles and images are kept", path.display(), wall.display())]
    Wall {
        /// The path on the host.
        path: PathBuf,
        /// What is not for a guest.
        wall: PathBuf,
    },
}

impl VolumeError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Form { .. } => Some("for example `-v ./src:/src:ro`"),
            Self::Guest { .. } | Self::Twice { .. } => Some("choose another directory in the guest"),
            Self::TooMany { .. } => Some("share a directory that holds several of them"),
            Self::Host { .. } => Some("make the directory first: unlike docker, bottle does not"),
            Self::NotADirectory { .. } => Some("share the directory it is in, or copy it with `bottle cp`"),
            Self::NotUtf8 { .. } => Some("rename it"),
            Self::Wall { .. } => Some("share a directory further down"),
        }
    }
}

impl Volume {
    /// `host` may be relative to the current directory; `guest` must be absolute.
    ///
    /// # Errors
    /// When nothing can be mounted on `guest`.
    pub fn new(
        host: impl AsRef<Path>,
        guest: impl AsRef<Path>,
        read_only: bool,
    ) -> Result<Self, VolumeError> {
        let host = host.as_ref();
        let absolute = std::path::absolute(host);
        let host = absolute.map_err(|source| VolumeError::Host { path: host.to_owned(), source })?;
        Ok(Self { host, guest: normal(guest.as_ref())?, read_only })
    }

    /// The directory of the host.
    pub fn host(&self) -> &Path {
        &self.host
    }

    /// Where the guest has it: absolute, without `.`, `..` or a slash too many.
    pub fn guest(&self) -> &Path {
        &self.guest
    }

    /// Can the guest only read it?
    pub fn read_only(&self) -> bool {
        self.read_only
    }

    /// The directory itself, links resolved.
    fn real_host(&self) -> Result<PathBuf, VolumeError> {
        let path = || self.host.clone();
        let failed = |source| VolumeError::Host { path: path(), source };
        let real = fs::canonicalize(&self.host).map_err(failed)?;
        if !fs::metadata(&real).map_err(failed)?.is_dir() {
            return Err(VolumeError::NotADirectory { path: path() });
        }
        if real.to_str().is_none() {
            return Err(VolumeError::NotUtf8 { path: path() });
        }
        Ok(real)
    }
}

impl FromStr for Volume {
    type Err = VolumeError;

    fn from_str(text: &str) -> Result<Self, VolumeError> {
        let form = || VolumeError::Form { text: text.to_owned() };
        let parts: Vec<&str> = text.split(':').collect();
        let (host, guest, read_only) = match parts[..] {
            [host, guest] | [host, guest, "rw"] => (host, guest, false),
            [host, guest, "ro"] => (host, guest, true),
            _ => return Err(form()),
        };
        if host.is_empty() || guest.is_empty() {
            return Err(form());
        }
        Self::new(host, guest, read_only)
    }
}

/// The path in the guest, if something can be mounted there.
fn normal(path: &Path) -> Result<PathBuf, VolumeError> {
    let bad = |why| Err(VolumeError::Guest { path: path.to_owned(), why });
    if !path.is_absolute() {
        return bad("it is not an absolute path");
    }
    if path.as_os_str().as_bytes().contains(&0) {
        return bad("it has a NUL byte in it");
    }
    let mut normal = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => return bad("it has `..` in it"),
            _ => {}
        }
    }
    if normal == Path::new("/") {
        return bad("that is the guest's root");
    }
    if KERNELS.iter().any(|kernels| normal.starts_with(kernels)) {
        return bad("that is for the guest's kernel");
    }
    Ok(normal)
}

/// Refuses volumes that can't be, together or each: `walls` are the files and directories that no guest may get at.
/// Returns them with their hosts' real paths, those first in whose directories others are mounted.
///
/// # Errors
/// [`VolumeError`] for the first that can't be.
pub fn check_volumes(volumes: &[Volume], walls: &[PathBuf]) -> Result<Vec<Volume>, VolumeError> {
    if volumes.len() > MOST {
        return Err(VolumeError::TooMany { count: volumes.len(), most: MOST });
    }
    let walls: Vec<PathBuf> = walls.iter().map(|wall| real(wall)).collect();
    let mut checked = Vec::new();
    for volume in volumes {
        let (host, guest) = (volume.real_host()?, normal(&volume.guest)?);
        if let Some(wall) = walls.iter().find(|wall| wall.starts_with(&host) || host.starts_with(wall)) {
            return Err(VolumeError::Wall { path: volume.host.clone(), wall: wall.clone() });
        }
        checked.push(Volume { host, guest, read_only: volume.read_only });
    }
    checked.sort_by(|a, b| a.guest.cmp(&b.guest));
    if let Some(pair) = checked.windows(2).find(|pair| pair[0].guest == pair[1].guest) {
        return Err(VolumeError::Twice { path: pair[0].guest.clone() });
    }
    Ok(checked)
}

/// A path with its links resolved, as far as it exists.
fn real(path: &Path) -> PathBuf {
    let existing = path.ancestors().find_map(|ancestor| {
        let real = fs::canonicalize(ancestor).ok()?;
        Some(real.join(path.strip_prefix(ancestor).ok()?))
    });
    // Joining nothing leaves a slash behind, which makes no difference to a comparison of components.
    existing.unwrap_or_else(|| path.to_owned())
}

/// The tag by which the guest's kernel knows the volume of that number.
pub(super) fn tag(number: usize) -> String {
    format!("volume{number}")
}

/// For the guest's configuration.
pub(super) fn for_guest(volumes: &[Volume]) -> Vec<bottle_protocol::Volume> {
    let guests = volumes.iter().enumerate().map(|(number, volume)| bottle_protocol::Volume {
        tag: tag(number),
        mountpoint: OsStr::as_bytes(volume.guest.as_os_str()).to_vec().into(),
        read_only: volume.read_only,
    });
    guests.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_written_as_docker_has_it() {
        let volume: Volume = "/srv/a:/data//x/./:ro".parse().unwrap();
        assert_eq!((volume.host(), volume.guest()), (Path::new("/srv/a"), Path::new("/data/x")));
        assert!(volume.read_only() && !"/a:/b:rw".parse::<Volume>().unwrap().read_only());
        let here = std::env::current_dir().unwrap();
        assert_eq!("src:/src".parse::<Volume>().unwrap().host(), here.join("src"));
        for text in ["", "/a", "/a:", ":/a", "/a:/b:x", "/a:/b:ro:ro", "/a:/b:"] {
            assert!(matches!(text.parse::<Volume>(), Err(VolumeError::Form { .. })), "{text}");
        }
    }

    #[test]
    fn nothing_is_mounted_on_the_guests_root_or_its_kernels_directories() {
        for guest in
            ["/", "//", "/.", "/proc", "/proc/self", "/sys/", "/dev/shm", "/./dev", "data", "/a/../proc"]
        {
            assert!(matches!(Volume::new("/", guest, true), Err(VolumeError::Guest { .. })), "{guest}");
        }
        for guest in ["/process", "/home/dev", "/run/x"] {
            assert!(Volume::new("/", guest, true).is_ok(), "{guest}");
        }
    }

    #[test]
    fn what_a_bottle_is_made_of_is_not_for_its_guest() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir_all(at("state/bottle/one")).unwrap();
        fs::create_dir_all(at("src")).unwrap();
        fs::write(at("file"), "").unwrap();
        std::os::unix::fs::symlink(at("state"), at("link")).unwrap();
        // One that does not exist yet counts as well.
        let walls = [at("state/bottle"), at("cache/bottle")];
        let check = |host: PathBuf| check_volumes(&[Volume::new(host, "/v", true).unwrap()], &walls);
        for host in ["", "state", "state/bottle", "state/bottle/one", "link", "link/bottle/one"] {
            assert!(matches!(check(at(host)), Err(VolumeError::Wall { .. })), "{host}");
        }
        assert_eq!(check(at("src")).unwrap()[0].guest(), Path::new("/v"));
        assert!(matches!(check(at("file")), Err(VolumeError::NotADirectory { .. })));
        assert!(matches!(check(at("missing")), Err(VolumeError::Host { .. })));
    }

    #[test]
    fn two_in_one_place_are_refused_and_outer_ones_come_first() {
        let dir = tempfile::tempdir().unwrap();
        let at = |guest: &str| Volume::new(dir.path(), guest, false).unwrap();
        assert!(matches!(check_volumes(&[at("/a"), at("/a/")], &[]), Err(VolumeError::Twice { .. })));
        let sorted = check_volumes(&[at("/a/b/c"), at("/b"), at("/a/b")], &[]).unwrap();
        let guests: Vec<_> = sorted.iter().map(|volume| volume.guest().to_owned()).collect();
        assert_eq!(guests, ["/a/b", "/a/b/c", "/b"].map(PathBuf::from));
        assert!(matches!(check_volumes(&vec![at("/a"); MOST + 1], &[]), Err(VolumeError::TooMany { .. })));
    }
}
