//! A machine of a test's own: a home with a manifest perhaps, and a project.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub(crate) struct Place {
    root: tempfile::TempDir,
}

/// What `bottle` said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self { root: tempfile::tempdir().unwrap() };
        for dir in ["config", "project/deep/down", "elsewhere"] {
            fs::create_dir_all(place.root.path().join(dir)).unwrap();
        }
        place
    }

    /// A file below the root: `config/bottle.toml` is the user's, `project/bottle.toml` the project's.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    pub(crate) fn user(&self, toml: &str) -> &Self {
        self.write("config/bottle.toml", toml)
    }

    pub(crate) fn project(&self, toml: &str) -> &Self {
        self.write("project/bottle.toml", toml)
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.path().canonicalize().unwrap().join(path)
    }

    pub(crate) fn bottle_in(&self, dir: &str, words: &[&str]) -> Said {
        let mut bottle = Command::new("timeout");
        bottle.arg("60").arg(env!("CARGO_BIN_EXE_bottle")).args(words);
        self.run(bottle.current_dir(self.path(dir)).stdin(Stdio::null()))
    }

    /// In the project, at a terminal where somebody types this.
    #[cfg(target_os = "linux")]
    pub(crate) fn at_terminal(&self, words: &str, typed: &str) -> Said {
        use std::io::{Seek, Write};
        let mut keys = tempfile::tempfile().unwrap();
        keys.write_all(typed.as_bytes()).and_then(|()| keys.rewind()).unwrap();
        let bottle = format!("exec {} {words}", env!("CARGO_BIN_EXE_bottle"));
        let mut script = Command::new("timeout");
        script.args(["60", "script", "--quiet", "--return", "--command", &bottle, "/dev/null"]);
        self.run(script.current_dir(self.path("project")).stdin(keys))
    }

    fn run(&self, command: &mut Command) -> Said {
        command.env("BOTTLE_STATE_DIR", self.path("state")).env("BOTTLE_CONFIG_DIR", self.path("config"));
        command.env("CODEX_HOME", self.path("codex"));
        // What needs docker has gone too far.
        command.env("DOCKER_HOST", "unix:///nonexistent/docker.sock");
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { code: status.code(), out: text(stdout), err: text(stderr) }
    }

    /// In the project.
    pub(crate) fn bottle(&self, words: &[&str]) -> Said {
        self.bottle_in("project", words)
    }

    /// The plan of a run, with the place's own paths taken out.
    pub(crate) fn plan(&self, words: &[&str]) -> String {
        let mut all = vec!["run", "--plan"];
        all.extend(words);
        let said = self.bottle(&all);
        assert_eq!(said.code, Some(0), "{said:?}");
        said.out.replace(self.path("").to_str().unwrap(), "/place/")
    }
}

impl Said {
    /// It failed, for this reason, and said what to do; nothing of it can command a terminal.
    pub(crate) fn refused(&self, parts: &[&str]) {
        assert_eq!(self.code, Some(125), "{self:?}");
        for part in parts.iter().chain(&["\nhint: "]) {
            assert!(self.err.contains(part), "{part:?} is not in: {}", self.err);
        }
        assert!(!self.err.contains(|c: char| c.is_control() && c != '\n'), "{:?}", self.err);
    }
}

/// Compares with a file of `tests/manifest/snapshots`. With `BOTTLE_BLESS` set, it is written instead.
pub(crate) fn assert_as_kept(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifest/snapshots").join(name);
    if std::env::var_os("BOTTLE_BLESS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, kept, "{}", path.display());
}
