//! One `bottle.toml` and the `agents/` beside it, read as one: with a digest of all that was read, which is what trust is in.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use toml::Spanned;

use super::agent::Agent;
use super::bottle::Bottle;
use super::error::FileError;
use super::keys::Document;
use super::source::SourceFile;
use super::words::explain;

/// What a manifest is called, wherever it is.
pub const FILE: &str = "bottle.toml";

/// Where agents are that have a file of their own, beside it.
const AGENTS: &str = "agents";

/// Nobody has as many in use.
const MOST_AGENTS: usize = 200;

/// Bottles and agents give bottles their names, with something behind them.
const MOST_NAME_BYTES: usize = 40;

/// See the module.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The `bottle.toml`, by its real path.
    pub path: PathBuf,
    /// SHA-256, in hexadecimal, of that file, of those of its agents with their names, and of where their skills lie.
    pub digest: String,
    /// The agents that have a file of their own beside it.
    pub agent_files: Vec<String>,
    pub(super) bottles: BTreeMap<String, Bottle>,
    pub(super) agents: BTreeMap<String, Agent>,
}

impl Layer {
    /// Reads what there is; nothing if there is no such file.
    ///
    /// # Errors
    /// When something in it is not right, with the place.
    pub fn read(path: &Path) -> Result<Option<Self>, FileError> {
        // The file itself: what it says of paths beside it is not for whoever has a link to it.
        let path = match fs::canonicalize(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.symlink_metadata().is_err() => {
                return Ok(None);
            }
            real => real.map_err(|source| FileError::Read { path: path.to_owned(), source })?,
        };
        let Some(file) = SourceFile::read(&path)? else { return Ok(None) };
        let document: Document = toml::from_str(&file.text).map_err(|error| {
            let (what, hint) = explain(error.message());
            file.wrong(error.span().unwrap_or_default(), what, &hint)
        })?;
        let mut hash = Sha256::new();
        add(&mut hash, FILE, &file.text);
        let mut layer = Self {
            path,
            digest: String::new(),
            agent_files: Vec::new(),
            bottles: BTreeMap::new(),
            agents: BTreeMap::new(),
        };
        for (name, table) in document.bottle {
            check_name(&name, &file)?;
            layer.bottles.insert(name.into_inner(), Bottle::read(table, &file)?);
        }
        for (name, table) in document.agent {
            check_name(&name, &file)?;
            let agent = Agent::of_table(&name, table, &file)?;
            layer.agents.insert(name.into_inner(), agent);
        }
        layer.read_agents(&mut hash)?;
        // Where they lie, so that no link leads elsewhere once the file is trusted.
        for skill in layer.agents.values().flat_map(|agent| &agent.skills) {
            add(&mut hash, "skill", &skill.to_string_lossy());
        }
        layer.digest = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Some(layer))
    }

    fn read_agents(&mut self, hash: &mut Sha256) -> Result<(), FileError> {
        let dir = self.path.with_file_name(AGENTS);
        for name in agent_names(&dir)? {
            let path = dir.join(format!("{name}.md"));
            // Gone since it was listed.
            let Some(file) = SourceFile::read(&path)? else { continue };
            add(hash, &name, &file.text);
            check_name(&Spanned::new(0..0, name.clone()), &file)?;
            let agent = Agent::of_markdown(&file)?;
            if self.agents.contains_key(&name) {
                let what = format!("there is an [agent.{name}] in {FILE} as well");
                return Err(file.wrong(0..0, what, "leave one of the two"));
            }
            self.agent_files.push(name.clone());
            self.agents.insert(name, agent);
        }
        Ok(())
    }
}

/// One file, so that no two sets of files have the same bytes.
fn add(hash: &mut Sha256, name: &str, text: &str) {
    for part in [name, text] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
}

/// The agents that have a file there, in the order of their names.
fn agent_names(dir: &Path) -> Result<Vec<String>, FileError> {
    let failed = |source| FileError::Read { path: dir.to_owned(), source };
    let entries = match fs::read_dir(dir) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        // Other files may lie there: notes, what an editor saves.
        let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".md")) else { continue };
        if name.starts_with('.') {
            continue;
        }
        names.push(name.to_owned());
        if names.len() > MOST_AGENTS {
            return Err(FileError::TooManyAgents { path: dir.to_owned(), most: MOST_AGENTS });
        }
    }
    names.sort();
    Ok(names)
}

fn check_name(name: &Spanned<String>, file: &SourceFile) -> Result<(), FileError> {
    let text = name.as_ref();
    let fine = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if first && text.bytes().all(fine) && text.len() <= MOST_NAME_BYTES {
        return Ok(());
    }
    let hint = "1 to 40 letters, digits, `-` or `_`, the first a letter or digit";
    Err(file.wrong(name.span(), format!("{text:?} is not a name for a bottle or an agent"), hint))
}
