//! How long the steps of a launch took.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use crate::vm::BootSteps;

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// In a word or two.
    pub name: Cow<'static, str>,
    /// How long it took.
    pub took: Duration,
}

/// The steps so far, in the order in which they ended. Steps may run side by side.
#[derive(Debug)]
pub struct Timings {
    started: Instant,
    steps: Vec<Step>,
}

/// A command's time, up to its first output and to its end.
#[derive(Debug)]
pub(super) struct CommandTimings<'a> {
    timings: &'a mut Timings,
    started: Instant,
}

impl CommandTimings<'_> {
    /// It wrote something, for the first time.
    pub(super) fn first_output(&mut self) {
        self.timings.note("command: first output", self.started.elapsed());
        self.timings.note("first output since the start of all", self.timings.started.elapsed());
    }

    /// It ended, or could not be started.
    pub(super) fn end(self) {
        self.timings.note("command", self.started.elapsed());
    }
}

impl Default for Timings {
    fn default() -> Self {
        Self { started: Instant::now(), steps: Vec::new() }
    }
}

impl Timings {
    /// The command is run now.
    pub(super) fn begin_command(&mut self) -> CommandTimings<'_> {
        CommandTimings { timings: self, started: Instant::now() }
    }

    /// Runs a step, and notes how long it took, however it ended.
    pub(super) fn measure<T>(&mut self, name: &'static str, step: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = step();
        self.note(name, start.elapsed());
        result
    }

    /// Notes a step.
    pub(super) fn note(&mut self, name: impl Into<Cow<'static, str>>, took: Duration) {
        self.steps.push(Step { name: name.into(), took });
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
