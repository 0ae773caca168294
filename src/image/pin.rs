//! Bottles that are kept need their image even when nobody has it in hand.
//!
//! ```text
//! images/pins/<key>/<token>  ─symlink─►  <bottle's directory>/pin-<token>
//! ```
//!
//! A pin holds for as long as both ends are there: a bottle's directory that goes takes its end along, whoever removes it, and the
//! other end is swept when somebody next looks. The token is a number that no other pin has, so a bottle that comes by the
//! name of another is not taken for it.

use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::error::ImageError;
use super::key::ImageKey;
use super::store::{Image, Store};
use super::work;

impl Image {
    /// Keeps the image in the store for as long as `bottle`, a directory, is there.
    ///
    /// # Errors
    /// When that can't be noted in the directory or in the store.
    pub fn pin(&self, bottle: &Path) -> Result<(), ImageError> {
        let pins = &self.pins;
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ImageError::Io { action: "pin the image in", path, source }
        };
        work::make_dir(pins).map_err(failed(pins))?;
        // What std seeds its hash tables with: a number that differs from run to run.
        let token = std::collections::hash_map::RandomState::new().build_hasher().finish();
        let end = bottle.join(format!("pin-{token:016x}"));
        File::create_new(&end).map_err(failed(bottle))?;
        symlink(&end, pins.join(format!("{token:016x}"))).map_err(failed(pins))
    }
}

impl Store {
    /// The names of the bottles that keep an image. Pins of those that are gone are swept.
    pub(super) fn kept_by(&self, key: ImageKey) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        let pins = self.pins(key);
        let entries = match fs::read_dir(&pins) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
            entries => entries?,
        };
        for entry in entries {
            let pin = entry?.path();
            let end = fs::read_link(&pin)?;
            if end.try_exists()? {
                let name = end.parent().and_then(Path::file_name).unwrap_or(end.as_os_str());
                names.push(name.to_string_lossy().into_owned());
            } else {
                fs::remove_file(&pin)?;
            }
        }
        names.sort();
        Ok(names)
    }

    pub(super) fn pins(&self, key: ImageKey) -> PathBuf {
        self.images().join("pins").join(key.to_string())
    }
}
