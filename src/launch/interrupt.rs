//! What a signal that this process gets does, and what `bottle stop` does, at each moment of a launch.
//!
//! | moment | first signal | third signal | `bottle stop` |
//! | --- | --- | --- | --- |
//! | image, bundle | stops at the next step | ends this process | as a first signal |
//! | boot | ends the VM | | as a first signal |
//! | the process runs | goes to the process | ends the VM | SIGTERM to the process, after the grace SIGKILL; then ends the VM |
//! | shutdown of a kept VM | nothing: it is under way | ends the VM | nothing |
//! | teardown | nothing: it is under way | ends this process | nothing |
//!
//! A stop is no signal: one that is asked for three times is as patient as one that is asked for once.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::LaunchError;
use crate::vm::VmKiller;
use crate::vm::agent::ExecControl;

/// Signals are patient twice.
const PATIENCE: u32 = 3;

/// What a stop counts as, and what it sends to the process.
const SIGTERM: i32 = 15;
const SIGKILL: u32 = 9;

/// How long a process that got SIGKILL may take to end. Longer means that the guest does not do what it is told.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// Passes signals on to a launch. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Wakes the launch when it waits for docker.
    asked: Notify,
    /// Wakes a stop when the process has ended.
    aimed: Condvar,
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
    /// A VM whose guest shuts down.
    Shutdown(VmKiller),
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
                self.ask(&mut state, signal);
            }
            if state.count >= PATIENCE && matches!(state.target, Target::Launch) {
                return false;
            }
            (state.target.clone(), state.count)
        };
        pass_on("signal", move || match target {
            (Target::Launch, _) | (Target::Shutdown(_), 0..PATIENCE) => {}
            (Target::Boot(killer), _) => killer.kill(),
            (Target::Process(_, killer) | Target::Shutdown(killer), PATIENCE..) => killer.kill(),
            (Target::Process(control, _), _) => {
                // It fails when the process has ended, which is what the signal wanted.
                control.signal(signal.unsigned_abs()).unwrap_or_default();
            }
        });
        true
    }

    /// Ends the launch in order, whatever step it is in: its process has `grace` to end by itself.
    pub fn stop(&self, grace: Duration) {
        let target = {
            let mut state = self.lock();
            if !matches!(state.target, Target::Process(..)) {
                self.ask(&mut state, SIGTERM);
            }
            state.target.clone()
        };
        let this = self.clone();
        pass_on("stop", move || match target {
            Target::Launch | Target::Shutdown(_) => {}
            Target::Boot(killer) => killer.kill(),
            Target::Process(control, killer) => {
                control.signal(SIGTERM.unsigned_abs()).unwrap_or_default();
                if this.process_ended_within(grace) {
                    return;
                }
                control.signal(SIGKILL).unwrap_or_default();
                if !this.process_ended_within(KILL_LIMIT) {
                    this.ask(&mut this.lock(), SIGTERM);
                    killer.kill();
                }
            }
        });
    }

    /// Waits until signals go elsewhere than to a process.
    fn process_ended_within(&self, limit: Duration) -> bool {
        // A grace that is beyond all clocks is for ever.
        let deadline = Instant::now().checked_add(limit);
        let mut state = self.lock();
        while matches!(state.target, Target::Process(..)) {
            let left = deadline.map_or(limit, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return false;
            }
            state = self.shared.aimed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
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
        self.shared.asked.notify_one();
    }

    /// Is the launch over, for a signal or because a step failed?
    pub(super) fn is_over(&self) -> bool {
        let state = self.lock();
        state.abandoned || state.signal.is_some()
    }

    /// Waits until the launch is over.
    pub async fn over(&self) {
        while !self.is_over() {
            self.shared.asked.notified().await;
        }
        // One is woken; it wakes the next.
        self.shared.asked.notify_one();
    }

    /// From now on, signals go there. Teardown is given patience of its own: what ended the process does not count. A boot that was
    /// interrupted before it began ends at once.
    pub(super) fn aim(&self, target: Target) {
        let interrupted = {
            let mut state = self.lock();
            let ends = !matches!(state.target, Target::Launch);
            if ends && matches!(target, Target::Launch | Target::Shutdown(_)) {
                state.count = 0;
            }
            state.target = target.clone();
            state.signal.is_some()
        };
        self.shared.aimed.notify_all();
        if let (true, Target::Boot(killer)) = (interrupted, target) {
            killer.kill();
        }
    }

    /// The launch is to stop; the first signal counts.
    fn ask(&self, state: &mut State, signal: i32) {
        state.signal.get_or_insert(signal);
        self.shared.asked.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In a thread of its own: a guest that does not read may hold it up, and the next signal must get through.
fn pass_on(what: &str, action: impl FnOnce() + Send + 'static) {
    if let Err(error) = thread::Builder::new().name(what.to_owned()).spawn(action) {
        log::error!("cannot pass a {what} on: {error}");
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
    fn a_stop_is_as_patient_the_third_time_as_the_first() {
        let interrupt = Interrupt::new();
        for _ in 0..5 {
            interrupt.stop(Duration::ZERO);
        }
        assert_eq!(interrupt.signal(), Some(SIGTERM));
        assert!(interrupt.deliver(2) && interrupt.deliver(2));
        assert!(!interrupt.deliver(2));
    }

    #[test]
    fn a_process_that_does_not_run_has_ended() {
        assert!(Interrupt::new().process_ended_within(Duration::MAX));
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

    #[test]
    fn all_who_wait_for_the_end_hear_of_it() {
        let interrupt = Interrupt::new();
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let interrupt = interrupt.clone();
                thread::spawn(move || {
                    let runtime =
                        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                    runtime.block_on(async {
                        tokio::time::timeout(Duration::from_secs(10), interrupt.over()).await.is_ok()
                    })
                })
            })
            .collect();
        // So that all of them wait.
        thread::sleep(Duration::from_millis(50));
        assert!(interrupt.deliver(2));
        assert!(waiting.into_iter().all(|thread| thread.join().unwrap()));
    }
}
