//! Programs that `bottle` knows how to start: one file each.

mod claude;

use crate::manifest::{Bottle, Provider};

/// How a program is started.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) command: Vec<String>,
    /// For everything in the bottle.
    pub(super) env: Vec<(&'static str, String)>,
}

/// How this one is, with that prompt, if it is not empty.
pub(super) fn start(provider: Provider, bottle: &Bottle, prompt: &str) -> Start {
    match provider {
        Provider::Claude => claude::start(bottle, prompt),
    }
}
