//! What the daemons of a bottle's bundle printed. Their container writes these files, and is not believed: anything may be there.

use std::io;
use std::path::{Path, PathBuf};

use bottle_gates::file;

/// The init begins a new file long before that.
const LOG_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// A bundle has four daemons, and two files of each.
const FILES_MAX: usize = 64;

/// The directory of the logs, below the bottle's.
const DIR: &str = "bundle/log";

/// The daemons that have a log, by name.
///
/// # Errors
/// When the directory can't be read. That there is none says that there are no daemons.
pub fn daemons(bottle: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(bottle.join(DIR)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries.take(FILES_MAX) {
        let name = entry?.file_name();
        names.extend(
            name.to_str()
                .and_then(|name| name.strip_suffix(".log"))
                .filter(|name| is_name(name))
                .map(str::to_owned),
        );
    }
    names.sort_unstable();
    Ok(names)
}

/// What is kept of what a daemon printed, lines with what else a daemon can write into them: [`super::without_controls`] makes them
/// fit to be seen.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] when there is no such log; and when what is there is no plain file, or too long for a log.
pub fn daemon_log(bottle: &Path, daemon: &str) -> io::Result<String> {
    if !is_name(daemon) {
        return Err(io::ErrorKind::NotFound.into());
    }
    let path = |end: &str| -> PathBuf { bottle.join(DIR).join(format!("{daemon}.log{end}")) };
    let mut text = match file::read_bytes(&path(".old"), LOG_MAX_BYTES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        older => older?,
    };
    text.extend(file::read_bytes(&path(""), LOG_MAX_BYTES)?);
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// As the init has them: nothing that leads elsewhere.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read_from_its_older_half_on_and_links_lead_nowhere() {
        let bottle = tempfile::tempdir().unwrap();
        assert_eq!(daemons(bottle.path()).unwrap(), Vec::<String>::new());
        let dir = bottle.path().join(DIR);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("egress.log.old"), "one\n").unwrap();
        std::fs::write(dir.join("egress.log"), "two\n").unwrap();
        std::fs::write(bottle.path().join("secret"), "secret").unwrap();
        std::os::unix::fs::symlink("../../secret", dir.join("pipelock.log")).unwrap();
        assert_eq!(daemons(bottle.path()).unwrap(), ["egress", "pipelock"]);
        assert_eq!(daemon_log(bottle.path(), "egress").unwrap(), "one\ntwo\n");
        assert!(daemon_log(bottle.path(), "pipelock").is_err());
        for none in ["supervise", "", "../secret", "egress.log"] {
            assert_eq!(
                daemon_log(bottle.path(), none).unwrap_err().kind(),
                io::ErrorKind::NotFound,
                "{none}"
            );
        }
    }
}
