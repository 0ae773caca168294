//! A copy of a git working tree in a guest, and the way back of what an agent makes of it.
//!
//! ```text
//! here                                  guest                                      here
//! git ls-files ─► tar ([`send`]) ─────► /workspace ─► a commit of all, the base
//! .git, without credentials ──────────►     ▼ the agent works
//!                                       a commit of all, the work ─► pack ──────► `git index-pack --strict` ─► diff, or a branch
//! ```
//!
//! The way back carries objects of git and nothing else, and lets git itself check them, as it does with what comes from any server:
//! no file is written here, no configuration, hook or attribute of the guest's counts, and the working tree here stays as it is. The
//! base is a commit made before the agent ran, and its ID is kept here: what the agent does to its repository can't hide a change.
//!
//! - [`find`]: what is a working tree, and what of it is sent.
//! - [`config`]: the repository's configuration without what could be a secret.
//! - [`base`]: what is kept of it in the bottle's directory.
//! - [`guest`]: git in the guest; [`git`]: git here.
//! - [`back`]: [`diff`] and [`pull`].

mod back;
mod base;
mod config;
mod error;
mod find;
mod git;
mod guest;
mod send;

pub use back::{Pulled, diff, pull};
pub(crate) use config::quoted;
pub use error::WorktreeError;
pub use find::Worktree;
pub(crate) use send::put;
