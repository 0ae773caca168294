//! What a signal that this process gets does, at each moment of a launch.
//!
//! | moment | first signal | third signal |
//! | --- | --- | --- |
//! | image, bundle | stops at the next step | ends this process |
//! | boot | ends the VM | |
//! | the process runs | goes to the process | ends the VM |
//! | teardown | nothing: it is under way | ends this process |

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::Notify;

use super::LaunchError;
use crate::vm::VmKiller;
use crate::vm::agent::ExecControl;

/// Signals are patient twice.
const PATIENCE: u32 = 3;

/// Passes signals on to a launch. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    state: Arc<Mutex<State>>,
    /// Wakes the launch when it waits for docker.
    asked: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    /// The first one that was not passed on to a process.
    signal: Option<i32>,
    count: u32,
    /// A step failed, so those beside it need not go on.
    abandoned: bool,
    target: Target,
}

/// What signals go to.
#[derive(Debug, Clone, Default)]
pub(super) enum Target {
    /// The launch itself, which looks from time to time.
    #[default]
    Launch,
    /// A VM whose guest is not up.
    Boot(VmKiller),
    /// A process in a VM.
    Process(ExecControl, VmKiller),
}

impl Interrupt {
    /// Nothing was interrupted yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a signal. `false` says that patience is at its end and nothing else can be done: the caller ends the process.
    #[must_use]
    pub fn deliver(&self, signal: i32) -> bool {
        let target = {
            let mut state = self.lock();
            state.count += 1;
            if state.count >= PATIENCE || !matches!(state.target, Target::Process(..)) {
                state.signal.get_or_insert(signal);
                self.asked.notify_one();
            }
            if state.count >= PATIENCE && matches!(state.target, Target::Launch) {
                return false;
            }
            (state.target.clone(), state.count)
        };
        // In a thread of its own: a guest that does not read may hold it up, and the next signal must get through.
        let pass_on = move || match target {
            (Target::Launch, _) => {}
            (Target::Boot(killer), _) => killer.kill(),
            (Target::Process(_, killer), PATIENCE..) => killer.kill(),
            (Target::Process(control, _), _) => {
                // It fails when the process has ended, which is what the signal wanted.
                control.signal(signal.unsigned_abs()).unwrap_or_default();
            }
        };
        if let Err(error) = thread::Builder::new().name("signal".to_owned()).spawn(pass_on) {
            log::error!("cannot pass signal {signal} on: {error}");
        }
        true
    }

    /// The terminal has another size.
    pub fn resize(&self, rows: u16, columns: u16) {
        if let Target::Process(control, _) = self.lock().target.clone() {
            control.resize(rows, columns).unwrap_or_default();
        }
    }

    /// The signal that asks the launch to stop.
    pub fn signal(&self) -> Option<i32> {
        self.lock().signal
    }

    /// Fails once the launch is asked to stop.
    pub(super) fn check(&self) -> Result<(), LaunchError> {
        self.signal().map_or(Ok(()), |signal| Err(LaunchError::Interrupted { signal }))
    }

    /// A step of the launch failed: those beside it stop as they would for a signal.
    pub(super) fn abandon(&self) {
        self.lock().abandoned = true;
        self.asked.notify_one();
    }

    /// Is the launch over, for a signal or because a step failed?
    pub(super) fn is_over(&self) -> bool {
        let state = self.lock();
        state.abandoned || state.signal.is_some()
    }

    /// Waits until the launch is over; for one task at a time.
    pub(super) async fn over(&self) {
        while !self.is_over() {
            self.asked.notified().await;
        }
    }

    /// From now on, signals go there. A boot that was interrupted before it began ends at once.
    pub(super) fn aim(&self, target: Target) {
        let interrupted = {
            let mut state = self.lock();
            state.target = target.clone();
            state.signal.is_some()
        };
        if let (true, Target::Boot(killer)) = (interrupted, target) {
            killer.kill();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launch_is_asked_twice_and_then_ended() {
        let interrupt = Interrupt::new();
        assert_eq!(interrupt.signal(), None);
        assert!(interrupt.deliver(2));
        assert_eq!(interrupt.signal(), Some(2));
        assert!(interrupt.deliver(15));
        assert_eq!(interrupt.signal(), Some(2), "the first one counts");
        assert!(!interrupt.deliver(2));
    }

    #[test]
    fn a_step_that_fails_ends_the_steps_beside_it_and_is_no_signal() {
        let interrupt = Interrupt::new();
        assert!(!interrupt.is_over());
        interrupt.clone().abandon();
        assert!(interrupt.is_over());
        assert!(interrupt.check().is_ok());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(interrupt.over());
    }
}
