//! The prompt, in a file of the agent's: nobody else in the guest reads it, and its program is told where it lies.
//!
//! It is written anew at each start: what it says is its author's affair, not the agent's.

use super::ProvisionError;
use super::hands::Hands;
use crate::plan::PROMPT;
use crate::vm::agent::Within;

const STEP: &str = "prompt";

/// Puts it there, also an empty one.
pub(super) fn write(hands: &Hands<'_>, prompt: &str) -> Result<(), ProvisionError> {
    let (dir, name) = PROMPT.rsplit_once('/').unwrap_or(("/", PROMPT));
    hands.make_directory(STEP, dir)?;
    hands.give_file(STEP, Within::Directory(dir), name, 0o600, prompt.as_bytes(), false)
}
