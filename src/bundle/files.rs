//! The directory of one bundle, below its bottle's.
//!
//! ```text
//! bundle/              0700
//!   config/            mounted read-only at /etc/bottle
//!     init.json        what the container's init runs
//!     pipelock/        pipelock.yaml, ca.pem, ca-key.pem
//!     egress/          egress.json, ca.pem (certificate and key)
//!     upstream-ca/     ca.pem: a copy of the declared one
//!   passwd             mounted read-only at /etc/passwd: ssh and git want their user to have a name
//!   ca.pem             the CA that the guest is to trust
//!   manifest.json      what is in force: the bottle's manifest, and what was granted since
//!   mirrors/           mounted at /var/lib/bottle/mirrors: git-gate's
//!   supervise/         proposals/ and answers/, mounted below /var/lib/bottle, see `crate::proposals`
//!   log/               mounted at /var/log/bottle: NAME.log, NAME.log.old
//! ```
//!
//! Files are 0600. They belong to the user that the container runs as: the user who runs `bottle`, or, where that is root, one that
//! has nothing else.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::ca::{self, Authority};
use super::error::BundleError;
use super::plan::{BundlePlan, EGRESS_CA, EGRESS_PORT, PIPELOCK_CA, PIPELOCK_CA_KEY, UPSTREAM_CA};
use super::plan::{git_gate, pretty, supervise};

/// The user of a container whose launcher is root: the "nonroot" of distroless images, with no file on any system.
const NOBODY: u32 = 65532;
/// The manifest that is in force.
pub(crate) const MANIFEST: &str = "manifest.json";
/// The configurations.
pub(crate) const CONFIG: &str = "config";
/// pipelock's audit log.
pub(crate) const PIPELOCK_LOG: &str = "log/pipelock.log";
/// What the container asks for.
pub(crate) const PROPOSALS: &str = "supervise/proposals";
/// What is said to that.
pub(crate) const ANSWERS: &str = "supervise/answers";
/// git-gate's mirrors.
const MIRRORS: &str = "mirrors";
/// A bundle of CAs has some 200 KiB.
const CA_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Who the container's processes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Files must be given to that user: we are root.
    give: bool,
}

impl Owner {
    /// The user who runs this, or one with no rights if that is root.
    pub(super) fn choose() -> Self {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        if uid.is_root() {
            Self { uid: NOBODY, gid: NOBODY, give: true }
        } else {
            Self { uid: uid.as_raw(), gid: gid.as_raw(), give: false }
        }
    }

    fn take(self, path: &Path) -> io::Result<()> {
        if self.give { std::os::unix::fs::lchown(path, Some(self.uid), Some(self.gid)) } else { Ok(()) }
    }
}

/// The files of a bundle that is to run.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    pub(super) owner: Owner,
    /// The CA that the guest is to trust, PEM.
    pub(super) ca: String,
}

