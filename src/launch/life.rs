//! A bottle from the moment that its directory is made, or taken again, to the moment that its launcher lets go of it.

use std::path::Path;

use super::control::{Control, Followers};
use super::{Interrupt, LaunchError};
use crate::image::Image;
use crate::plan::Plan;
use crate::state::{Base, Outcome, Record, StateDir, Status, now};
use crate::vm::AllowRule;
use crate::vm::agent::ExitStatus;

/// See the module. Dropping it without [`Life::end`] removes a bottle that is new, and leaves one that was resumed.
#[derive(Debug)]
pub(super) struct Life {
    record: Record,
    /// The status before this launch, of a bottle that is resumed.
    before: Option<Status>,
    /// The bottle is gone, or its lock free, before those who are connected hear that the launcher ended: so it stands first.
    dir: StateDir,
    control: Control,
}

impl Life {
    /// Makes a bottle.
    pub(super) fn begin(plan: &Plan, interrupt: &Interrupt) -> Result<Self, LaunchError> {
        let (dir, listener) = StateDir::create(plan.name.as_deref(), prefix(plan))?;
        let plan = Plan { name: Some(dir.slug().to_owned()), ..plan.clone() };
        let control = Control::serve(listener, interrupt)?;
        let life = Self { record: Record::new(plan), before: None, dir, control };
        life.dir.write(&life.record)?;
        Ok(life)
    }

    /// Takes a kept bottle that does not live.
    pub(super) fn begin_again(slug: &str, interrupt: &Interrupt) -> Result<Self, LaunchError> {
        let (dir, listener) = StateDir::reopen(slug)?;
        let control = Control::serve(listener, interrupt)?;
        let mut record = Record::read(dir.path())?;
        if !record.plan.keep {
            return Err(LaunchError::NotKept { slug: slug.to_owned() });
        }
        if !record.has_run {
            let why = "its process never ran".to_owned();
            return Err(LaunchError::NotResumable { slug: slug.to_owned(), why });
        }
        let before = std::mem::replace(&mut record.status, Status::Starting);
        let life = Self { record, before: Some(before), dir, control };
        life.dir.write(&life.record)?;
        Ok(life)
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.record.plan
    }

    pub(super) fn slug(&self) -> &str {
        self.dir.slug()
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn dir(&self) -> &StateDir {
        &self.dir
    }

    /// What the disk lies over, once there is one.
    pub(super) fn base(&self) -> Option<&Base> {
        self.record.base.as_ref()
    }

    /// Those who follow the log.
    pub(super) fn followers(&self) -> Followers {
        self.control.followers()
    }

    /// The bottle was there before this launch.
    pub(super) fn is_resumed(&self) -> bool {
        self.before.is_some()
    }

    /// The disk lies over this image, which must not go before it.
    pub(super) fn stands_on(&mut self, image: &Image) -> Result<(), LaunchError> {
        if self.plan().keep {
            image.pin(self.path())?;
        }
        self.record.base = Some(image.into());
        Ok(self.dir.write(&self.record)?)
    }

    /// Its process ran, in this launch or in an earlier one.
    pub(super) fn has_run(&self) -> bool {
        self.record.has_run
    }

    /// Its disk has what is nowhere else: it stays, although nobody has asked for that.
    pub(super) fn keep(&mut self, image: &Image) {
        if self.plan().keep {
            return;
        }
        self.record.plan.keep = true;
        // The disk without its image is of no use, and neither is worth the end of this launch.
        if let Err(error) = image.pin(self.path()) {
            log::warn!("{error}");
        }
        let slug = self.slug();
        log::warn!(
            "the bottle is kept: `bottle resume {slug}` starts it again, `bottle rm {slug}` gives it up"
        );
    }

    /// The process runs, and its guest may connect to this.
    pub(super) fn runs(&mut self, allowed: &[AllowRule]) -> Result<(), LaunchError> {
        self.record.allowed = Some(allowed.to_vec());
        self.record.status = Status::Running { since: now() };
        self.record.has_run = true;
        Ok(self.dir.write(&self.record)?)
    }

    /// The process has ended, or never ran.
    pub(super) fn ended(&mut self, result: &Result<ExitStatus, LaunchError>) {
        let outcome = match result {
            Ok(ExitStatus::Code(code)) => Outcome::Code(*code),
            Ok(ExitStatus::Signal(signal)) => Outcome::Signal(*signal),
            Err(error) => Outcome::Failed(error.to_string()),
        };
        let ran = matches!(self.record.status, Status::Running { .. });
        self.record.status = match (&self.before, ran) {
            // Nothing has happened to it.
            (Some(before), false) => before.clone(),
            _ => Status::Ended { outcome, at: now() },
        };
        // The process's end is what counts; this is worth a word. The bottle is then taken for crashed.
        if let Err(error) = self.dir.write(&self.record) {
            log::warn!("{error}");
        }
        if self.is_resumed() || ran && self.plan().keep {
            self.dir.leave();
            // The next run would do it, too.
            if let Err(error) = self.dir.remove_sockets() {
                log::warn!("{error}");
            }
        }
    }

    /// Lets go of the bottle: removes it, unless it is kept and its process ran.
    pub(super) fn end(self) {
        drop(self);
    }
}

/// What the name of a bottle begins with that nobody has named: its agent's name, behind what no name begins with.
fn prefix(plan: &Plan) -> &str {
    let agent = plan.called.as_ref().and_then(|called| called.agent.as_deref());
    let agent = agent.map(|name| name.trim_start_matches(['-', '_'])).filter(|name| !name.is_empty());
    agent.unwrap_or(if plan.bundle.is_some() { "bottle" } else { "vm" })
}

impl From<&Image> for Base {
    fn from(image: &Image) -> Self {
        Self { key: image.key().to_string(), path: image.base.clone(), checksum: image.checksum }
    }
}
