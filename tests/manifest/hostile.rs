//! Files that are meant to do harm by being read.

use std::os::unix::fs::symlink;

use crate::place::Place;

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
        ("/dev/tty", ""),
        ("/nonexistent", "bottle.toml"),
        ("bottle.toml", "cannot read"),
    ] {
        let link = place.path("project/bottle.toml");
        std::fs::remove_file(&link).unwrap_or_default();
        symlink(target, &link).unwrap();
        // A link that leads nowhere is as good as no file.
        if target != "/nonexistent" {
            place.bottle(&["run", "a"]).refused(&[part]);
        }
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
}
