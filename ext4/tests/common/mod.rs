//! Images in temporary files, looked at by e2fsprogs and, as root, by the kernel.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bottle_ext4::{Meta, Options, Summary, Time, Writer};
use tempfile::TempDir;

pub(crate) const UUID: [u8; 16] = *b"\x01\x23\x45\x67\x89\xab\x4c\xde\x8f\x01\x23\x45\x67\x89\xab\xcd";

/// 2024-02-29, which is in the past of whoever runs this.
pub(crate) const TIME: i64 = 1_709_164_800;

pub(crate) fn options(size: u64) -> Options {
    Options { time: TIME, ..Options::new(size, UUID) }
}

pub(crate) fn meta(mode: u16) -> Meta<'static> {
    Meta { mode, mtime: Time { seconds: TIME, nanoseconds: 5 }, ..Meta::default() }
}

/// An image in a directory that goes away with it.
pub(crate) struct Image {
    pub(crate) dir: TempDir,
    pub(crate) path: PathBuf,
    pub(crate) summary: Summary,
}

/// Makes an image with what `fill` puts in, and has it checked.
pub(crate) fn image(options: Options, fill: impl FnOnce(&mut Writer)) -> Image {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    let file = std::fs::File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    let mut writer = Writer::create(file, options).unwrap();
    fill(&mut writer);
    let (file, summary) = writer.finish().unwrap();
    assert_eq!(bottle_ext4::checksum(&file).unwrap(), summary.checksum);
    let image = Image { dir, path, summary };
    image.check();
    image
}

pub(crate) fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap_or_else(|error| panic!("{program} (of e2fsprogs, in /sbin?): {error}"))
}

impl Image {
    fn text(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// Has e2fsck look at everything. It must find nothing to say.
    pub(crate) fn check(&self) {
        let run = run("e2fsck", &["-fn", self.text()]);
        let said = String::from_utf8_lossy(&run.stdout);
        // Five passes, and the line with the counts.
        let complaints: Vec<_> = said
            .lines()
            .filter(|line| !line.starts_with("Pass ") && !line.starts_with(self.text()) && !line.is_empty())
            .filter(|line| !line.contains(" files (") || !line.ends_with(" blocks"))
            .collect();
        assert!(run.status.success() && complaints.is_empty(), "{said}");
    }

    pub(crate) fn debugfs(&self, request: &str) -> String {
        let run = run("debugfs", &["-R", request, self.text()]);
        String::from_utf8_lossy(&run.stdout).into_owned()
    }

    /// What `stat` of debugfs says of a path.
    #[track_caller]
    pub(crate) fn stat(&self, path: &str, expected: &[&str]) {
        let said = self.debugfs(&format!("stat {path}"));
        for expected in expected {
            assert!(said.contains(expected), "{path}: no {expected:?} in:\n{said}");
        }
    }

    /// Mounts the image read-only, and has `look` look at it. Not done where that is not allowed.
    pub(crate) fn mounted(&self, look: impl FnOnce(&Path)) {
        self.mounted_with("loop,ro", look);
    }

    pub(crate) fn mounted_with(&self, options: &str, look: impl FnOnce(&Path)) {
        let at = self.dir.path().join("mnt");
        std::fs::create_dir_all(&at).unwrap();
        let mounted = run("mount", &["-t", "ext4", "-o", options, self.text(), at.to_str().unwrap()]);
        if !mounted.status.success() {
            let said = String::from_utf8_lossy(&mounted.stderr);
            let unable =
                ["must be superuser", "permission denied", "failed to setup loop", "Operation not permitted"];
            assert!(unable.iter().any(|text| said.contains(text)), "mount: {said}");
            // Past the test's own output, which nobody sees of a test that succeeds.
            let skipped = "not looked at by the kernel, since mounting is not possible here";
            std::io::stderr().write_all(format!("{skipped}: {said}\n").as_bytes()).unwrap();
            return;
        }
        let _unmount = Unmount(&at);
        look(&at);
    }
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        // Busy for a moment, should another test's thread be starting a process, which has our open files until it is another
        // program.
        let tried = (0..100).any(|_| {
            let run = run("umount", &[self.0.to_str().unwrap()]);
            run.status.success() || {
                std::thread::sleep(std::time::Duration::from_millis(50));
                false
            }
        });
        assert!(tried || std::thread::panicking(), "umount {}", self.0.display());
    }
}

pub(crate) fn bytes_path(dir: &Path, name: &[u8]) -> PathBuf {
    dir.join(std::ffi::OsStr::from_bytes(name))
}
