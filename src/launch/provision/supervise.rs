//! supervise becomes known to the agent's program, by a command of that program's own.
//!
//! An agent can do without: nothing that goes wrong here ends a launch, unless the guest itself is gone.

use super::hands::{As, Finished, Hands};
use super::{ProvisionError, STEP_LIMIT};

const STEP: &str = "supervise";

/// Runs the command, as the bottle's user and with its environment.
pub(super) fn register(hands: &Hands<'_>, command: &[String]) -> Result<(), ProvisionError> {
    let Some(program) = command.first() else { return Ok(()) };
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    let why = match hands.try_run(STEP, As::Agent, &words)? {
        Finished::Done => return Ok(()),
        Finished::Missing => format!("the image has no {program}"),
        Finished::Failed(failed) => failed,
        Finished::Late => format!("{program} was not done within {} s", STEP_LIMIT.as_secs()),
    };
    log::warn!("{STEP}: the agent is not told how to ask for more: {why}");
    Ok(())
}
