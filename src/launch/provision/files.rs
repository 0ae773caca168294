//! Files in the home of the bottle's user: an agent's program finds itself set up there.
//!
//! They are for a program that has not run yet. One that is there stays as it is, be it the image's own or one that the agent has
//! changed since in a bottle that is resumed.

use super::ProvisionError;
use super::hands::Hands;
use crate::plan::HomeFile;
use crate::vm::agent::Within;

const STEP: &str = "files";

/// Puts those there that are missing.
pub(super) fn write(hands: &Hands<'_>, files: &[HomeFile]) -> Result<(), ProvisionError> {
    files.iter().try_for_each(|file| {
        hands.give_file(STEP, Within::Home, &file.path, file.mode, file.content.as_bytes(), true)
    })
}
