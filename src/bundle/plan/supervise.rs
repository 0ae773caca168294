//! The plan of supervise: what the agent may ask for, and where that goes.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use bottle_gates::git_gate::GitGateConfig;
use bottle_gates::supervise::SuperviseConfig;
use bottle_protocol::bundle::{Daemon, Reload};

use super::{Part, SIDECAR, in_container, pretty};

/// Where it listens in the container.
pub const PORT: u16 = 9100;

/// Its configuration, below the directory that is mounted read-only.
pub const CONFIG: &str = "supervise/supervise.json";

/// Where the container finds the directories of proposals, to write, and of answers, read-only.
pub const PROPOSALS: &str = "/var/lib/bottle/proposals";
/// See [`PROPOSALS`].
pub const ANSWERS: &str = "/var/lib/bottle/answers";

/// How long a call waits before the agent is told that there is no answer yet. Ten minutes: people are seldom faster, and
/// clients that give a tool less can ask again without asking the operator twice.
const WAIT_SECONDS: u64 = 600;

/// What supervise is to do beside this git gate, if there is one.
pub fn plan(git_gate: Option<&GitGateConfig>) -> SuperviseConfig {
    let upstreams = git_gate.map(|config| config.upstreams.as_slice()).unwrap_or_default();
    SuperviseConfig {
        listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)),
        proposals: PathBuf::from(PROPOSALS),
        answers: PathBuf::from(ANSWERS),
        wait_seconds: WAIT_SECONDS,
        upstreams: upstreams.iter().map(|upstream| upstream.name.clone()).collect(),
    }
}

/// Its part of a plan.
pub(super) fn part(config: &SuperviseConfig) -> Part {
    Part {
        daemon: Daemon {
            name: "supervise".to_owned(),
            argv: vec![SIDECAR.to_owned(), "supervise".to_owned(), in_container(CONFIG)],
            env: BTreeMap::new(),
            port: Some(PORT),
            reload: Reload::Hangup,
            secrets: false,
        },
        files: [(CONFIG.to_owned(), pretty(config))].into(),
    }
}
