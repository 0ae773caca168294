//! An agent of a manifest: `[agent.NAME]` in `bottle.toml`, or `agents/NAME.md` beside it, whose YAML front matter has the same
//! keys and whose body is the prompt.
//!
//! Front matter is the beginning of a file up to a line `---`, and begins with such a line. Its YAML is read with tight limits,
//! and without anchors: they are of no use here, and a way to make a short text endless.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::bottle::beside;
use super::error::FileError;
use super::keys::{AgentTable, Provider};
use super::source::{Position, SourceFile, quoted};
use super::words::{explain, unknown};
use crate::image::Source;

/// It is handed over as an argument, which Linux bounds at 128 KiB.
const MOST_PROMPT_BYTES: usize = 64 * 1024;

/// More than all keys with their words, and far below what takes time.
const MOST_YAML_EVENTS: usize = 1000;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// The bottle that it runs in.
    pub bottle: String,
    /// What it is for, in the author's words; empty if they left it out.
    pub description: String,
    /// The image of the guest.
    pub image: Option<Source>,
    /// What runs.
    pub program: Program,
    /// It gets a placeholder of the login that its program has on this machine.
    pub forward_host_credentials: bool,
    /// Instead of the image's user.
    pub user: Option<String>,
    /// Directories of this machine that its program finds among its skills; real paths, as far as they are there.
    pub skills: Vec<PathBuf>,
    /// What the agent is told before anything else; empty if nothing.
    pub prompt: String,
    /// Where the file says which bottle.
    pub(super) bottle_at: Position,
}

/// What an agent runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// What the image says.
    Image,
    /// This, with these arguments.
    Command(Vec<String>),
    /// One that we know.
    Provider(Provider),
}

/// A string, and where it stands.
struct Placed {
    text: String,
    at: Position,
}

impl Agent {
    /// That of a table in `bottle.toml`.
    pub(super) fn of_table(
        name: &Spanned<String>,
        table: AgentTable<Spanned<String>>,
        file: &SourceFile,
    ) -> Result<Self, FileError> {
        let place =
            |text: Spanned<String>| Placed { at: file.position(text.span().start), text: text.into_inner() };
        Self::new(file.position(name.span().start), table, place, String::new(), file)
    }

    /// That of a file of its own.
    pub(super) fn of_markdown(file: &SourceFile) -> Result<Self, FileError> {
        let Some((front, body)) = split(&file.text) else {
            let what = "an agent's file begins with front matter between two lines `---`";
            return Err(FileError::wrong(file.position(0), what, "docs/MANIFEST.md has an example"));
        };
        let table: AgentTable<serde_saphyr::Spanned<String>> =
            serde_saphyr::from_str_with_options(front, options()).map_err(|error| {
                let (what, hint) = in_words(&error);
                let (line, column) = error.location().map_or((1, 1), |at| place_of(&at));
                FileError::wrong(file.position_at(line, column), what, hint)
            })?;
        let place = |text: serde_saphyr::Spanned<String>| {
            let (line, column) = place_of(&text.referenced);
            Placed { at: file.position_at(line, column), text: text.value }
        };
        let body = body.trim();
        if body.len() > MOST_PROMPT_BYTES {
            let what = format!("the prompt has more than {} KiB", MOST_PROMPT_BYTES / 1024);
            return Err(FileError::wrong(
                file.position(0),
                what,
                "put the rest into files that the agent can read",
            ));
        }
        Self::new(file.position(0), table, place, body.to_owned(), file)
    }

    fn new<Text>(
        at: Position,
        table: AgentTable<Text>,
        place: impl Fn(Text) -> Placed,
        prompt: String,
        file: &SourceFile,
    ) -> Result<Self, FileError> {
        let program = match (table.provider, table.command) {
            (Some(_), Some(_)) => {
                let what = "an agent has a `provider` or a `command`, not both";
                return Err(FileError::wrong(at, what, "leave one of the two out"));
            }
            (Some(provider), None) => Program::Provider(provider),
            (None, Some(words)) if words.first().is_none_or(String::is_empty) => {
                return Err(FileError::wrong(
                    at,
                    "`command` has no program",
                    "`command = [\"program\", \"argument\"]`",
                ));
            }
            (None, Some(words)) if words.iter().any(|word| word.contains('\0')) => {
                return Err(FileError::wrong(at, "`command` has a NUL character in it", "leave it out"));
            }
            (None, Some(words)) => Program::Command(words),
            (None, None) => Program::Image,
        };
        let forward_host_credentials = table.forward_host_credentials.unwrap_or_default();
        if forward_host_credentials && program != Program::Provider(Provider::Codex) {
            let what = "`forward_host_credentials` is for an agent with the provider `codex`";
            return Err(FileError::wrong(at, what, "a route of its bottle gives any other agent a token"));
        }
        if !prompt.is_empty() && !matches!(program, Program::Provider(_)) {
            let what = "only an agent with a `provider` takes a prompt, the text behind the front matter";
            return Err(FileError::wrong(at, what, "hand it over as an argument in `command`"));
        }
        if prompt.contains('\0') {
            return Err(FileError::wrong(at, "the prompt has a NUL character in it", "leave it out"));
        }
        let skills: Vec<Placed> = table.skills.unwrap_or_default().into_iter().map(&place).collect();
        if let (Some(first), false) = (skills.first(), matches!(program, Program::Provider(_))) {
            let what = "only an agent with a `provider` takes skills";
            return Err(FileError::wrong(first.at.clone(), what, "share the directory with `volumes`"));
        }
        let skills = skills_of(skills, &file.path)?;
        let image = table.image.map(|image| image_of(&place(image), &file.path)).transpose()?;
        let bottle = place(table.bottle);
        let description = table.description.unwrap_or_default();
        Ok(Self {
            bottle: bottle.text,
            description,
            image,
            program,
            forward_host_credentials,
            user: table.user,
            skills,
            prompt,
            bottle_at: bottle.at,
        })
    }
}

