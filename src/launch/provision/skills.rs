//! Skills: directories of this machine, copied to where the agent's program looks for them.
//!
//! Each is opened by its real path, so that nobody, a guest with a volume for one, makes it lead elsewhere after it was shown
//! and agreed to. Links in it are copied as links. At each start it is copied over what is there.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bottle_transfer::Walk;

use super::ProvisionError;
use super::hands::Hands;
use crate::plan::Provide;
use crate::vm::agent::{Gift, Within};

const STEP: &str = "skills";

/// Looks, before anything starts, whether all of them can be copied.
///
/// # Errors
/// When one is missing or no directory, or there are two of one name.
pub(in crate::launch) fn check(provide: &Provide) -> Result<(), ProvisionError> {
    let mut names = BTreeMap::new();
    for path in &provide.skills {
        open(path)?;
        if let Some(other) = names.insert(name(path)?, path) {
            return Err(ProvisionError::TwoSkills { paths: [other.clone(), path.clone()] });
        }
    }
    Ok(())
}

/// Copies them.
pub(super) fn copy(hands: &Hands<'_>, skills: &[PathBuf], dir: &str) -> Result<(), ProvisionError> {
    skills.iter().try_for_each(|path| {
        let gift = Gift::Directory(Box::new(open(path)?));
        hands.give(STEP, gift, Within::Home, &format!("{dir}/{}", name(path)?), false)
    })
}

fn open(path: &Path) -> Result<Walk, ProvisionError> {
    // What is not there has no real path either: this says it more plainly.
    std::fs::metadata(path).map_err(|source| ProvisionError::NoSkill { path: path.to_owned(), source })?;
    Walk::open_real(path).map_err(|source| ProvisionError::Skill { source })
}

/// What it is called in the guest.
fn name(path: &Path) -> Result<&str, ProvisionError> {
    let unnamed = || ProvisionError::UnnamedSkill { path: path.to_owned() };
    let name = path.file_name().ok_or_else(unnamed)?;
    std::str::from_utf8(name.as_bytes()).map_err(|_| unnamed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_a_directory_with_a_name_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for path in ["a/review", "b/review", "b/test"] {
            std::fs::create_dir_all(root.join(path)).unwrap();
        }
        std::fs::write(root.join("file"), "").unwrap();
        std::os::unix::fs::symlink("a", root.join("link")).unwrap();
        let check = |paths: &[&str]| {
            let skills = paths.iter().map(|path| root.join(path)).collect();
            check(&Provide { skills, ..Provide::default() }).map_err(|error| error.to_string())
        };
        assert_eq!(check(&["a/review", "b/test"]), Ok(()));
        for (paths, why) in [
            (&["a/review", "b/review"][..], "two skills of one name"),
            (&["a/review", "a/review"], "two skills of one name"),
            (&["a/none"], "No such file"),
            (&["file"], "is no directory"),
            (&["link/review"], "or a link leads to it"),
        ] {
            let said = check(paths).unwrap_err();
            assert!(said.starts_with("skills: ") && said.contains(why), "{said}");
        }
        let unnamed = Provide { skills: vec!["/".into()], ..Provide::default() };
        assert!(super::check(&unnamed).is_err());
    }
}
