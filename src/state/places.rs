//! The directories of a user.

use std::path::PathBuf;

use super::StateError;

/// The directory that holds all bottles of this user.
pub fn state_root() -> Result<PathBuf, StateError> {
    place("the bottles' state", "BOTTLE_STATE_DIR", "XDG_STATE_HOME", ".local/state")
}

/// The directory that holds the imported images.
pub fn cache_root() -> Result<PathBuf, StateError> {
    place("the image cache", "BOTTLE_CACHE_DIR", "XDG_CACHE_HOME", ".cache")
}

/// The directory that holds what is installed for this user, the guest kernel for one.
pub fn data_root() -> Result<PathBuf, StateError> {
    place("the installed files", "BOTTLE_DATA_DIR", "XDG_DATA_HOME", ".local/share")
}

/// The directory with the user's own manifest.
pub fn config_root() -> Result<PathBuf, StateError> {
    place("your manifest", "BOTTLE_CONFIG_DIR", "XDG_CONFIG_HOME", ".config")
}

fn place(
    what: &'static str,
    variable: &'static str,
    xdg: &'static str,
    home: &'static str,
) -> Result<PathBuf, StateError> {
    // Our own variable may be relative to where we are; the XDG specification says to ignore paths that are not absolute.
    let own = std::env::var_os(variable).and_then(|path| std::path::absolute(path).ok());
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    own.or_else(|| absolute(xdg).map(|dir| dir.join("bottle")))
        .or_else(|| absolute("HOME").map(|dir| dir.join(home).join("bottle")))
        .ok_or(StateError::NoHome { what, variable })
}
