//! What is to run, in what and behind what: complete, and without a trace of the command line.
//!
//! [`prepare()`] makes one of a manifest and the command line, and [`preflight()`] says in words what it gives.
//!
//! A [`Plan`] is what [`launch`](crate::launch) carries out, what the background launcher is handed, and what a bottle's record
//! keeps ([`state::Record`](crate::state::Record)), so that the bottle can be resumed.

mod preflight;
mod prepare;
mod provide;
mod provider;
mod text;

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

use crate::bundle::BundleManifest;
use crate::image::{ImportOptions, Source};
use crate::vm::{AllowRule, Confine, DiskSize, Volume};
pub use preflight::{Line, preflight};
pub use prepare::{AGENT_IMAGE, DAEMONS_IMAGE, PrepareError, Prepared, Request, prepare, wants_codex_login};
pub use provide::{GitUser, HomeFile, PROMPT, Provide, WORKSPACE};
pub use provider::{CodexLogin, CodexLoginError};
use text::Text;

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// The bottle's name, and the guest's host name; a random one if not given.
    pub name: Option<String>,
    /// The image of the guest.
    #[serde(with = "text::display")]
    pub image: Source,
    /// How it is imported.
    pub import: ImportOptions,
    /// The VM's size.
    pub machine: Machine,
    /// What the guest may connect to, beside its bundle.
    pub allow: Vec<AllowRule>,
    /// The container that is the guest's way out.
    pub bundle: Option<BundleRequest>,
    /// The process.
    pub process: Process,
    /// What it finds in the guest.
    #[serde(default)]
    pub provide: Provide,
    /// What the manifest calls it, if it is of one.
    #[serde(default)]
    pub called: Option<Called>,
    /// The bottle stays when its process has ended, to be resumed, until it is removed.
    pub keep: bool,
}

/// Names of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Called {
    /// The agent, if it is one's.
    pub agent: Option<String>,
    /// The bottle.
    pub bottle: String,
}

/// The machine to run in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Virtual processors; the default of [`VmConfig`](crate::vm::VmConfig) if not given.
    pub cpus: Option<u8>,
    /// Memory in MiB; the default of [`VmConfig`](crate::vm::VmConfig) if not given.
    pub memory_mib: Option<u32>,
    /// The disk's size; that for which the image is made if not given: 16 GiB, more for a large one.
    pub disk_size: Option<DiskSize>,
    /// Directories of the host that the guest gets.
    #[serde(default)]
    pub volumes: Vec<Volume>,
    /// What of the second wall around the VM must be there.
    #[serde(default)]
    pub confine: Confine,
}

/// The bundle's container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BundleRequest {
    /// A container of the user's own, in which a proxy listens.
    Proxy {
        /// An image that the docker daemon has.
        image: String,
        /// The port, inside the container, of the proxy that the guest may reach.
        port: u16,
    },
    /// The daemons that a manifest asks for.
    Daemons {
        /// An image that the docker daemon has, made of `images/sidecars/`.
        image: String,
        /// What the guest may reach by them.
        manifest: Box<BundleManifest>,
    },
}

impl BundleRequest {
    /// The image of the container.
    pub fn image(&self) -> &str {
        match self {
            Self::Proxy { image, .. } | Self::Daemons { image, .. } => image,
        }
    }
}

/// The process: what the user says instead of what the image says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Process {
    /// Instead of the image's `ENTRYPOINT`; an empty one means none.
    pub entrypoint: Option<OsString>,
    /// Instead of the image's `CMD`; empty means the image's.
    pub args: Vec<OsString>,
    /// Added to the image's environment.
    pub env: Vec<(OsString, OsString)>,
    /// Instead of the image's `USER`.
    pub user: Option<String>,
    /// Instead of the image's `WORKDIR`.
    pub cwd: Option<OsString>,
    /// It gets our stdin; else its stdin is empty.
    pub interactive: bool,
    /// It gets a terminal; with our stdin, ours is its other end.
    pub tty: bool,
}

/// A [`Process`] in JSON, which has no bytes.
#[derive(Serialize, Deserialize)]
struct Written {
    entrypoint: Option<Text>,
    args: Vec<Text>,
    env: Vec<(Text, Text)>,
    user: Option<String>,
    cwd: Option<Text>,
    interactive: bool,
    tty: bool,
}

impl From<Process> for Written {
    fn from(process: Process) -> Self {
        let Process { entrypoint, args, env, user, cwd, interactive, tty } = process;
        Self {
            entrypoint: entrypoint.map(Text::from),
            args: args.into_iter().map(Text::from).collect(),
            env: env.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            user,
            cwd: cwd.map(Text::from),
            interactive,
            tty,
        }
    }
}

impl From<Written> for Process {
    fn from(written: Written) -> Self {
        let Written { entrypoint, args, env, user, cwd, interactive, tty } = written;
        Self {
            entrypoint: entrypoint.map(OsString::from),
            args: args.into_iter().map(OsString::from).collect(),
            env: env.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            user,
            cwd: cwd.map(OsString::from),
            interactive,
            tty,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn a_plan_comes_back_from_json_as_it_was() {
        let odd = OsString::from_vec(vec![b'a', 0xff]);
        let process = Process {
            entrypoint: Some("sh".into()),
            args: vec!["-c".into(), odd.clone()],
            env: vec![("A".into(), odd)],
            user: Some("1000:1000".to_owned()),
            cwd: Some("/tmp".into()),
            interactive: true,
            tty: true,
        };
        let plan = Plan {
            name: Some("one".to_owned()),
            image: "docker-archive:/a/b.tar:name".parse().unwrap(),
            import: ImportOptions::default(),
            machine: Machine {
                cpus: Some(2),
                memory_mib: None,
                disk_size: Some("40G".parse().unwrap()),
                volumes: vec!["/srv:/srv:ro".parse().unwrap()],
                confine: Confine::Require,
            },
            allow: vec!["tcp:127.0.0.16:40123".parse().unwrap()],
            bundle: Some(BundleRequest::Proxy { image: "proxy".to_owned(), port: 8888 }),
            process: process.clone(),
            provide: Provide::default(),
            called: Some(Called { agent: Some("one".to_owned()), bottle: "dev".to_owned() }),
            keep: true,
        };
        let json = serde_json::to_string(&plan).unwrap();
        assert!(json.contains(r#""allow":["tcp:127.0.0.16:40123"]"#), "{json}");
        assert!(json.contains(r#""args":["-c",[97,255]]"#), "{json}");
        let again: Plan = serde_json::from_str(&json).unwrap();
        assert_eq!(again.process, process);
        assert_eq!(again.image, plan.image);
        assert_eq!((again.machine, again.allow, again.bundle), (plan.machine, plan.allow, plan.bundle));
        assert_eq!((again.provide, again.called), (plan.provide, plan.called));
        for wrong in [json.replace("tcp:", "udp:"), json.replace("40960", "0")] {
            assert_ne!(wrong, json);
            assert!(serde_json::from_str::<Plan>(&wrong).is_err(), "{wrong}");
        }
    }
}
