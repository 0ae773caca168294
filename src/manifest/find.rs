//! Where manifests are: the project's, found upwards from a directory, and the user's.

use std::path::{Path, PathBuf};

use super::layer::FILE;
use crate::state::config_root;

/// The files, if there are any.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// The project's: the first `bottle.toml` from a directory upwards.
    pub project: Option<PathBuf>,
    /// The user's own: `bottle.toml` in the directory of [`config_root`], there or not.
    pub user: Option<PathBuf>,
}

impl Places {
    /// Those for somebody who stands in this directory, an absolute path.
    pub fn from(directory: &Path) -> Self {
        // Without a home there is no file of the user's: what a project's asks for has to be trusted then.
        let user = config_root().ok().map(|root| root.join(FILE));
        // A link that leads nowhere is an error to report, not a file that is not there.
        let is_there = |path: &PathBuf| path.symlink_metadata().is_ok_and(|metadata| !metadata.is_dir());
        let project = directory.ancestors().map(|directory| directory.join(FILE)).find(is_there);
        let same = |a: &Path, b: &Path| match (a.canonicalize(), b.canonicalize()) {
            (Ok(a), Ok(b)) => a == b,
            _ => a == b,
        };
        let project = project.filter(|project| user.as_ref().is_none_or(|user| !same(project, user)));
        Self { project, user }
    }
}
