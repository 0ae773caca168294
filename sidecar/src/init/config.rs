//! Reads the init's configuration.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use bottle_protocol::bundle::{InitConfig, LINE_LIMIT_BYTES};

/// Some daemons more than there are kinds of.
const DAEMONS_MAX: usize = 16;

/// Why a configuration is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConfigError {
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("malformed: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("it has {0} daemons, more than {DAEMONS_MAX}")]
    TooMany(usize),
    #[error("{0:?} cannot be a daemon's name")]
    Name(String),
    #[error("there are two daemons {0}")]
    Twice(String),
    #[error("the daemon {0} has no program")]
    NoProgram(String),
}

/// Reads and checks it.
pub(super) fn read(path: &Path) -> Result<InitConfig, ConfigError> {
    let mut text = Vec::new();
    File::open(path)?.take(LINE_LIMIT_BYTES as u64).read_to_end(&mut text)?;
    check(serde_json::from_slice(&text)?)
}

fn check(config: InitConfig) -> Result<InitConfig, ConfigError> {
    if config.daemons.len() > DAEMONS_MAX {
        return Err(ConfigError::TooMany(config.daemons.len()));
    }
    let mut names = BTreeSet::new();
    for daemon in &config.daemons {
        // A name becomes part of a file's.
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if daemon.name.is_empty() || daemon.name.len() > 32 || !daemon.name.chars().all(plain) {
            return Err(ConfigError::Name(daemon.name.clone()));
        }
        if !names.insert(&daemon.name) {
            return Err(ConfigError::Twice(daemon.name.clone()));
        }
        if daemon.argv.is_empty() {
            return Err(ConfigError::NoProgram(daemon.name.clone()));
        }
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<InitConfig, String> {
        let config = serde_json::from_str(text).map_err(|error| error.to_string())?;
        check(config).map_err(|error| error.to_string())
    }

    #[test]
    fn what_could_not_run_is_refused_by_name() {
        assert_eq!(checked(r#"{"daemons":[]}"#).unwrap(), InitConfig::default());
        let bad = [
            (r#"{"daemons":[{"name":"../x","argv":["a"]}]}"#, "\"../x\" cannot be a daemon's name"),
            (r#"{"daemons":[{"name":"a","argv":["a"]},{"name":"a","argv":["b"]}]}"#, "two daemons a"),
            (r#"{"daemons":[{"name":"a","argv":[]}]}"#, "the daemon a has no program"),
            (r#"{"daemons":[{"name":"a","argv":["a"],"prot":1}]}"#, "unknown field `prot`"),
        ];
        for (text, why) in bad {
            let error = checked(text).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
