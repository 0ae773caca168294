//! The guest's clock is the host's: at the boot by the guest's configuration, and from then on by this thread of the VMM.
//!
//! A guest that counts its processor's ticks by itself does not notice that the host slept, or that somebody set the host's
//! clock. So whenever the host's clock jumps, for which waking up counts, the guest is told the time; and every now and then,
//! since no two clocks go alike.

use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::agent::{Agent, AgentError};
use super::sys::ClockWatch;

/// Even a bad clock is not wrong by a tenth of a second, which is what the guest leaves alone, after so long.
const PERIOD: Duration = Duration::from_secs(600);

/// A guest that took longer to answer was told a time that was over.
const PROMPT: Duration = Duration::from_millis(500);

/// A guest that is slower than that so often is too slow for a clock.
const TRIES: u32 = 5;

/// Starts the thread. It ends with the process.
pub(super) fn keep_right(agent: Agent) -> std::io::Result<()> {
    let Some(mut watch) = ClockWatch::new()? else { return Ok(()) };
    thread::Builder::new().name("clock".to_owned()).stack_size(128 * 1024).spawn(move || {
        loop {
            if let Err(error) = watch.wait(PERIOD) {
                eprintln!("the guest's clock is left to itself: {error}");
                return;
            }
            if let Err(error) = tell(&agent) {
                eprintln!("the guest's clock could not be set: {error}");
            }
        }
    })?;
    Ok(())
}

fn tell(agent: &Agent) -> Result<(), AgentError> {
    for _ in 0..TRIES {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let asked = Instant::now();
        agent.set_clock(u64::try_from(now.as_nanos()).unwrap_or_default())?;
        if asked.elapsed() <= PROMPT {
            break;
        }
    }
    Ok(())
}
