//! `bottle image import`, run with a cache and a docker configuration of its own.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

pub(crate) struct Bottle {
    dir: TempDir,
    path: String,
}

impl Bottle {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = format!("{}:{}", dir.path().join("bin").display(), std::env::var("PATH").unwrap());
        for name in ["docker", "bin", "images"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self { dir, path }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes docker's `config.json`.
    pub(crate) fn docker_config(&self, json: &str) {
        fs::write(self.path("docker/config.json"), json).unwrap();
    }

    /// Writes a program that is found in the PATH.
    pub(crate) fn program(&self, name: &str, script: &str) {
        let (text, path) = (self.path("program"), self.path("bin").join(name));
        fs::write(&text, format!("#!/bin/sh\n{script}\n")).unwrap();
        // A file that is open for writing, be it in a child that another test is just starting, can't be run.
        let copied = Command::new("install").args(["-m", "755"]).args([text, path]).status();
        assert!(copied.unwrap().success());
    }

    pub(crate) fn run(&self, arguments: &[&str], environment: &[(&str, &OsStr)]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bottle"));
        command.args(arguments).env("PATH", &self.path).env("HOME", self.dir.path());
        command.env("BOTTLE_CACHE_DIR", self.path("cache")).env("DOCKER_CONFIG", self.path("docker"));
        command.env("DOCKER_HOST", "unix:///nonexistent/docker.sock").env("RUST_LOG", "bottle=info");
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "SSL_CERT_FILE"] {
            command.env_remove(name);
        }
        command.envs(environment.iter().copied()).output().unwrap()
    }

    /// Imports an image, and returns its ID.
    #[track_caller]
    pub(crate) fn import(&self, image: &str) -> String {
        let output = self.run(&["image", "import", image], &[]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{image}: {stderr}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Imports an image that is refused, and returns what is said of that. Nothing of it is kept.
    #[track_caller]
    pub(crate) fn refused(&self, image: &str) -> String {
        let output = self.run(&["image", "import", image], &[]);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(125), "{image}: {stderr}");
        assert!(stderr.contains("hint: "), "{stderr}");
        let images = self.path("cache/images");
        let kept = fs::read_dir(&images)
            .unwrap()
            .chain(fs::read_dir(images.join("work")).into_iter().flatten())
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !["locks", "daemon", "work", ".lock"].contains(&name.as_str()))
            .collect::<Vec<_>>();
        assert!(kept.is_empty(), "{stderr}: left {kept:?}");
        stderr
    }

    /// The bytes of an imported image.
    pub(crate) fn base(&self, id: &str) -> Vec<u8> {
        sparse(&self.path("cache/images").join(id).join("base.ext4"))
    }
}

/// What is not a hole in a file, each piece with its place before it.
fn sparse(path: &Path) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let file = fs::File::open(path).unwrap();
    let mut data = Vec::new();
    let mut at = 0;
    while let Ok(start) = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) {
        let end = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(start)).unwrap();
        let mut piece = vec![0; usize::try_from(end - start).unwrap()];
        file.read_exact_at(&mut piece, start).unwrap();
        data.extend_from_slice(&start.to_le_bytes());
        data.extend_from_slice(&piece);
        at = end;
    }
    data
}
