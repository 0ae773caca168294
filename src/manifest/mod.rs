//! `bottle.toml` and `agents/NAME.md`: what agents get, and what they may reach, as people write it.
//!
//! ```text
//! bottle.toml ──► keys ─┬─► bottle ─┐
//! agents/*.md ──────────┴─► agent ──┴─► Layer: one file with its agents
//!                                         │
//!      the project's Layer, trusted or no more than the user's (tighten)
//!      the user's Layer ──────────────────┴─► Manifest ──► plan::prepare
//! ```
//!
//! - [`source`] reads files with limits, [`error`] and [`words`] say what is wrong, and where.
//! - [`find`] knows where the files are.
//! - [`tighten`] says what a project's file asks for beyond the user's.
//!
//! Whoever wrote a project's file is not trusted: see `docs/SECURITY.md`.

mod agent;
mod bottle;
mod error;
mod find;
mod keys;
mod layer;
mod schema;
mod source;
mod tighten;
mod words;

use std::collections::BTreeMap;

pub use agent::{Agent, Program};
pub(crate) use bottle::Bottle;
pub use error::FileError;
pub use find::Places;
pub use keys::{Provider, Role};
pub use layer::{FILE, Layer};
pub use schema::schema;
pub use source::Position;
pub use source::quoted;
pub(crate) use tighten::{git_user_words, scheme_words, token_words, volume_words};
pub(crate) use words::hint_for;

/// What all files say together.
#[derive(Debug, Clone, Default)]
pub struct Manifest {
    pub(crate) bottles: BTreeMap<String, Bottle>,
    pub(crate) agents: BTreeMap<String, Agent>,
}

impl Manifest {
    /// Reads the files. `is_trusted` says of a project's file whether its user has looked at exactly this.
    ///
    /// # Errors
    /// When there is none, one is not right, or a project's asks for more than the user's allows and is not trusted.
    pub fn load(
        places: &Places,
        is_trusted: impl FnOnce(&Layer) -> Result<bool, FileError>,
    ) -> Result<Self, FileError> {
        let read = |path: &Option<_>| path.as_deref().map_or(Ok(None), Layer::read);
        let (user, project) = (read(&places.user)?, read(&places.project)?);
        if let Some(project) = &project {
            let asks = tighten::asks(project, user.as_ref());
            if !asks.is_empty() && !is_trusted(project)? {
                return Err(FileError::Untrusted { path: project.path.clone(), asks });
            }
        }
        if user.is_none() && project.is_none() {
            return Err(FileError::None);
        }
        Self::combine(user, project)
    }

    /// The project's over the user's.
    fn combine(user: Option<Layer>, project: Option<Layer>) -> Result<Self, FileError> {
        let mut manifest = Self::default();
        for layer in [user, project].into_iter().flatten() {
            for (name, bottle) in layer.bottles {
                let below = manifest.bottles.remove(&name).unwrap_or_default();
                manifest.bottles.insert(name, bottle.over(&below));
            }
            manifest.agents.extend(layer.agents);
        }
        for (name, agent) in &manifest.agents {
            if !manifest.bottles.contains_key(&agent.bottle) {
                let what = format!("agent {name}: there is no bottle {:?}", agent.bottle);
                let hint = hint_for(&agent.bottle, manifest.bottles.keys().map(String::as_str));
                return Err(FileError::wrong(agent.bottle_at.clone(), what, hint));
            }
        }
        Ok(manifest)
    }

    /// The agents, by name.
    pub fn agents(&self) -> &BTreeMap<String, Agent> {
        &self.agents
    }
}

/// What a project's file asks for beyond the user's, a line each: what is to be read before it is trusted.
///
/// # Errors
/// When one of the two is not right.
pub fn asks(project: &Layer, places: &Places) -> Result<Vec<String>, FileError> {
    let user = places.user.as_deref().map_or(Ok(None), Layer::read)?;
    Ok(tighten::asks(project, user.as_ref()))
}
