//! Bottles, for those who only look, or want to reach one that runs.

use std::fs;
use std::path::{Path, PathBuf};

use super::{StateError, check_slug, lock, slug, state_root};

/// A bottle that was found. What is said of it was true when it was looked at.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its name.
    pub slug: String,
    /// Its directory.
    pub dir: PathBuf,
    /// A process runs it, or is just starting or removing it.
    pub alive: bool,
}

impl Found {
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

/// The bottle of this name, if it lives. Whether its guest is up is for its agent to say.
///
/// # Errors
/// Those of [`find`], and [`StateError::NotRunning`].
pub fn find_running(slug: &str) -> Result<Found, StateError> {
    let found = find(slug)?;
    if found.alive { Ok(found) } else { Err(StateError::NotRunning { slug: found.slug }) }
}

fn find_in(root: &Path, slug: &str) -> Result<Found, StateError> {
    check_slug(slug)?;
    let dir = root.join(slug);
    if dir.is_dir() {
        return Ok(Found { slug: slug.to_owned(), dir, alive: is_alive(root, slug) });
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
        let bottle = StateDir::claim(root.path(), "reviewer").unwrap();
        let found = find_in(root.path(), "reviewer").unwrap();
        assert!(found.alive);
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
        assert!(!find_in(root.path(), "dead").unwrap().alive);
        assert_eq!(slugs(root.path()).unwrap(), ["dead"]);
    }
}
