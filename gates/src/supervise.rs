//! What supervise is to do: `supervise.json`.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuperviseConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where it puts proposals.
    pub proposals: PathBuf,
    /// Where it finds answers.
    pub answers: PathBuf,
    /// How long a call waits for an answer. Then the agent is told that there is none yet.
    pub wait_seconds: u64,
    /// The upstreams of the git gate: push rules can be asked for these only.
    pub upstreams: Vec<String>,
}
