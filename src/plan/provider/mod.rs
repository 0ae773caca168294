//! Programs that `bottle` knows how to start: one file each.

mod claude;
mod codex;
mod codex_login;

pub use codex_login::{CodexLogin, CodexLoginError};

use super::Provide;
use crate::bundle::{HostPattern, Route};
use crate::manifest::{Bottle, Provider};

/// In place of a token: egress drops it, and sets the real one.
const PLACEHOLDER: &str = "placeholder-of-bottle";

/// What a program is started for.
pub(super) struct Asked<'a> {
    /// The bottle that it runs in.
    pub(super) bottle: &'a Bottle,
    /// What it is told before anything else; empty if nothing.
    pub(super) prompt: &'a str,
    /// The login of Codex on this machine, where a placeholder of that is wanted.
    pub(super) codex_login: Option<&'a CodexLogin>,
}

/// How a program is started.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) command: Vec<String>,
    /// For everything in the bottle.
    pub(super) env: Vec<(&'static str, String)>,
    /// What it finds in the guest.
    pub(super) provide: Provide,
    /// Requests that get a credential, beside those of the bottle.
    pub(super) routes: Vec<Route>,
    /// Hosts that are reached without a look at what goes there, beside those of the bottle.
    pub(super) pass_through: Vec<HostPattern>,
}

/// How this one is.
pub(super) fn start(provider: Provider, asked: &Asked<'_>) -> Start {
    match provider {
        Provider::Claude => claude::start(asked),
        Provider::Codex => codex::start(asked),
    }
}

/// A command of a shell's, in which the environment is at hand.
fn sh(script: &str) -> Vec<String> {
    ["sh", "-c", script].map(str::to_owned).to_vec()
}