impl Files {
    /// Writes a plan into `dir`, with CAs made for it. What an earlier run left there goes, but for the logs.
    pub(super) fn write(dir: &Path, slug: &str, plan: &BundlePlan) -> Result<Self, BundleError> {
        let owner = Owner::choose();
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| BundleError::File { path, source }
        };
        let config = dir.join(CONFIG);
        let (mirrors, supervise) = (dir.join(MIRRORS), dir.join("supervise"));
        // What was granted to an earlier run, it had asked for.
        for one in [&config, &mirrors, &supervise] {
            match fs::remove_dir_all(one) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(one)(error)),
                _ => {}
            }
        }
        let shared = [supervise, dir.join(PROPOSALS), dir.join(ANSWERS)];
        let shared = shared.into_iter().filter(|_| plan.manifest.supervise);
        let mirrors = (!plan.manifest.git.is_empty()).then_some(mirrors);
        for one in [dir.to_owned(), config.clone(), dir.join("log")].into_iter().chain(mirrors).chain(shared)
        {
            make_dir(&one, owner).map_err(at(&one))?;
        }
        let put = |path: PathBuf, bytes: &[u8]| write_file(&path, bytes, owner).map_err(at(&path));
        let mut files = plan.files.clone();
        let pipelock = ca::mint("pipelock", slug)?;
        files.insert(PIPELOCK_CA.to_owned(), pipelock.certificate.clone().into_bytes());
        files.insert(PIPELOCK_CA_KEY.to_owned(), pipelock.key.clone().into_bytes());
        let mut first_hop = pipelock;
        if plan.first_hop == EGRESS_PORT {
            first_hop = ca::mint("egress", slug)?;
            let Authority { certificate, key } = &first_hop;
            files.insert(EGRESS_CA.to_owned(), format!("{key}{certificate}").into_bytes());
        }
        if let Some(path) = &plan.upstream_ca {
            files.insert(UPSTREAM_CA.to_owned(), read_ca(path).map_err(at(path))?);
        }
        for (name, bytes) in &files {
            let path = config.join(name);
            if let Some(parent) = path.parent() {
                make_dir(parent, owner).map_err(at(parent))?;
            }
            put(path, bytes)?;
        }
        let Owner { uid, gid, .. } = owner;
        let passwd =
            format!("root:x:0:0::/:/usr/sbin/nologin\nbottle:x:{uid}:{gid}::/run/bottle:/usr/sbin/nologin\n");
        put(dir.join("passwd"), passwd.as_bytes())?;
        put(dir.join(MANIFEST), &pretty(&plan.manifest))?;
        put(dir.join("ca.pem"), first_hop.certificate.as_bytes())?;
        Ok(Self { dir: dir.to_owned(), owner, ca: first_hop.certificate })
    }

    /// What is mounted at `/etc/bottle`.
    pub(super) fn config(&self) -> PathBuf {
        self.dir.join("config")
    }

    /// What else is mounted for the daemons of this plan: from here, to there, read-only or not.
    pub(super) fn mounts(&self, plan: &BundlePlan) -> Vec<(PathBuf, &'static str, bool)> {
        let mirrors =
            [(MIRRORS, git_gate::MIRRORS, false)].into_iter().filter(|_| !plan.manifest.git.is_empty());
        let asked = [(PROPOSALS, supervise::PROPOSALS, false), (ANSWERS, supervise::ANSWERS, true)];
        let asked = asked.into_iter().filter(|_| plan.manifest.supervise);
        mirrors.chain(asked).map(|(from, to, read_only)| (self.dir.join(from), to, read_only)).collect()
    }

    /// What is mounted at `/etc/passwd`.
    pub(super) fn passwd(&self) -> PathBuf {
        self.dir.join("passwd")
    }

    /// Where the daemons' logs are.
    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("log")
    }
}

fn make_dir(path: &Path, owner: Owner) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    owner.take(path)
}

/// Puts the file in place whole: a daemon that looks while it changes sees the old one or the new one.
fn write_file(path: &Path, bytes: &[u8], owner: Owner) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    owner.take(&new)?;
    fs::rename(&new, path)
}

/// A file that has certificates in it, and no key.
fn read_ca(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = String::new();
    File::open(path)?.take(CA_MAX_BYTES).read_to_string(&mut text)?;
    let wrong = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    if !text.contains("-----BEGIN CERTIFICATE-----") {
        return wrong("there is no certificate in it (PEM)");
    }
    if text.contains("PRIVATE KEY-----") {
        return wrong("there is a private key in it, which the bundle has no use for");
    }
    Ok(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::manifest::BundleManifest;
    use super::*;

    fn modes(dir: &Path, found: &mut Vec<(PathBuf, u32)>) {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            let meta = entry.metadata().unwrap();
            found.push((entry.path(), meta.permissions().mode() & 0o7777));
            if meta.is_dir() {
                modes(&entry.path(), found);
            }
        }
    }

    #[test]
    fn nothing_is_for_others_and_nothing_old_stays() {
        let state = tempfile::tempdir().unwrap();
        let dir = state.path().join("bundle");
        let plan = BundlePlan::new(&BundleManifest::default()).unwrap();
        let first = Files::write(&dir, "one", &plan).unwrap();
        fs::write(dir.join("config/left-over"), "x").unwrap();
        let second = Files::write(&dir, "one", &plan).unwrap();
        assert_ne!(first.ca, second.ca);
        assert!(!dir.join("config/left-over").exists());
        let mut found = Vec::new();
        modes(state.path(), &mut found);
        assert!(found.len() >= 8, "{found:?}");
        for (path, mode) in found {
            assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
        }
    }

    #[test]
    fn a_ca_file_that_is_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca");
        for (text, why) in [
            ("nothing", "no certificate"),
            ("-----BEGIN CERTIFICATE-----\n-----BEGIN RSA PRIVATE KEY-----", "private key"),
        ] {
            fs::write(&path, text).unwrap();
            assert!(read_ca(&path).unwrap_err().to_string().contains(why));
        }
    }
}