/// The directories. What is missing is a matter of the agent that runs; a name is one skill's.
fn skills_of(skills: Vec<Placed>, file: &Path) -> Result<Vec<PathBuf>, FileError> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for skill in skills {
        let path = beside(file, &skill.text);
        // By its real path, which is what is shown, trusted and opened.
        let path = path.canonicalize().unwrap_or(path);
        let Some(name) = path.file_name() else {
            let what = format!("{:?} has no name that a skill can have", skill.text);
            return Err(FileError::wrong(skill.at, what, "name the skill's own directory"));
        };
        if paths.iter().any(|other| other.file_name() == Some(name)) {
            let what = format!("there are two skills of the name {:?}", name.to_string_lossy());
            return Err(FileError::wrong(skill.at, what, "leave one of them out, or rename it"));
        }
        paths.push(path);
    }
    Ok(paths)
}

/// Front matter, with the line that begins it, and body.
fn split(text: &str) -> Option<(&str, &str)> {
    let mut at = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let is_fence = line.trim_end() == "---";
        match (number, is_fence) {
            (0, false) => return None,
            (0, true) | (_, false) => at += line.len(),
            (_, true) => return Some((&text[..at], &text[at + line.len()..])),
        }
    }
    None
}

fn options() -> serde_saphyr::Options {
    let mut options = serde_saphyr::Options::default();
    options.strict_booleans = true;
    options.with_snippet = false;
    options.merge_keys = serde_saphyr::options::MergeKeyPolicy::Error;
    let mut budget = serde_saphyr::Budget::default();
    budget.max_events = MOST_YAML_EVENTS;
    budget.max_depth = 4;
    budget.max_anchors = 0;
    budget.max_aliases = 0;
    budget.max_documents = 1;
    options.budget = Some(budget);
    options
}

/// Line and column, both from 1.
fn place_of(location: &serde_saphyr::Location) -> (usize, usize) {
    let whole = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).max(1);
    (whole(location.line()), whole(location.column()))
}

/// What is wrong, without the place, which we say ourselves; and what can be done about it.
fn in_words(error: &serde_saphyr::Error) -> (String, String) {
    use serde_saphyr::Error;
    match error.without_snippet() {
        Error::SerdeUnknownField { field, expected, .. } => unknown("key", field, expected.iter().copied()),
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            unknown("word", variant, expected.iter().copied())
        }
        Error::SerdeMissingField { field, .. } => explain(&format!("missing field `{field}`")),
        other => explain(other.to_string().split(" at line ").next().unwrap_or_default()),
    }
}

/// An image as on the command line, but for paths, which are relative to the file. A name that is no path is no path whatever
/// lies in the directory that `bottle` was started in.
fn image_of(image: &Placed, file: &Path) -> Result<Source, FileError> {
    let hint = "docker-archive:FILE, oci:DIRECTORY, docker://NAME or NAME; `bottle run --help` has all forms";
    let wrong = |error: crate::image::ImageError| FileError::wrong(image.at.clone(), error.to_string(), hint);
    let text = image.text.as_str();
    for transport in ["docker-archive:", "oci-archive:", "oci:"] {
        if let Some(path) = text.strip_prefix(transport).filter(|path| !path.is_empty()) {
            return format!("{transport}{}", beside(file, path).display()).parse().map_err(wrong);
        }
    }
    // Whether it is there is a matter of the agent that runs.
    if text.starts_with(['/', '.', '~']) {
        let path = beside(file, text);
        return Ok(if path.is_dir() {
            Source::OciLayout(path.into())
        } else {
            Source::DockerArchive(path.into())
        });
    }
    if text.starts_with("docker-daemon:") || text.starts_with("docker://") || text.contains("://") {
        return text.parse().map_err(wrong);
    }
    match format!("docker-daemon:{text}").parse().map_err(wrong)? {
        Source::DockerDaemon(name) => Ok(Source::Name(name)),
        source => Ok(source),
    }
}

/// For a person to read.
impl fmt::Display for Program {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image => out.write_str("the image's command"),
            Self::Provider(Provider::Claude) => out.write_str("Claude Code"),
            Self::Provider(Provider::Codex) => out.write_str("Codex"),
            Self::Command(words) => {
                let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
                out.write_str(&words.join(" "))
            }
        }
    }
}
