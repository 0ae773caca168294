//! Imports within a time limit, into a store beside which lies a file that none may touch.

use std::ffi::OsStr;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bottle::image::{Image, ImageError, ImportOptions, Source, Store};
use tempfile::TempDir;

use super::archive::{Packing, docker_image};

/// Long after the slowest import on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// What `work` returns, if it does so in time and without a panic.
#[track_caller]
pub(crate) fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    let worker = thread::spawn(move || sender.send(work()));
    match receiver.recv_timeout(LIMIT) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("not done within {LIMIT:?}"),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            panic!("it panicked: {:?}", worker.join().err().is_some())
        }
    }
}

/// A directory for a store, and the canary.
pub(crate) struct Fixture {
    dir: TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("canary")).unwrap();
        fs::write(dir.path().join("canary/file"), "untouched").unwrap();
        fs::create_dir(dir.path().join("in")).unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The directory that hostile entries aim at.
    pub(crate) fn canary(&self) -> PathBuf {
        self.dir.path().join("canary")
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    /// Imports an archive. Whatever comes of it, the canary is as it was, and an error leaves nothing in the store.
    #[track_caller]
    pub(crate) fn import(&self, archive: &[u8]) -> Result<Image, ImageError> {
        let path = self.dir.path().join("in/image.tar");
        fs::write(&path, archive).unwrap();
        self.import_from(Source::DockerArchive(path.into()))
    }

    #[track_caller]
    pub(crate) fn import_from(&self, source: Source) -> Result<Image, ImageError> {
        let cache = self.cache();
        let result =
            in_time(move || {
                Store::open(&cache)?
                    .import(&source, &ImportOptions::default(), &mut |_| ControlFlow::Continue(()))
            });
        self.check_outside();
        if let Err(error) = &result {
            self.check_empty(error);
        }
        result
    }

    #[track_caller]
    fn check_outside(&self) {
        assert_eq!(names(self.dir.path()), ["cache", "canary", "in"], "something is beside the store");
        assert_eq!(names(&self.canary()), ["file"], "something is in the canary's directory");
        assert_eq!(fs::read(self.canary().join("file")).unwrap(), b"untouched");
    }

    #[track_caller]
    pub(crate) fn check_empty(&self, error: &impl std::fmt::Display) {
        let images = self.cache().join("images");
        let mut left = names(&images);
        left.extend(names(&images.join("work")));
        left.retain(|name| !["locks", "daemon", "work", ".lock"].contains(&name.as_str()));
        assert!(left.is_empty(), "{error}: left {left:?}");
    }

    /// Imports an image of these layers, in each way to pack them. Each is checked by e2fsck, and looked at.
    #[track_caller]
    pub(crate) fn accepted<L: AsRef<[u8]>>(&self, layers: &[L], look: impl Fn(&Path)) {
        for packing in Packing::ALL {
            match self.import(&docker_image(layers, packing)) {
                Ok(image) => self.checked(image, &look),
                Err(error) => panic!("{packing:?}: {error}"),
            }
        }
    }

    /// Has an image checked and looked at, and takes it out of the store, so that it can be imported again.
    #[track_caller]
    pub(crate) fn checked(&self, image: Image, look: impl Fn(&Path)) {
        fsck(&image.base);
        look(&image.base);
        fs::remove_dir_all(image.base.parent().unwrap()).unwrap();
    }

    /// The refusal of an image of these layers, in whose message all of `words` are: the same however they are packed.
    #[track_caller]
    pub(crate) fn refused<L: AsRef<[u8]>>(&self, layers: &[L], words: &[&str]) {
        for packing in Packing::ALL {
            match self.import(&docker_image(layers, packing)) {
                Ok(_) => panic!("{packing:?}: accepted, where {words:?} should be said"),
                Err(error) => says(&error, words),
            }
        }
    }

    /// The refusal of an archive.
    #[track_caller]
    pub(crate) fn refused_archive(&self, archive: &[u8], words: &[&str]) -> ImageError {
        match self.import(archive) {
            Ok(_) => panic!("accepted, where {words:?} should be said"),
            Err(error) => {
                says(&error, words);
                error
            }
        }
    }
}

/// The message has all of `words`, on one line, and there is a hint.
#[track_caller]
fn says(error: &ImageError, words: &[&str]) {
    let message = error.to_string();
    for word in words {
        assert!(message.contains(word), "no {word:?} in: {message}");
    }
    assert!(!message.contains('\n') && message.len() < 30_000, "{message}");
    assert!(error.hint().is_some(), "no hint: {message}");
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// e2fsck finds nothing to say.
#[track_caller]
pub(crate) fn fsck(image: &Path) {
    let run = Command::new("/sbin/e2fsck").arg("-fn").arg(image).output().expect("Debian: e2fsprogs");
    let said = String::from_utf8_lossy(&run.stdout);
    let complaints: Vec<_> = said
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("Pass "))
        // The last line counts files and blocks.
        .filter(|line| !(line.contains(" files (") && line.ends_with(" blocks")))
        .collect();
    assert!(run.status.success() && complaints.is_empty(), "{said}");
}

/// What debugfs says to a request.
pub(crate) fn debugfs(image: &Path, request: impl AsRef<[u8]>) -> String {
    let mut debugfs = Command::new("/sbin/debugfs");
    debugfs.arg("-R").arg(OsStr::from_bytes(request.as_ref())).arg(image);
    let output = debugfs.output().expect("Debian: e2fsprogs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What kind of thing is at `path`: "regular", "directory", "symlink" …, or "nothing".
pub(crate) fn kind(image: &Path, path: impl AsRef<[u8]>) -> String {
    let said = debugfs(image, [b"stat \"", path.as_ref(), b"\""].concat());
    let kind = said.split_whitespace().skip_while(|word| *word != "Type:").nth(1);
    kind.unwrap_or("nothing").to_owned()
}

/// The content of a file.
pub(crate) fn content(image: &Path, path: &str) -> String {
    debugfs(image, format!("cat \"{path}\""))
}
