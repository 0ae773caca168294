//! A bottle behind a bundle of daemons, its shell, and where its secrets may not be.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::{Command, Output};

use bottle::image::ImportOptions;
use bottle::plan::{BundleRequest, Machine, Plan, Process, Provide};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::NamedTempFile;

use super::outside::Outside;
use crate::docker;
use crate::harness::{self, Ended, Shell, archive, until, vmm_processes};
use crate::provision::carry_out;

/// At a time, of a process's memory.
const PIECE: usize = 1 << 20;

/// See the module.
pub(super) struct Guest {
    shell: Shell,
    _plan: Option<NamedTempFile>,
}

/// The image of the daemons.
pub(super) fn sidecars_image() -> String {
    std::env::var("BOTTLE_TEST_SIDECARS").expect("BOTTLE_TEST_SIDECARS is not set: run cargo xtask test")
}

/// A small guest of this image behind a bundle of daemons, in which `sh` has these arguments.
pub(super) fn plan(outside: &Outside, image: &str, arguments: &[&str]) -> Plan {
    let words = ["sh"].iter().chain(arguments).map(Into::into);
    Plan {
        name: None,
        image: format!("docker-archive:{}", archive(image).display()).parse().unwrap(),
        import: ImportOptions::default(),
        machine: Machine { cpus: Some(1), memory_mib: Some(384), ..Machine::default() },
        allow: Vec::new(),
        bundle: Some(BundleRequest::Daemons {
            image: sidecars_image(),
            manifest: Box::new(outside.manifest()),
        }),
        process: Process { args: words.collect(), interactive: arguments.is_empty(), ..Process::default() },
        provide: Provide::default(),
        called: None,
        keep: !arguments.is_empty(),
    }
}

impl Guest {
    pub(super) fn start(outside: &Outside) -> Self {
        let (bottle, plan) = carry_out(&plan(outside, "client", &[]));
        Self { shell: Shell::of(bottle.start()), _plan: Some(plan) }
    }

    /// The one that this shell is in.
    pub(super) fn of(shell: Shell) -> Self {
        Self { shell, _plan: None }
    }

    /// Runs it, and returns what it wrote to stdout.
    pub(super) fn run(&mut self, script: &str) -> String {
        self.shell.run(script)
    }

    /// The status that a request had, and what came back.
    pub(super) fn curl(&mut self, words: &[&str]) -> String {
        let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        let words = words.join(" ");
        // Of a proxy that refuses to connect, there is only that status.
        self.run(&format!(
            "rm -f body; curl --silent --show-error --max-time 60 --output body --write-out '%{{http_code}} %{{http_connect}}' \
             {words} >status; cat body >>status 2>&1; sed -e '1s/^000 //' -e '1s/^\\([1-9][0-9]*\\) [0-9]*/\\1 /' status"
        ))
        .trim_end()
        .to_owned()
    }

    /// `bottle`, as the operator has it.
    pub(super) fn bottle(&self, words: &[&str]) -> Output {
        let mut bottle = Command::new(harness::bottle());
        bottle.args(words).env("BOTTLE_STATE_DIR", self.state()).output().unwrap()
    }

    /// Waits for a proposal; its ID.
    pub(super) fn proposal(&self) -> String {
        let mut id = String::new();
        until("a proposal is listed", || {
            let listed = self.bottle(&["proposals", "--json"]);
            let listed: Vec<Value> = serde_json::from_slice(&listed.stdout).expect("JSON");
            id = listed.first().and_then(|one| one["id"].as_str()).unwrap_or_default().to_owned();
            !id.is_empty()
        });
        id
    }

    /// Where its state is.
    pub(super) fn state(&self) -> &Path {
        self.shell.state()
    }

    /// None of the secrets is in the guest, nor in what the host keeps of it: the VM's memory, in which are all of the guest's
    /// processes and their environments, its disk and all else of its directory, what docker keeps, and all command lines.
    pub(super) fn assert_nowhere(&mut self, secrets: &[&str]) {
        let vmm = vmm_processes();
        let [vmm] = vmm.as_slice() else { panic!("{vmm:?}") };
        // Put together in the guest, so that it is in the memory of nothing else.
        self.run("IN_MEMORY=what-is-$(echo here)-is-found sleep 1000 &");
        assert!(
            in_memory(*vmm, &["what-is-here-is-found"]),
            "the environment of a process in the guest was not found"
        );
        assert!(!in_memory(*vmm, secrets), "in the memory of the VM");
        let docker = docker::bundle_inspected();
        let mut lines = Command::new("grep");
        lines.args(["-rlaF", "--devices=skip"]);
        for secret in secrets {
            assert!(!docker.contains(secret), "docker keeps it: {docker}");
            lines.args(["-e", secret]);
        }
        let found = lines.arg(self.state()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout), "", "files that have it");
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            for file in ["cmdline", "environ"] {
                let bytes = std::fs::read(process.path().join(file)).unwrap_or_default();
                assert!(!secrets.iter().any(|secret| has(&bytes, secret.as_bytes())), "{:?}", process.path());
            }
        }
    }

    /// Kills its launcher.
    pub(super) fn kill(&self) {
        self.shell.running().signal(Signal::KILL);
    }

    /// Waits for its end, which something else has brought about.
    pub(super) fn end(self) -> Ended {
        self.shell.until_ended()
    }

    /// Ends it. Nothing is left of it.
    #[track_caller]
    pub(super) fn exit(self) {
        self.shell.end();
    }
}

/// Kills the process, on this machine, whose command line has this in it; NULs separate its words.
pub(super) fn kill(line: &str) {
    let mut killed = 0;
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let found =
            std::fs::read(process.path().join("cmdline")).is_ok_and(|words| has(&words, line.as_bytes()));
        if found {
            kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
            killed += 1;
        }
    }
    assert!(killed > 0, "no process has {line:?} on its command line");
}

/// Is any of these in the memory of a process? Pages that it never touched are read as zeros.
fn in_memory(pid: u32, wanted: &[&str]) -> bool {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let overlap = wanted.iter().map(|one| one.len()).max().unwrap_or_default();
    let mut piece = vec![0; PIECE + overlap];
    for line in
        maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|modes| modes.starts_with("rw")))
    {
        let (from, to) = line.split(' ').next().and_then(|range| range.split_once('-')).unwrap();
        let (mut from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        while from < to {
            let length = piece.len().min(usize::try_from(to - from).unwrap());
            memory.seek(SeekFrom::Start(from)).unwrap();
            // What can't be read is a device's.
            if memory.read_exact(&mut piece[..length]).is_err() {
                break;
            }
            if wanted.iter().any(|one| has(&piece[..length], one.as_bytes())) {
                return true;
            }
            from += PIECE as u64;
        }
    }
    false
}

fn has(text: &[u8], part: &[u8]) -> bool {
    let mut rest = text;
    // Memory is zeros for the most part: only where the first byte is, the others are looked at.
    while let Some(at) = rest.iter().position(|byte| *byte == part[0]) {
        rest = &rest[at..];
        if rest.starts_with(part) {
            return true;
        }
        rest = &rest[1..];
    }
    false
}
