//! The guest's clock is the host's: roughly by the guest's configuration, exactly by the answer to its report that it is up,
//! and from then on by this thread of the VMM.
//!
//! A guest that counts its processor's ticks by itself does not notice that the host slept, or that somebody set the host's
//! clock. So whenever the host's clock jumps, for which waking up counts, the guest is told the time; also when this process
//! finds that it stood still itself; and every now and then, since no two clocks go alike.

use std::io;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::agent::{Agent, AgentError, ClockLink};
use super::sys::ClockWatch;

/// Even a bad clock is not wrong by a tenth of a second, which is what the guest leaves alone, after so long.
const PERIOD: Duration = Duration::from_secs(600);

/// So often this process looks whether it stood still: stopped, or frozen with its container.
const TICK: Duration = Duration::from_secs(10);

/// A tick that comes so much too late was not late for want of a processor.
const STOOD_STILL: Duration = Duration::from_secs(2);

/// A guest that took longer to answer was told a time that was over.
const PROMPT: Duration = Duration::from_millis(500);

/// A guest that is slower than that so often is too slow for a clock.
const TRIES: u32 = 5;

/// What the thread needs. The VMM makes no connections any more when it starts, so this one is for good.
pub(super) struct Keeper {
    /// None where libkrun does the same.
    parts: Option<(ClockWatch, Result<ClockLink, AgentError>)>,
}

impl Keeper {
    /// Connects to the agent.
    pub(super) fn new(agent: &Agent) -> io::Result<Self> {
        Ok(Self { parts: ClockWatch::new()?.map(|watch| (watch, agent.clock())) })
    }

    /// Starts the thread. It ends with the process, or with the guest's agent.
    pub(super) fn start(self) -> io::Result<()> {
        let Some((mut watch, link)) = self.parts else { return Ok(()) };
        let keep = move || -> Result<(), AgentError> {
            let mut link = link?;
            let mut due = true;
            let mut told = Instant::now();
            loop {
                if due {
                    told = Instant::now();
                    due = match tell(&mut link) {
                        // The next time, perhaps: a guest that is slow, or stood still with this process.
                        Err(error @ AgentError::TimedOut { .. }) => {
                            eprintln!("the guest's clock could not be set: {error}");
                            true
                        }
                        answer => answer.map(|()| false)?,
                    };
                }
                let started = Instant::now();
                let jumped = watch.wait(TICK)?;
                due |= jumped || started.elapsed() > TICK + STOOD_STILL || told.elapsed() > PERIOD;
            }
        };
        let thread = thread::Builder::new().name("clock".to_owned()).stack_size(128 * 1024);
        thread.spawn(move || {
            if let Err(error) = keep() {
                eprintln!("the guest's clock is left to itself: {error}");
            }
        })?;
        Ok(())
    }
}

fn tell(link: &mut ClockLink) -> Result<(), AgentError> {
    for _ in 0..TRIES {
        let asked = Instant::now();
        link.set(unix_ns)?;
        if asked.elapsed() <= PROMPT {
            break;
        }
    }
    Ok(())
}

/// What time it is, in nanoseconds since 1970.
pub(super) fn unix_ns() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or_default()
}
