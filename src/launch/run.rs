//! From a plan, or a kept bottle, to the end of its process.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use super::guest::{self, Surroundings};
use super::life::Life;
use super::output::Output;
use super::shared::SharedObserver;
use super::{Interrupt, LaunchError, Timings, bundled, own_image, provision};
use crate::image::{Image, ImageError, ImageKey, Progress, Source, Store};
use crate::own_images::BuildProgress;
use crate::plan::Plan;
use crate::state::{self, Base};
use crate::vm::agent::ExitStatus;
use crate::worktree::Pulled;

/// What a launch tells of itself.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The bottle's directory is there.
    Made {
        /// The directory.
        dir: &'a Path,
    },
    /// Docker builds an image of ours, and says this.
    Build(&'a BuildProgress),
    /// The import is that far.
    Import(Progress),
    /// The process has ended, and what it made of the working tree is here.
    Pulled(&'a Pulled),
    /// The process runs.
    Runs {
        /// The bottle's name.
        slug: &'a str,
    },
}

/// Who accompanies a launch: asks it to stop, hears of it, and learns how long it took.
pub struct Observer<'a> {
    /// Signals and orders, for the launch.
    pub interrupt: &'a Interrupt,
    /// Is told what happens, from the launch's thread or another.
    pub on_event: &'a mut (dyn FnMut(Event<'_>) + Send),
    /// The steps so far.
    pub timings: &'a mut Timings,
}

/// Carries a plan out: makes a bottle, runs its process, and takes all of it away again, unless the plan says to keep it.
///
/// # Errors
/// When anything but the process fails. What was made by then is gone again; a kept bottle whose process ran stays.
pub fn launch(plan: &Plan, output: Output, observer: Observer<'_>) -> Result<ExitStatus, LaunchError> {
    // Before anything takes time.
    output.fit(plan.process.clone()).check_terminal()?;
    guest::volumes(&plan.machine)?;
    provision::check_skills(&plan.provide)?;
    let store = Store::open(&state::cache_root()?)?;
    let life = Life::begin(plan, observer.interrupt)?;
    carry_out(life, output, observer, |observer| {
        if let Source::DockerDaemon(name) | Source::Name(name) = &plan.image {
            own_image::ensure_alone(name, observer)?;
        }
        Ok(store.import(&plan.image, &plan.import, &mut |progress| {
            observer.tell(Event::Import(progress));
            if observer.interrupt.is_over() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?)
    })
}

/// Starts a kept bottle again: the same disk, a new bundle, the same process. With [`Output::Logged`], the process has
/// no stdin, even if it had ours before.
///
/// # Errors
/// As [`launch`]; and when there is no such bottle, it lives, or its disk has lost what it lies over. The bottle stays as it was.
pub fn resume(slug: &str, output: Output, observer: Observer<'_>) -> Result<ExitStatus, LaunchError> {
    let store = Store::open(&state::cache_root()?)?;
    let life = Life::begin_again(slug, observer.interrupt)?;
    let process = output.fit(life.plan().process.clone());
    let (base, provide) = (life.base().cloned(), life.plan().provide.clone());
    carry_out(life, output, observer, |_| {
        process.check_terminal()?;
        provision::check_skills(&provide)?;
        same_image(&store, slug, base.as_ref())
    })
}

fn carry_out(
    mut life: Life,
    output: Output,
    mut observer: Observer<'_>,
    image: impl FnOnce(&SharedObserver<'_>) -> Result<Image, LaunchError> + Send,
) -> Result<ExitStatus, LaunchError> {
    (observer.on_event)(Event::Made { dir: life.path() });
    let result = if life.plan().bundle.is_some() {
        bundled::run(&mut life, output, &mut observer, image)
    } else {
        let start = Instant::now();
        let image = image(&SharedObserver::new(&mut observer));
        observer.timings.note("image", start.elapsed());
        observer.interrupt.check().and_then(|()| {
            let surroundings = Surroundings { allow: life.plan().allow.clone(), ..Surroundings::default() };
            guest::run(&mut life, &image?, surroundings, output, &mut observer, |_| Ok(()))
        })
    };
    life.ended(&result);
    life.end();
    result
}

/// The image that a bottle's disk lies over: that one, not another that came in its place.
fn same_image(store: &Store, slug: &str, base: Option<&Base>) -> Result<Image, LaunchError> {
    let refused = |why| LaunchError::NotResumable { slug: slug.to_owned(), why };
    let base = base.ok_or_else(|| refused("it is not known what image its disk lies over".to_owned()))?;
    let key: ImageKey = base.key.parse().map_err(|_| refused(format!("{} is no image's ID", base.key)))?;
    let image = store.open_image(key).map_err(|error| match error {
        ImageError::NotStored { .. } => {
            refused(format!("the image {key}, over which its disk lies, is gone"))
        }
        error => error.into(),
    })?;
    let is = Base::from(&image);
    if is.path != base.path {
        let (was, is) = (base.path.display(), is.path.display());
        return Err(refused(format!("its disk lies over {was}, and the image is now {is}")));
    }
    if is.checksum != base.checksum || is.checksum.is_none() {
        return Err(refused(format!(
            "the image {key} was made anew with other bytes than those its disk lies over"
        )));
    }
    Ok(image)
}
