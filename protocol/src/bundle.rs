//! What the launcher and the init of a bundle's container say to each other, as JSON.
//!
//! ```text
//! CONFIG_PATH      InitConfig, in a directory that is mounted read-only; read at the start and at each reload
//! CONTROL_PATH     a UNIX socket in the container: a Request, a line feed; an Answer, a line feed; the end
//! ```
//!
//! Nothing outside the container reaches the socket: the launcher has `bottle-sidecar health` or `bottle-sidecar secrets` run
//! inside, by docker.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Where the daemons find their configurations in the container, one directory each, read-only.
pub const CONFIG_DIR: &str = "/etc/bottle";
/// The init's own.
pub const CONFIG_PATH: &str = "/etc/bottle/init.json";
/// Where the logs go, to stay with the bottle: `NAME.log`, and `NAME.log.old`.
pub const LOG_DIR: &str = "/var/log/bottle";
/// Where daemons may write: memory, gone with the container.
pub const RUN_DIR: &str = "/run/bottle";
/// The init's socket.
pub const CONTROL_PATH: &str = "/run/bottle/init.sock";

/// The longest request and the longest answer.
pub const LINE_LIMIT_BYTES: usize = 256 * 1024;
/// All secrets of one daemon as a line: what a pipe takes at once, so that the init never waits for a daemon to read them.
pub const SECRETS_LIMIT_BYTES: usize = 32 * 1024;

/// What the init runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitConfig {
    /// Started in this order; none at all is all right.
    pub daemons: Vec<Daemon>,
}

/// One daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Daemon {
    /// Its name in logs and answers: lower-case letters, digits and `-`.
    pub name: String,
    /// Program and arguments. Everybody can read them: no secrets.
    pub argv: Vec<String>,
    /// Its environment, beside a `PATH` and a `HOME` in memory. No secrets either.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The TCP port that it listens on when it is ready; without one, it is ready when it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// What is done when the configuration is read again, and its own part of [`InitConfig`] is unchanged.
    #[serde(default)]
    pub reload: Reload,
    /// It reads its secrets from its stdin: a line of JSON, a map from name to value, now and after each change. Without this,
    /// its stdin is empty.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secrets: bool,
}

/// How a daemon learns that its configuration has changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reload {
    /// By SIGHUP.
    #[default]
    Hangup,
    /// By a new start.
    Restart,
    /// It looks by itself, or has nothing that changes.
    Nothing,
}

/// The secrets of one daemon, by name.
pub type Secrets = BTreeMap<String, String>;

/// What can be asked of the init.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How the daemons are.
    Status {
        /// Answer when all are ready, at the latest after so many milliseconds.
        wait_ms: u64,
    },
    /// Hands secrets to daemons, by the daemon's name, instead of those that they have. Only from root, which no daemon is.
    Secrets(BTreeMap<String, Secrets>),
}

/// A secret has no place in a log.
impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status { wait_ms } => f.debug_struct("Status").field("wait_ms", wait_ms).finish(),
            Self::Secrets(all) => f.debug_tuple("Secrets").field(&all.keys()).finish(),
        }
    }
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    /// To Status.
    Status(Vec<Status>),
    /// It is done.
    Done,
    /// It is not, and this is why.
    Refused(String),
}

/// How a daemon is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// Where it is in its life.
    pub state: State,
    /// Its process, if it has one.
    pub pid: Option<i32>,
    /// How often it was started anew because it had died.
    pub restarts: u64,
    /// How it last ended, if it did.
    pub last_end: Option<String>,
    /// How long it took, from its last start, until it was ready; nothing before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_ms: Option<u64>,
}

/// Where a daemon is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It runs, and does not listen yet.
    Starting,
    /// It runs, and listens.
    Ready,
    /// It has died, and will be started again.
    Waiting,
}
