//! How far an import or a build is: a bar or one line that changes on a terminal, a line for each layer or step elsewhere.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::Instant;

use bottle::image::Progress;
use bottle::own_images::BuildProgress;
use indicatif::{ProgressBar, ProgressStyle};

const BAR: &str = "{prefix} {bar:24} {bytes}/{total_bytes} {bytes_per_sec}";
/// As much of it as one line takes.
const LINE: &str = "{wide_msg}";

/// A Dockerfile's instruction may be as long as a script.
const INSTRUCTION_MAX: usize = 100;

/// Shows the progress of imports and builds on stderr. A bar is gone with this value.
pub(super) struct ProgressLine {
    place: Place,
    /// What is going on, and since when.
    stage: Option<(Stage, Instant)>,
    /// The step of each image that was told of last: several may be built side by side.
    steps: BTreeMap<String, Option<(u32, u32)>>,
}

enum Place {
    Nowhere,
    Terminal(ProgressBar),
    /// Where a command is about to write: what takes minutes has lines there, and nothing else.
    Terse,
    Elsewhere,
}

/// What has a bar or a line of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stage {
    name: String,
    /// Bytes so far, and in all, where there are bytes.
    bytes: Option<(u64, u64)>,
    layer: bool,
}

impl ProgressLine {
    pub(super) fn new(quiet: bool) -> Self {
        let mut line = Self::before_a_command(quiet);
        if let Place::Terse = line.place {
            line.place = Place::Elsewhere;
        }
        line
    }

    /// For a verb that runs a command, whose stderr is the command's: without a terminal, an import shows nothing.
    pub(super) fn before_a_command(quiet: bool) -> Self {
        let place = match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Place::Nowhere,
            (false, true) => Place::Terminal(ProgressBar::no_length()),
            (false, false) => Place::Terse,
        };
        Self { place, stage: None, steps: BTreeMap::new() }
    }

    /// What a build says.
    pub(super) fn show_build(&mut self, progress: &BuildProgress) {
        match &self.place {
            Place::Nowhere => {}
            Place::Terminal(bar) => {
                self.stage = None;
                bar.set_style(style(LINE));
                bar.set_message(format!("building {}", build_line(progress)));
                bar.tick();
            }
            Place::Terse | Place::Elsewhere => {
                if self.is_new_step(progress) {
                    let line: String = build_line(progress).chars().take(INSTRUCTION_MAX).collect();
                    // Nobody is there to be told if that can't be written.
                    writeln!(std::io::stderr(), "building {line}").unwrap_or_default();
                }
            }
        }
    }

    fn is_new_step(&mut self, progress: &BuildProgress) -> bool {
        let before = self.steps.insert(progress.image.clone(), progress.step);
        // Before the first step there is no more than a word or two.
        progress.step.is_none() || before != Some(progress.step)
    }

    pub(super) fn show(&mut self, progress: Progress) {
        if matches!(self.place, Place::Nowhere | Place::Terse) {
            return;
        }
        let stage = stage(progress);
        let is_new = self.stage.as_ref().is_none_or(|(old, _)| old.name != stage.name);
        if is_new {
            self.end_stage();
        }
        if let Place::Terminal(bar) = &self.place {
            if is_new {
                bar.reset();
                bar.set_prefix(stage.name.clone());
                bar.set_style(style(if stage.bytes.is_some() { BAR } else { "{prefix}" }));
            }
            if let Some((done, total)) = stage.bytes {
                bar.set_length(total);
                bar.set_position(done);
            } else if is_new {
                bar.tick();
            }
        }
        let since = self.stage.take().filter(|_| !is_new).map_or_else(Instant::now, |(_, since)| since);
        self.stage = Some((stage, since));
    }

    fn end_stage(&self) {
        if let (Place::Elsewhere, Some((stage, since))) = (&self.place, &self.stage)
            && let Some(line) = line(stage, since.elapsed().as_secs_f64())
        {
            // Nobody is there to be told if that can't be written.
            writeln!(std::io::stderr(), "{line}").unwrap_or_default();
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.end_stage();
        if let Place::Terminal(bar) = &self.place {
            bar.finish_and_clear();
        }
    }
}

fn build_line(BuildProgress { image, step, line }: &BuildProgress) -> String {
    match step {
        Some((step, of)) => format!("{image}: step {step} of {of}: {line}"),
        None => format!("{image}: {line}"),
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn stage(progress: Progress) -> Stage {
    let plain = |name: &str| Stage { name: name.to_owned(), bytes: None, layer: false };
    match progress {
        Progress::Waiting => plain("waiting for another import of this image"),
        Progress::Asking => plain("asking for the image"),
        Progress::Layer { layer, layers, bytes, total } => {
            let of = layers.map(|layers| format!(" of {layers}")).unwrap_or_default();
            Stage { name: format!("layer {layer}{of}"), bytes: Some((bytes, total)), layer: true }
        }
        Progress::Writing { bytes, total } => {
            Stage { bytes: Some((bytes, total)), ..plain("writing the disk") }
        }
        Progress::Verifying => plain("checking digests"),
        _ => plain("importing the image"),
    }
}

/// What is said of a stage that is over, where there is no terminal.
fn line(stage: &Stage, seconds: f64) -> Option<String> {
    let (bytes, _) = stage.bytes.filter(|_| stage.layer)?;
    Some(format!("{}: {:.1} MB in {seconds:.1} s", stage.name, bytes as f64 / 1e6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_has_a_line() {
        let layer =
            stage(Progress::Layer { layer: 2, layers: Some(3), bytes: 12_345_678, total: 20_000_000 });
        assert_eq!(line(&layer, 0.5).unwrap(), "layer 2 of 3: 12.3 MB in 0.5 s");
        let unknown = stage(Progress::Layer { layer: 1, layers: None, bytes: 0, total: 5 });
        assert_eq!(line(&unknown, 0.0).unwrap(), "layer 1: 0.0 MB in 0.0 s");
        assert_eq!(line(&stage(Progress::Writing { bytes: 1, total: 2 }), 1.0), None);
        assert_eq!(line(&stage(Progress::Verifying), 1.0), None);
    }

    #[test]
    fn a_step_has_one_line_whatever_is_built_beside_it() {
        let mut line = ProgressLine::new(true);
        let mut is_new = |image: &str, step| {
            line.is_new_step(&BuildProgress { image: image.to_owned(), step, line: "x".to_owned() })
        };
        assert!(is_new("a", None) && is_new("a", None) && is_new("a", Some((1, 2))));
        assert!(is_new("b", Some((1, 9))));
        assert!(!is_new("a", Some((1, 2))) && !is_new("b", Some((1, 9))));
        assert!(is_new("a", Some((2, 2))));
    }

    #[test]
    fn the_bars_are_well_formed() {
        assert!(ProgressStyle::with_template(BAR).is_ok());
        assert!(ProgressStyle::with_template(LINE).is_ok());
    }
}
