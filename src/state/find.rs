//! Bottles, for those who only look, or want to reach one that runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::dir::CONTROL_SOCKET;
use super::{Life, Record, StateError, check_slug, lock, slug, state_root};

/// A bottle that was found. What is said of it was true when it was looked at.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its name.
    pub slug: String,
    /// Its directory.
    pub dir: PathBuf,
    /// A process runs it, or is just starting or removing it.
    pub alive: bool,
    /// What is known of it; nothing if that can't be read.
    pub record: Option<Record>,
}

impl Found {
    fn look(root: &Path, slug: String) -> Self {
        let dir = root.join(&slug);
        // In this order: a record that is written between the two says of a bottle that lives what it will be.
        let alive = is_alive(root, &slug);
        let record = Record::read(&dir).ok();
        Self { slug, dir, alive, record }
    }

    /// How it stands.
    pub fn life(&self) -> Life {
        Life::of(self.alive, self.record.as_ref())
    }

    /// It stays until it is removed.
    pub fn is_kept(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.plan.keep)
    }

    /// Where its launcher takes orders, as long as it lives.
    pub fn control_socket(&self) -> PathBuf {
        self.dir.join(CONTROL_SOCKET)
    }

    /// Where the guest agent of a bottle that runs takes connections.
    pub fn agent_socket(&self) -> PathBuf {
        self.dir.join("agent.sock")
    }
}

/// The bottle of this name, dead or alive. Names are exact.
///
/// # Errors
/// [`StateError::Unknown`], with the names that are much like it; [`StateError::BadSlug`] for what no bottle can be called.
pub fn find(slug: &str) -> Result<Found, StateError> {
    find_in(&state_root()?, slug)
}

/// The bottle of this name, if its process runs.
///
/// # Errors
/// Those of [`find`], [`StateError::NotRunning`], and [`StateError::NotReady`] for one that is starting or ending.
pub fn find_running(slug: &str) -> Result<Found, StateError> {
    let found = find(slug)?;
    let not_ready = |doing| Err(StateError::NotReady { slug: found.slug.clone(), doing });
    match found.life() {
        Life::Running { .. } => Ok(found),
        Life::Starting => not_ready("still starting"),
        Life::Ending => not_ready("just ending"),
        Life::Ended { .. } | Life::Crashed => {
            Err(StateError::NotRunning { kept: found.is_kept(), slug: found.slug })
        }
    }
}

/// All bottles, by name.
///
/// # Errors
/// When the directory of all bottles can't be read.
pub fn list() -> Result<Vec<Found>, StateError> {
    let root = state_root()?;
    let names = if root.exists() { slugs(&root)? } else { Vec::new() };
    Ok(names.into_iter().map(|slug| Found::look(&root, slug)).collect())
}

pub(super) fn find_in(root: &Path, slug: &str) -> Result<Found, StateError> {
    check_slug(slug)?;
    if root.join(slug).is_dir() {
        return Ok(Found::look(root, slug.to_owned()));
    }
    let names = if root.exists() { slugs(root)? } else { Vec::new() };
    Err(StateError::Unknown { slug: slug.to_owned(), near: slug::near(slug, names.into_iter()) })
}

/// Does this bottle live? Somebody holds its lock then.
pub fn is_alive(root: &Path, slug: &str) -> bool {
    let bottle = root.join(slug);
    // Where there is no root to lock, or none that this user may lock, there is no bottle that they could reach.
    bottle.is_dir() && lock::look(root).is_ok_and(|_root_lock| lock::is_taken(&bottle))
}

/// Waits until nobody runs a bottle any more, for at most `limit`; says whether nobody does.
///
/// # Errors
/// When its lock can't be waited for.
pub fn await_free(bottle: &Found, limit: Duration) -> Result<bool, StateError> {
    lock::await_free(&bottle.dir, limit)
}

/// The names of all bottles, in order. What else lies in the directory is nobody's bottle.
pub(super) fn slugs(root: &Path) -> Result<Vec<String>, StateError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root).map_err(StateError::io("read", root))? {
        let entry = entry.map_err(StateError::io("read", root))?;
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if let Ok(name) = entry.file_name().into_string()
            && is_dir
            && check_slug(&name).is_ok()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::super::StateDir;
    use super::*;

    #[test]
    fn a_bottle_is_found_by_its_whole_name_only() {
        let root = tempfile::tempdir().unwrap();
        let (bottle, _listener) = StateDir::claim(root.path(), "reviewer").unwrap();
        let found = find_in(root.path(), "reviewer").unwrap();
        assert!(found.alive && !found.is_kept());
        assert_eq!(found.life(), Life::Starting);
        assert_eq!(found.agent_socket(), bottle.path().join("agent.sock"));
        let error = find_in(root.path(), "review").unwrap_err();
        assert_eq!(error.to_string(), "there is no bottle named review");
        assert_eq!(error.hint().unwrap(), "is it reviewer?");
        let error = find_in(root.path(), "other").unwrap_err();
        assert_eq!(error.hint().unwrap(), "`bottle ps -a` lists the bottles that there are");
        assert!(matches!(find_in(root.path(), "../reviewer"), Err(StateError::BadSlug { .. })));
        assert!(find_in(&root.path().join("none"), "reviewer").is_err());
    }

    #[test]
    fn a_directory_without_a_lock_held_is_a_dead_bottle() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("dead")).unwrap();
        assert!(!find_in(root.path(), "dead").unwrap().alive);
        fs::write(root.path().join("dead/lock"), b"").unwrap();
        let dead = find_in(root.path(), "dead").unwrap();
        assert!(!dead.alive);
        assert_eq!(dead.life(), Life::Crashed);
        assert_eq!(slugs(root.path()).unwrap(), ["dead"]);
    }
}
