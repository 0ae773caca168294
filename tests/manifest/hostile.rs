//! Files that are meant to do harm by being read.

use std::os::unix::fs::symlink;

use bottle::manifest::{FileError, Layer};

use crate::place::Place;
use crate::plans::{FULL, REVIEWER};
use crate::random::Random;

/// Changed at random; a second on the slowest machine.
const DAMAGED: usize = 3000;

/// What means something in TOML, YAML or to a terminal.
const ODD: &[u8] = b"[]{}\"'=.,#\n\x1b\\:-&*!|>";

#[test]
fn what_is_no_manifest_is_refused_at_once() {
    let place = Place::new();
    place.user("[bottle.b]\n");
    for (content, part) in [
        (vec![b'#'; 10 << 20], "is larger than 256 KiB"),
        (b"a = 1\n\xff\xfe".to_vec(), "bottle.toml:2: not UTF-8"),
        (b"\x1b[2J = 1\n".to_vec(), "bottle.toml:1:"),
        ("[bottle.b]\n\"\\u001b[2J\\u202e\" = 1\n".into(), "unknown key"),
        ("[bottle.b]\nhosts = [\"\\u001b[2J\"]\n".into(), "is no host name"),
        (format!("a = {}1{}\n", "[".repeat(50_000), "]".repeat(50_000)).into(), "recurs"),
        (format!("a{} = 1\n", ".a".repeat(50_000)).into(), "recurs"),
        (format!("a = {}1{}\n", "{ a = ".repeat(10_000), "}".repeat(10_000)).into(), "recurs"),
    ] {
        place.write("project/bottle.toml", &content);
        place.bottle(&["run", "a"]).refused(&[part]);
    }
}

#[test]
fn links_and_devices_give_nothing_away_and_hang_nothing() {
    let place = Place::new();
    place.user("[bottle.b]\n");
    for (target, part) in [
        ("/dev/zero", "is no file"),
        ("/dev/tty", "bottle: "),
        ("/nonexistent", "cannot read"),
        ("bottle.toml", "cannot read"),
    ] {
        let link = place.path("project/bottle.toml");
        std::fs::remove_file(&link).unwrap_or_default();
        symlink(target, &link).unwrap();
        place.bottle(&["run", "a"]).refused(&[part]);
    }
    let agents = place.path("config/agents");
    symlink("/dev", &agents).unwrap();
    place.bottle_in("elsewhere", &["run", "a"]).refused(&["there is no agent"]);
}

#[test]
fn yaml_has_no_bombs() {
    let place = Place::new();
    place.user("[bottle.b]\n");
    let mut laughs = "x0: &x0 [ha, ha, ha, ha, ha, ha, ha, ha, ha]\n".to_owned();
    for n in 1..9 {
        let all = vec![format!("*x{}", n - 1); 9].join(", ");
        laughs += &format!("x{n}: &x{n} [{all}]\n");
    }
    for yaml in [
        laughs,
        "bottle: &a b\nimage: *a\n".to_owned(),
        format!("bottle: {}{}\n", "[".repeat(20_000), "]".repeat(20_000)),
        format!("command: [{}]\n", "a, ".repeat(50_000)),
        "bottle: b\n<<: { image: i }\n".to_owned(),
        "bottle: !!binary aGVsbG8=\nimage: !<tag:x> 3\n".to_owned(),
        "a: &a [*a]\n".to_owned(),
        "\u{1b}[2J: 1\n".to_owned(),
    ] {
        place.write("config/agents/a.md", format!("---\n{yaml}---\n"));
        place.bottle_in("elsewhere", &["run", "a"]).refused(&["agents/a.md:"]);
    }
}

#[test]
fn agents_end() {
    let place = Place::new();
    place.user("[bottle.b]\n");
    place.write(
        "config/agents/a.md",
        format!("---\nbottle: b\nprovider: claude\n---\n{}", "x".repeat(70_000)),
    );
    place.bottle(&["run", "a"]).refused(&["the prompt has more than 64 KiB"]);
    place.write("config/agents/a.md", "---\nbottle: b\n---\n").write("config/agents/.hidden.md", "x");
    for n in 0..201 {
        place.write(&format!("config/agents/n{n}.md"), "---\nbottle: b\n---\n");
    }
    place.bottle(&["run", "a"]).refused(&["has more than 200 agents"]);
    let place = Place::new();
    place.user("[bottle.b]\n").write("config/agents/a\u{1b}b.md", "---\nbottle: b\n---\n");
    place.bottle(&["run", "a"]).refused(&["is not a name"]);
    place.write("config/agents/a\u{1b}[2J\u{202e}b.md", b"\xff");
    place.bottle(&["run", "a"]).refused(&["b.md\":1: not UTF-8"]);
}

/// Whatever is in them: an error with its place, or a manifest; no panic, and nothing that a terminal would obey.
#[test]
fn damaged_files_are_read_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (toml, agent) = (dir.path().join("bottle.toml"), dir.path().join("agents/a.md"));
    std::fs::create_dir(dir.path().join("agents")).unwrap();
    let mut random = Random::new();
    let seed = format!("{random:?}");
    let mut damage = |text: &str| {
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..=random.index(3) {
            let at = random.index(bytes.len().max(1));
            match random.index(3) {
                _ if bytes.is_empty() => {}
                0 => bytes[at] = ODD[random.index(ODD.len())],
                1 => drop(bytes.remove(at)),
                _ => bytes.truncate(at.max(1)),
            }
        }
        bytes
    };
    let (mut read, mut refused) = (0, 0);
    for n in 0..DAMAGED {
        let in_toml = n % 2 == 0;
        std::fs::write(&toml, if in_toml { damage(FULL) } else { FULL.into() }).unwrap();
        std::fs::write(&agent, if in_toml { REVIEWER.into() } else { damage(REVIEWER) }).unwrap();
        match Layer::read(&toml) {
            Ok(_) => read += 1,
            Err(error) => {
                refused += 1;
                let text = format!("{error} {:?}", error.hint());
                assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{seed}: {text:?}");
                assert!(matches!(error, FileError::Wrong { .. }), "{seed}: {text}");
            }
        }
    }
    assert!(read > 0 && refused > 0, "{seed}: {read} read, {refused} refused");
}
