//! Programs that `bottle` knows how to start: one file each.

mod claude;

use super::Provide;
use crate::manifest::{Bottle, Provider};

/// How a program is started.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) command: Vec<String>,
    /// For everything in the bottle.
    pub(super) env: Vec<(&'static str, String)>,
    /// What it finds in the guest.
    pub(super) provide: Provide,
}

/// How this one is; with a prompt, it is told where that is.
pub(super) fn start(provider: Provider, bottle: &Bottle, has_prompt: bool) -> Start {
    match provider {
        Provider::Claude => claude::start(bottle, has_prompt),
    }
}
