//! Several bottles with one state directory, and the state of their disks.

use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::docker;
use crate::harness::{Bottle, Ended, archive, bottles, launchers, vmm_processes};

/// A state directory of its own. Whatever a test leaves in it is removed.
pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn bottle(&self, args: &[&str]) -> Bottle {
        Bottle::new(args).env("BOTTLE_STATE_DIR", self.path())
    }

    /// The same of another `bottle`.
    pub(crate) fn with(&self, program: &Path, args: &[&str]) -> Bottle {
        Bottle::wrapped(&[], program, args).env("BOTTLE_STATE_DIR", self.path())
    }

    /// `bottle ARGS`, which ends with this code.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32, args: &[&str]) -> Ended {
        let ended = self.bottle(args).run();
        assert_eq!(ended.code, code, "{}", ended.quoted());
        ended
    }

    /// `bottle ARGS`, which ends with 0. Returns its stdout.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        self.expect(0, args).text().to_owned()
    }

    /// `bottle ARGS`, which is refused with a line that says each of `words`, and a hint.
    #[track_caller]
    pub(crate) fn refused(&self, words: &[&str], args: &[&str]) {
        let ended = self.expect(125, args);
        let lines: Vec<&str> = ended.stderr.lines().collect();
        let is_plain = lines.len() == 2 && lines[0].starts_with("bottle: ") && lines[1].starts_with("hint: ");
        assert!(is_plain, "not one line and a hint: {}", ended.quoted());
        assert!(words.iter().all(|word| lines[0].contains(word)), "{words:?}: {}", ended.quoted());
        eprintln!("    {}\n    {}", lines[0], lines[1]);
    }

    /// `bottle vm run OPTIONS --name NAME IMAGE -- bash -c SCRIPT`, in a small guest of the Debian image.
    pub(crate) fn vm_run(&self, name: &str, options: &[&str], script: &str) -> Bottle {
        let image = format!("docker-archive:{}", archive("debian").display());
        let mut args = vec!["vm", "run", "--cpus", "1", "--memory", "512", "--name", name];
        args.extend(options);
        args.extend([&*image, "--", "bash", "-c", script]);
        self.bottle(&args)
    }

    /// The same in the background.
    #[track_caller]
    pub(crate) fn detach(&self, name: &str, options: &[&str], script: &str) {
        let options = [&["-d"], options].concat();
        let ended = self.vm_run(name, &options, script).run();
        assert_eq!((ended.code, ended.text()), (0, &*format!("{name}\n")), "{}", ended.quoted());
    }

    /// What is known of a bottle; nothing if there is none.
    #[track_caller]
    pub(crate) fn look(&self, name: &str) -> Value {
        let listed: Vec<Value> = serde_json::from_str(&self.ok(&["ps", "-a", "--json"])).unwrap();
        listed.into_iter().find(|bottle| bottle["name"] == name).unwrap_or(Value::Null)
    }

    /// Waits for this in a bottle's log.
    #[track_caller]
    pub(crate) fn until_logged(&self, name: &str, text: &str) {
        let mut follow = self.bottle(&["logs", "-f", name]).start();
        follow.until_stdout(text);
        // Dropping it kills it.
    }

    /// Nothing is left of any bottle.
    #[track_caller]
    pub(crate) fn nothing_left(&self) {
        assert_eq!(bottles(self.path()), Vec::<String>::new());
        assert_eq!((vmm_processes(), launchers()), (vec![], vec![]));
        assert_eq!(docker::leftovers(), Vec::<String>::new());
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for name in bottles(self.path()) {
            let ended = self.bottle(&["rm", "-f", &name]).run();
            if ended.code != 0 {
                eprintln!("{}", ended.quoted());
            }
        }
    }
}

pub(crate) fn kill(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).unwrap();
}

/// The disk of a bottle is one that a power cut may leave: no damage in the image's own tables, and after its journal was
/// replayed, and nothing else done, a file system without a fault.
#[track_caller]
pub(crate) fn assert_disk_is_sound(bottle: &Path) {
    let run = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        (output.status.code().unwrap_or(-1), format!("{program} {args:?}: {text}"))
    };
    let disk = bottle.join("disk.qcow2");
    let disk = disk.to_str().unwrap();
    let (code, text) = run("qemu-img", &["check", disk]);
    // 3: clusters that nobody uses are taken, as after any power cut.
    assert!(matches!(code, 0 | 3), "{text}");
    let raw = TempDir::new().unwrap();
    let raw = raw.path().join("raw");
    let raw = raw.to_str().unwrap();
    let (code, text) = run("qemu-img", &["convert", "-O", "raw", disk, raw]);
    assert_eq!(code, 0, "{text}");
    let (code, text) = run("e2fsck", &["-E", "journal_only", "-y", raw]);
    assert!(matches!(code, 0 | 1), "{text}");
    let (code, text) = run("e2fsck", &["-fn", raw]);
    assert_eq!(code, 0, "{text}");
}
