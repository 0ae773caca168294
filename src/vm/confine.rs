//! The second wall: what the VMM process may do on the host, whatever its guest has made of it.
//!
//! The first wall is libkrun's: it forwards only what the allowlist has. This one holds when libkrun itself has been taken
//! over. The process puts it around itself before it has a second thread, and closes it ([`seal`]) when the guest is up and
//! nothing of the guest's own has run:
//!
//! ```text
//! kernel library, logs opened ─► erect ─► threads, libkrun, boot ─► "ready" ─► seal ─► the guest's processes
//!                                  │                                             │
//!                                  │ files, TCP, syscalls                        │ no new UNIX sockets, no listeners,
//!                                  └─────────────────────────────────────────────┘ no files opened (without volumes)
//! ```
//!
//! How it is built is the operating system's matter ([`super::sys`]); what a kernel can't give is a part that is missing.

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::sys;

/// Whether a VM may be started when a part of the second wall can't be had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Confine {
    /// It may; `vmm.log` says which parts stand.
    #[default]
    Auto,
    /// It may not.
    Require,
}

/// A word that is no [`Confine`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither `auto` nor `require`")]
pub struct BadConfine(String);

impl FromStr for Confine {
    type Err = BadConfine;

    fn from_str(word: &str) -> Result<Self, BadConfine> {
        match word {
            "auto" => Ok(Self::Auto),
            "require" => Ok(Self::Require),
            _ => Err(BadConfine(word.to_owned())),
        }
    }
}

/// A part of the second wall, on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WallPart {
    /// What it is about: "files", "TCP connections" ...
    pub name: &'static str,
    /// By what it stands, or what there would have to be.
    pub state: Result<String, String>,
}

impl WallPart {
    pub(super) fn new(name: &'static str, state: Result<String, String>) -> Self {
        Self { name, state }
    }
}

impl fmt::Display for WallPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            Ok(how) => write!(f, "{} ({how})", self.name),
            Err(lacking) => write!(f, "{} (it takes {lacking})", self.name),
        }
    }
}

/// The parts of the second wall, and which of them this machine can't give.
pub fn wall_parts() -> Vec<WallPart> {
    sys::wall_parts()
}

/// The parts that are missing, as one text; none if the wall is whole.
pub(super) fn missing(parts: &[WallPart]) -> Option<String> {
    let missing: Vec<String> =
        parts.iter().filter(|part| part.state.is_err()).map(ToString::to_string).collect();
    (!missing.is_empty()).then(|| missing.join(", "))
}

/// All that the VMM may touch.
#[derive(Debug)]
pub(super) struct Limits<'a> {
    /// The directory that its sockets are in.
    pub(super) state_dir: &'a Path,
    /// The sockets in it; where rules go by path, and not by directory.
    #[cfg_attr(target_os = "linux", expect(dead_code, reason = "Landlock's rules need a file that exists"))]
    pub(super) sockets: Vec<&'a Path>,
    /// The disk that it reads and writes.
    pub(super) disk: &'a Path,
    /// What it only reads: the image that the disk lies over.
    pub(super) base: Option<&'a Path>,
    /// Directories that the guest gets.
    pub(super) volumes: Vec<SharedDir>,
    /// The TCP ports that it may connect to.
    pub(super) ports: Vec<RangeInclusive<u16>>,
}

/// A directory of the host's that the guest gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SharedDir {
    pub(super) path: PathBuf,
    pub(super) read_only: bool,
}

/// What of the host's directories a guest has, in all of its volumes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sharing {
    Nothing,
    ToRead,
    ToWrite,
}

impl Limits<'_> {
    #[cfg_attr(
        all(target_os = "macos", not(test)),
        expect(dead_code, reason = "a profile has each volume's rights")
    )]
    pub(super) fn sharing(&self) -> Sharing {
        let of = |volume: &SharedDir| if volume.read_only { Sharing::ToRead } else { Sharing::ToWrite };
        self.volumes.iter().map(of).max().unwrap_or(Sharing::Nothing)
    }
}

/// Puts the wall around this thread, and all that it starts from now on. Returns its parts.
///
/// # Errors
/// When something of the wall could be had and failed; with [`Confine::Require`], also when a part can't be had.
pub(super) fn erect(limits: &Limits<'_>, confine: Confine) -> io::Result<Vec<WallPart>> {
    // For the test of the prober, which is to find what the first wall then lets through.
    if cfg!(feature = "holes") {
        return Ok(Vec::new());
    }
    let parts = sys::erect_wall(limits)?;
    match missing(&parts) {
        Some(missing) if confine == Confine::Require => Err(io::Error::other(format!("missing: {missing}"))),
        _ => Ok(parts),
    }
}

/// Takes away what only a boot needs, from all threads.
pub(super) fn seal(keeps_opening_files: bool) -> io::Result<()> {
    if cfg!(feature = "holes") { Ok(()) } else { sys::seal_wall(keeps_opening_files) }
}

/// What the log says of the wall.
pub(super) fn summary(parts: &[WallPart]) -> String {
    let standing: Vec<String> =
        parts.iter().filter(|part| part.state.is_ok()).map(ToString::to_string).collect();
    let standing = if standing.is_empty() { "nothing".to_owned() } else { standing.join(", ") };
    match missing(parts) {
        Some(missing) => format!("the VMM is confined by: {standing}; missing: {missing}"),
        None => format!("the VMM is confined by: {standing}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_and_the_rest_as_well() {
        let stands = WallPart::new("system calls", Ok("seccomp".to_owned()));
        let lacks = WallPart::new("files", Err("Landlock of Linux 6.10".to_owned()));
        assert_eq!(
            summary(&[stands.clone(), lacks.clone()]),
            "the VMM is confined by: system calls (seccomp); missing: files (it takes Landlock of Linux 6.10)"
        );
        assert_eq!(missing(std::slice::from_ref(&stands)), None);
        assert_eq!(summary(&[stands]), "the VMM is confined by: system calls (seccomp)");
        assert!(summary(&[lacks]).starts_with("the VMM is confined by: nothing; missing: files"));
    }

    #[test]
    fn one_volume_to_write_to_is_enough() {
        let volumes = |read_only: &[bool]| {
            let shared = |read_only: &bool| SharedDir { path: "/v".into(), read_only: *read_only };
            let volumes = read_only.iter().map(shared).collect();
            let nowhere = Path::new("/");
            Limits {
                state_dir: nowhere,
                sockets: Vec::new(),
                disk: nowhere,
                base: None,
                volumes,
                ports: Vec::new(),
            }
            .sharing()
        };
        assert_eq!(volumes(&[]), Sharing::Nothing);
        assert_eq!(volumes(&[true, true]), Sharing::ToRead);
        assert_eq!(volumes(&[true, false]), Sharing::ToWrite);
    }
}
