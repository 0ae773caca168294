//! What an agent finds in its guest beside the image and what the bundle brings: put there by [`launch`](crate::launch), as the bottle's
//! user, before the process starts.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The guest's file with the prompt. It is the agent's own, and there even when it is empty.
pub const PROMPT: &str = "/etc/bottle/prompt.md";

/// The guest's directory with the working tree; the agent starts there.
pub const WORKSPACE: &str = "/workspace";

/// See the module. The default is nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provide {
    /// Who commits.
    pub git_user: Option<GitUser>,
    /// The content of [`PROMPT`]; without one there is no such file.
    pub prompt: Option<String>,
    /// Directories of this machine, which become directories of the same names in `skills_dir`.
    pub skills: Vec<PathBuf>,
    /// Where the agent's program looks for skills, below the user's home.
    pub skills_dir: Option<String>,
    /// Other files, below the user's home.
    pub files: Vec<HomeFile>,
    /// A command that tells the agent's program of supervise, which is at `$MCP_SUPERVISE_URL`. That it fails is said, and no more.
    pub register: Vec<String>,
    /// A directory of this machine whose working tree becomes [`WORKSPACE`].
    pub worktree: Option<PathBuf>,
}

/// `user.name` and `user.email` of git.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitUser {
    /// As in commits.
    pub name: String,
    /// As in commits.
    pub email: String,
}

/// A file of the bottle's user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HomeFile {
    /// Below the user's home, relative.
    pub path: String,
    /// Permissions; the directories above that are not there yet get 0700.
    pub mode: u32,
    /// All of it.
    pub content: String,
}
