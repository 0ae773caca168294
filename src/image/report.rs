//! Telling how far an import is, and being told to stop, also while nothing comes.

use std::cell::RefCell;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::error::ImageError;
use super::input::Chunks;

/// So often whoever waits is asked whether to go on.
const PATIENCE: Duration = Duration::from_millis(100);

/// How far an import is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Progress {
    /// Another process imports the same image; its work will do.
    Waiting,
    /// The image is asked for where it comes from.
    Asking,
    /// A layer is read, and unpacked if it is compressed.
    Layer {
        /// Counted from 1 at the bottom; compressed ones come from the top down, those of a docker daemon as it sends them.
        layer: usize,
        /// How many there are, where that is known yet.
        layers: Option<usize>,
        /// Bytes of it so far, as it is stored.
        bytes: u64,
        /// Its size.
        total: u64,
    },
    /// Files are written into the ext4 image.
    Writing {
        /// Bytes of content so far.
        bytes: u64,
        /// Bytes of content in all.
        total: u64,
    },
    /// All is written; the layers' digests are still being computed.
    Verifying,
}

/// Is told how far an import is, and stops it by [`ControlFlow::Break`].
pub type OnProgress<'a> = &'a mut dyn FnMut(Progress) -> ControlFlow<()>;

/// Tells one that is curious, from wherever there is something to tell.
pub(crate) struct Reporter<'a> {
    to: RefCell<OnProgress<'a>>,
    last: RefCell<Told>,
}

/// What was told last, and what has gone on since.
#[derive(Clone)]
enum Told {
    Once(Progress),
    Layer { layer: usize, layers: Option<usize>, total: u64, read: Arc<AtomicU64> },
}

impl Told {
    fn now(&self) -> Progress {
        match self {
            Self::Once(progress) => *progress,
            Self::Layer { layer, layers, total, read } => {
                let bytes = read.load(Ordering::Relaxed);
                Progress::Layer { layer: *layer, layers: *layers, bytes, total: *total }
            }
        }
    }
}

/// Where a step of an import tells how far it is. (An object of it, unlike the [`Reporter`] itself, can be lent on for a
/// shorter time than what it tells.)
pub(crate) trait Report {
    /// Tells; an error if the import is to stop.
    fn tell(&self, progress: Progress) -> Result<(), ImageError>;

    /// From now on, a layer is read: [`Self::again`] tells how far that is, by `read`.
    fn watch(&self, layer: usize, layers: Option<usize>, total: u64, read: Arc<AtomicU64>);

    /// Tells once more, how far what was told last is by now.
    fn again(&self) -> Result<(), ImageError>;
}

impl<'a> Reporter<'a> {
    pub(crate) fn new(to: OnProgress<'a>) -> Self {
        Self { to: RefCell::new(to), last: RefCell::new(Told::Once(Progress::Asking)) }
    }
}

impl Report for Reporter<'_> {
    fn tell(&self, progress: Progress) -> Result<(), ImageError> {
        self.last.replace(Told::Once(progress));
        self.again()
    }

    fn watch(&self, layer: usize, layers: Option<usize>, total: u64, read: Arc<AtomicU64>) {
        self.last.replace(Told::Layer { layer, layers, total, read });
    }

    fn again(&self) -> Result<(), ImageError> {
        let now = self.last.borrow().now();
        let mut to = self.to.borrow_mut();
        if to(now).is_break() { Err(ImageError::Stopped) } else { Ok(()) }
    }
}

/// What another thread sends, waited for with an eye on whether to go on.
pub(crate) struct Awaited<'a> {
    from: Receiver<io::Result<Bytes>>,
    reporter: &'a dyn Report,
}

impl<'a> Awaited<'a> {
    pub(crate) fn new(from: Receiver<io::Result<Bytes>>, reporter: &'a dyn Report) -> Self {
        Self { from, reporter }
    }
}

impl Chunks for Awaited<'_> {
    /// A sender that is gone has nothing more to send: whoever goes by that knows the length or a digest.
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        self.reporter.again().map_err(io::Error::other)?;
        wait(&self.from, self.reporter).map_err(io::Error::other)?.transpose()
    }
}

/// The next thing that another thread sends, `None` when there will be no more.
pub(crate) fn wait<T>(from: &Receiver<T>, reporter: &dyn Report) -> Result<Option<T>, ImageError> {
    loop {
        match from.recv_timeout(PATIENCE) {
            Ok(sent) => return Ok(Some(sent)),
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Err(RecvTimeoutError::Timeout) => reporter.again()?,
        }
    }
}
