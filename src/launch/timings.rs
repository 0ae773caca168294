//! How long the steps of a launch took.

use std::time::{Duration, Instant};

use crate::vm::agent::BootTimings;

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// In a word or two.
    pub name: &'static str,
    /// How long it took.
    pub took: Duration,
}

/// The steps so far, in the order in which they ended. Steps may run side by side.
#[derive(Debug, Default)]
pub struct Timings {
    steps: Vec<Step>,
}

impl Timings {
    /// Runs a step, and notes how long it took, however it ended.
    pub(super) fn measure<T>(&mut self, name: &'static str, step: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = step();
        self.note(name, start.elapsed());
        result
    }

    /// Notes a step.
    pub(super) fn note(&mut self, name: &'static str, took: Duration) {
        self.steps.push(Step { name, took });
    }

    /// Notes the parts of a boot: the whole, seen from the host, and what the guest says of its own.
    pub(super) fn note_boot(&mut self, whole: Duration, guest: BootTimings) {
        // The guest's numbers are only as true as the guest: they are shown, and nothing hangs on them.
        let init = Duration::from_nanos(guest.init_started_ns);
        let agent = Duration::from_nanos(guest.agent_listening_ns);
        self.note("boot: VMM", whole.saturating_sub(agent));
        self.note("boot: kernel", init);
        self.note("boot: init", agent.saturating_sub(init));
    }

    /// The steps.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}
