//! What a hostile container puts before the operator: `bottle proposals` with a bottle that only seems to live.

// clippy.toml lets tests do this in functions marked as tests, and not in what those share.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Output};

use bottle_gates::file;
use rustix::fs::{CWD, FileType, FlockOperation, Mode, flock, mknodat};

/// Bottles that live, as far as `bottle` can see.
struct Bottles {
    state: tempfile::TempDir,
    locks: Vec<File>,
}

impl Bottles {
    fn start(slugs: &[&str]) -> Self {
        let mut bottles = Self { state: tempfile::tempdir().unwrap(), locks: Vec::new() };
        for slug in slugs {
            file::private_dir(&bottles.proposals(slug)).unwrap();
            let lock = File::create(bottles.state.path().join(slug).join("lock")).unwrap();
            flock(&lock, FlockOperation::LockExclusive).unwrap();
            bottles.locks.push(lock);
        }
        bottles
    }

    fn proposals(&self, slug: &str) -> PathBuf {
        self.state.path().join(slug).join("bundle/supervise/proposals")
    }

    fn put(&self, slug: &str, id: &str, text: &str) {
        fs::write(self.proposals(slug).join(format!("{id}.json")), text).unwrap();
    }

    fn bottle(&self, words: &[&str]) -> Output {
        let mut bottle = Command::new("timeout");
        bottle.arg("60").arg(env!("CARGO_BIN_EXE_bottle")).args(words);
        bottle.env("BOTTLE_STATE_DIR", self.state.path()).output().unwrap()
    }
}

fn good(id: &str) -> String {
    format!(
        r#"{{"version":1,"id":"{id}","asked":1,"grant":{{"host":{{"host":"docs.example.com"}}}},"reason":"fine"}}"#
    )
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn nothing_but_lines_reaches_the_terminal() {
    let mut bottles = Bottles::start(&["one"]);
    let path = |id: &str| bottles.proposals("one").join(format!("{id}.json"));
    bottles.put("one", "00000001", &good("00000001"));
    bottles.put("one", "00000002", &good("00000002").replace("fine", "\\u001b[2Jx"));
    bottles.put("one", "00000003", &good("00000001"));
    bottles.put("one", "00000004", &good("00000004").replace("docs.example.com", "169.254.169.254"));
    bottles.put("one", "00000005", &" ".repeat(10 << 20));
    std::os::unix::fs::symlink("/etc/passwd", path("00000006")).unwrap();
    mknodat(CWD, path("00000007"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    fs::create_dir(path("00000008")).unwrap();
    bottles.put(
        "one",
        "00000009",
        &good("00000009").replace("\"asked\":1", "\"asked\":18446744073709551615"),
    );
    bottles.put("one", "\u{1b}[2J", &good("00000001"));
    let output = bottles.bottle(&["proposals"]);
    assert!(output.status.success(), "{output:?}");
    let shown = text(&output.stdout) + &text(&output.stderr);
    assert!(!shown.contains('\u{1b}'), "{shown}");
    let first_words = text(&output.stdout);
    let ids: Vec<&str> = first_words.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(ids, ["00000001", "00000009"], "{shown}");
    assert_eq!(text(&output.stderr).lines().count(), 1, "{shown}");

    // A flood of files is read up to a limit.
    for n in 0..2000 {
        let id = format!("{:08x}", n + 0x100);
        bottles.put("one", &id, &good(&id));
    }
    let listed: Vec<serde_json::Value> =
        serde_json::from_slice(&bottles.bottle(&["proposals", "--json"]).stdout).unwrap();
    assert!((200..=256).contains(&listed.len()), "{}", listed.len());
    // Who is dead asks for nothing.
    bottles.locks.clear();
    assert_eq!(text(&bottles.bottle(&["proposals", "--json"]).stdout), "[]\n");
}

#[test]
fn an_id_is_of_one_proposal_or_refused() {
    let bottles = Bottles::start(&["one", "two"]);
    for slug in ["one", "two"] {
        bottles.put(slug, "00000001", &good("00000001"));
    }
    for (id, why) in [
        ("../../lock", "is no ID of a proposal"),
        ("deadbeef", "there is no proposal deadbeef\nhint: `bottle proposals` lists those that wait"),
        ("00000001", "several bottles have a proposal 00000001: one, two\nhint: say which one with --bottle"),
    ] {
        let output = bottles.bottle(&["approve", id]);
        assert_eq!(output.status.code(), Some(125));
        assert!(text(&output.stderr).contains(why), "{output:?}");
    }
}
