//! What a microVM is to be.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bottle_protocol::{EnvVar, GuestConfig};

use super::volume::{self, Volume};
use super::{AllowRule, Confine, DiskSize, KernelLibrary};
use crate::image::Image;

/// Two, so that an agent and what it runs do not wait for each other; more cost memory in the guest kernel.
pub(crate) const DEFAULT_CPUS: u8 = 2;

/// Enough for a coding agent and a build beside it. It is not taken from the host before the guest uses it.
pub(crate) const DEFAULT_MEMORY_MIB: u32 = 2048;

/// A boot takes a fraction of a second where the processor virtualises, and some seconds where it is emulated with
/// other work beside it. A guest that has not answered by then is not going to.
const DEFAULT_BOOT_TIMEOUT: Duration = Duration::from_secs(120);

/// What a microVM is to be: what [`VmConfig::new`] takes, and fields that have defaults, to be set as wanted.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct VmConfig {
    /// A directory of the VM's own, that exists and that only its owner may enter. The sockets `agent.sock` and `ready.sock`
    /// and the logs `console.log` (what the guest's kernel prints), `vmm.log` (what libkrun does) and `denials.log` (what it
    /// refused) go there. The path of a
    /// socket in it must fit into 107 bytes (103 on macOS). Whoever made the directory removes it.
    pub state_dir: PathBuf,
    /// The root disk, a qcow2 image ([`super::create_overlay`]) with an ext4 file system.
    pub disk: PathBuf,
    /// The image that the disk lies over: all that the VMM may read beside the disk. If not given, it is what the disk's header
    /// says, which is to be trusted only of a disk that no guest has run on: its VMM can write what it likes there.
    pub base: Option<PathBuf>,
    /// The guest grows the file system on the disk to that, before anything runs in it. The disk must have the size
    /// already. Not given, the file system stays as it is.
    pub disk_size: Option<DiskSize>,
    /// The guest's name, at most 64 bytes.
    pub hostname: String,
    /// Virtual processors.
    pub cpus: u8,
    /// Memory, in MiB.
    pub memory_mib: u32,
    /// What the guest may connect to. Nothing: there is no network at all, not even the device's support for one.
    pub allow: Vec<AllowRule>,
    /// Directories of the host that the guest gets.
    pub volumes: Vec<Volume>,
    /// The environment of every process that is run through the agent.
    pub env: Vec<(String, String)>,
    /// The user of a process that names none, as `USER` of an image has it; root if empty.
    pub user: String,
    /// The working directory of a process that names none; `/` if empty. Made if it is not there.
    pub working_dir: String,
    /// What of the second wall around the VMM must be there.
    pub confine: Confine,
    /// How long the guest has from its start until its agent answers.
    pub boot_timeout: Duration,
    /// The VM outlives the process that started it, and the handle.
    pub detached: bool,
    /// The guest kernel; looked for if not given, as [`find_kernel_library`](super::find_kernel_library) does.
    pub kernel: Option<KernelLibrary>,
    /// The program that becomes the VMM, for those that can't: plugins, or tests under a harness. It must be built with
    /// this version of this library; `bottle` itself is one such program. If not given it is this program, whose `main`
    /// calls [`become_vmm_if_asked`](super::become_vmm_if_asked).
    pub vmm_program: Option<PathBuf>,
    /// A locked file (flock) that the VMM holds open for as long as it lives: who gets the lock knows that the VM is gone,
    /// however it and its parent ended.
    pub lock: Option<Arc<File>>,
    /// Over whose `base` the disk lies: a lock, nothing else is read from it.
    pub(super) image: Option<Image>,
}

impl VmConfig {
    /// A VM that boots from `disk` and keeps its sockets and logs in `state_dir`.
    pub fn new(state_dir: impl Into<PathBuf>, disk: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            disk: disk.into(),
            base: None,
            disk_size: None,
            hostname: "bottle".to_owned(),
            cpus: DEFAULT_CPUS,
            memory_mib: DEFAULT_MEMORY_MIB,
            allow: Vec::new(),
            volumes: Vec::new(),
            env: Vec::new(),
            user: String::new(),
            working_dir: String::new(),
            confine: Confine::default(),
            boot_timeout: DEFAULT_BOOT_TIMEOUT,
            detached: false,
            kernel: None,
            vmm_program: None,
            lock: None,
            image: None,
        }
    }

    /// Takes over what the disk's image says about its processes: environment, user and working directory. The image can't be
    /// removed from the store while there is this configuration, or the handle of a VM with it.
    #[must_use]
    pub fn image(mut self, image: &Image) -> Self {
        self.env.clone_from(&image.config.env);
        self.user = image.config.user.clone().unwrap_or_default();
        self.working_dir = image.config.working_dir.clone().unwrap_or_default();
        self.image = Some(image.clone());
        self
    }

    /// Where the VMM takes connections for the guest agent.
    pub fn agent_socket(&self) -> PathBuf {
        self.state_dir.join("agent.sock")
    }

    /// Where the guest reports that it is up.
    pub(super) fn ready_socket(&self) -> PathBuf {
        self.state_dir.join("ready.sock")
    }

    /// What the guest's init reads, with the volumes as they were checked.
    pub(super) fn guest_config(&self, volumes: &[Volume], wall_clock_unix_ns: u64) -> GuestConfig {
        GuestConfig {
            hostname: self.hostname.clone(),
            env: self.env.iter().map(|(name, value)| EnvVar::new(name.as_str(), value.as_str())).collect(),
            default_user: self.user.clone().into_bytes().into(),
            default_cwd: self.working_dir.clone().into_bytes().into(),
            root_bytes: self.disk_size.map(DiskSize::bytes),
            network: !self.allow.is_empty(),
            volumes: volume::for_guest(volumes),
            wall_clock_unix_ns,
            ..GuestConfig::default()
        }
    }
}

/// What libkrun prints.
pub(crate) fn vmm_log(state_dir: &Path) -> PathBuf {
    state_dir.join("vmm.log")
}

/// What libkrun refused.
pub(crate) fn denials_log(state_dir: &Path) -> PathBuf {
    state_dir.join("denials.log")
}

/// What the guest's kernel and init print.
pub(crate) fn console_log(state_dir: &Path) -> PathBuf {
    state_dir.join("console.log")
}
