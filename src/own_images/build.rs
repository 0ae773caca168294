//! One build: docker's own builder gets the context, and what it says is passed on line by line.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bollard::models::BuildInfo;
use bollard::query_parameters::{BuildImageOptions, BuilderVersion};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};

use super::certificates;
use super::ensure::BuildTerms;
use super::error::OwnImageError;
use super::output::{self, Lines};
use super::recipe::{HASH_LABEL, Recipe};
use crate::bundle::{Docker, docker_words};

/// Docker may be silent for so long: a compiler in a build says nothing for minutes, on a slow machine for many.
const SILENCE_MAX: Duration = Duration::from_secs(30 * 60);

/// So many of a step's last lines are part of an error.
const OUTPUT_LINES: usize = 15;

/// Docker names the command that failed, all of it.
const WORDS_MAX: usize = 400;

/// Something that a build says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildProgress {
    /// The image that is built.
    pub image: String,
    /// The step, counted from 1, and how many there are; none before the first.
    pub step: Option<(u32, u32)>,
    /// A line of plain text: at the beginning of a step its instruction, then what comes of it.
    pub line: String,
}

/// Is told what a build says.
pub(super) type OnProgress<'a> = &'a mut (dyn FnMut(&BuildProgress) + Send);

/// Has the image built. A build whose future is dropped ends, and no image has the name that did not have it before.
pub(super) async fn build(
    docker: &Docker,
    recipe: &Recipe,
    hash: &str,
    terms: &BuildTerms,
    on_progress: OnProgress<'_>,
) -> Result<(), OwnImageError> {
    let image = || recipe.name.clone();
    let context = match &terms.ca {
        Some(ca) => certificates::add(recipe.context.clone(), ca)?,
        None => recipe.context.clone(),
    };
    let tar = context.tar().map_err(|source| OwnImageError::Context { image: image(), source })?;
    let options = BuildImageOptions {
        t: Some(image()),
        labels: Some(HashMap::from([(HASH_LABEL.to_owned(), hash.to_owned())])),
        buildargs: Some(recipe.arguments.clone().into_iter().collect()),
        networkmode: terms.network.clone(),
        nocache: terms.force,
        rm: true,
        // Of a step that failed or was stopped as well.
        forcerm: true,
        // That which every daemon has; the other wants a session with services of ours.
        version: BuilderVersion::BuilderV1,
        ..BuildImageOptions::default()
    };
    let api = docker.api().clone().with_timeout(SILENCE_MAX);
    let mut said = api.build_image(options, None, Some(bollard::body_full(tar.into())));
    let mut following = Following::new(&recipe.name, on_progress);
    loop {
        match tokio::time::timeout(SILENCE_MAX, said.next()).await {
            Ok(Some(Ok(info))) => following.hear(info),
            Ok(Some(Err(error))) => {
                let words = output::plain(&output::shortened(&docker_words(&error), WORDS_MAX));
                return Err(OwnImageError::Build { image: image(), words, output: following.output() });
            }
            Ok(None) => return Ok(()),
            Err(_) => {
                let waited_s = SILENCE_MAX.as_secs();
                return Err(OwnImageError::Silent { image: image(), waited_s, output: following.output() });
            }
        }
    }
}

/// How far a build is, by what it says.
struct Following<'a> {
    progress: BuildProgress,
    on_progress: OnProgress<'a>,
    lines: Lines,
    /// The step's.
    last: VecDeque<String>,
}

impl<'a> Following<'a> {
    fn new(image: &str, on_progress: OnProgress<'a>) -> Self {
        let progress = BuildProgress { image: image.to_owned(), step: None, line: String::new() };
        Self { progress, on_progress, lines: Lines::default(), last: VecDeque::new() }
    }

    fn hear(&mut self, info: BuildInfo) {
        if let Some(piece) = info.stream {
            self.lines.push(&piece).into_iter().for_each(|line| self.line(line));
        }
        // Of a base image that is pulled: bytes are told of many times a second, and of each layer.
        if let (Some(status), None) = (info.status, info.progress_detail.and_then(|detail| detail.current)) {
            let id = info.id.map(|id| format!("{id}: ")).unwrap_or_default();
            self.line(output::plain(&format!("{id}{status}")));
        }
    }

    fn line(&mut self, line: String) {
        log::info!("{}: {line}", self.progress.image);
        let next = self.progress.step.map_or(1, |(step, _)| step + 1);
        match output::step(&line) {
            // A program in the build may print what it likes.
            Some(((step, of), instruction)) if step == next => {
                self.last.clear();
                self.progress.step = Some((step, of));
                // Docker has joined its lines, and left their indentation in.
                self.progress.line = instruction.split_whitespace().collect::<Vec<_>>().join(" ");
            }
            _ if output::is_noise(&line) => return,
            _ => {
                if self.last.len() == OUTPUT_LINES {
                    self.last.pop_front();
                }
                self.last.push_back(line.clone());
                self.progress.line = line;
            }
        }
        (self.on_progress)(&self.progress);
    }

    /// The last lines that the step printed.
    fn output(mut self) -> Vec<String> {
        if let Some(line) = self.lines.rest() {
            self.line(line);
        }
        self.last.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(text: &str) -> BuildInfo {
        BuildInfo { stream: Some(text.to_owned()), ..BuildInfo::default() }
    }

    #[test]
    fn a_build_is_followed_step_by_step() {
        let mut told = Vec::new();
        let mut on_progress = |progress: &BuildProgress| told.push((progress.step, progress.line.clone()));
        let mut following = Following::new("i", &mut on_progress);
        for piece in
            ["Step 1/2 : FROM x", "\n", " ---> 0123\n", "Step 2/2 : RUN  y\n", "Step 9/9 : lie\nwor", "ds"]
        {
            following.hear(stream(piece));
        }
        assert_eq!(following.output(), ["Step 9/9 : lie", "words"]);
        let line = |step, line: &str| (Some((step, 2)), line.to_owned());
        assert_eq!(told, [line(1, "FROM x"), line(2, "RUN y"), line(2, "Step 9/9 : lie"), line(2, "words")]);
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut on_progress = |_: &BuildProgress| {};
        let mut following = Following::new("i", &mut on_progress);
        (0..100).for_each(|line| following.hear(stream(&format!("{line}\n"))));
        let output = following.output();
        assert_eq!((output.len(), output.last().unwrap().as_str()), (OUTPUT_LINES, "99"));
    }
}
