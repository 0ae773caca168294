//! How long the steps of a launch took.

use std::time::{Duration, Instant};

use crate::vm::BootSteps;

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

    /// Notes the steps of a boot.
    pub(super) fn note_boot(&mut self, boot: BootSteps) {
        self.note("boot: VMM process", boot.vmm);
        self.note("boot: machine", boot.machine);
        self.note("boot: kernel", boot.kernel);
        self.note("boot: root disk", boot.root);
        self.note("boot: agent ready", boot.agent);
    }

    /// The steps.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}
