//! How far an import is: one line on a terminal, nothing elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use bottle::image::Progress;

/// Often enough to look alive, seldom enough to cost nothing.
const EVERY: Duration = Duration::from_millis(100);

/// Shows an import's progress on stderr, and wipes it away at its end.
pub(super) struct ProgressLine {
    shown: bool,
    last: Option<Instant>,
}

impl ProgressLine {
    pub(super) fn new(quiet: bool) -> Self {
        Self { shown: !quiet && std::io::stderr().is_terminal(), last: None }
    }

    pub(super) fn show(&mut self, progress: Progress) {
        if !self.shown || self.last.is_some_and(|last| last.elapsed() < EVERY) {
            return;
        }
        self.last = Some(Instant::now());
        self.line(&words(progress));
    }

    fn line(&self, text: &str) {
        // A terminal that can't be written to has nobody to show it to.
        write!(std::io::stderr(), "\r\x1b[K{text}").unwrap_or_default();
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if self.last.is_some() {
            self.line("");
        }
    }
}

fn words(progress: Progress) -> String {
    let mib = |bytes: u64| bytes >> 20;
    match progress {
        Progress::Waiting => "waiting for another import of this image".to_owned(),
        Progress::Exporting { bytes } => format!("docker sends the image: {} MiB", mib(bytes)),
        Progress::Unpacking { layer, layers, bytes } => {
            format!("unpacking layer {layer} of {layers}: {} MiB", mib(bytes))
        }
        Progress::Writing { bytes, total } => {
            format!("writing the disk: {} of {} MiB", mib(bytes), mib(total))
        }
        Progress::Verifying => "checking digests".to_owned(),
        _ => String::new(),
    }
}
