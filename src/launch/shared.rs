//! The observer of a launch, for steps of it that run side by side.

use std::borrow::Cow;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::run::{Event, Observer};
use super::{Interrupt, Timings};

/// See the module.
pub(super) struct SharedObserver<'a> {
    pub(super) interrupt: &'a Interrupt,
    told: Mutex<Told<'a>>,
}

struct Told<'a> {
    on_event: &'a mut (dyn FnMut(Event<'_>) + Send),
    timings: &'a mut Timings,
}

impl<'a> SharedObserver<'a> {
    pub(super) fn new(observer: &'a mut Observer<'_>) -> Self {
        let Observer { interrupt, on_event, timings } = observer;
        Self { interrupt, told: Mutex::new(Told { on_event: &mut **on_event, timings }) }
    }

    /// Tells what happens.
    pub(super) fn tell(&self, event: Event<'_>) {
        (self.lock().on_event)(event);
    }

    /// Notes how long a step took.
    pub(super) fn note(&self, name: impl Into<Cow<'static, str>>, took: Duration) {
        self.lock().timings.note(name, took);
    }

    fn lock(&self) -> MutexGuard<'_, Told<'a>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
