//! What an agent finds in its guest, without a bundle: whose it is, and what becomes of it in a bottle that is resumed. What a
//! bundle brings beside it is in `sidecars/provision.rs`.

use std::os::unix::fs::{PermissionsExt, symlink};

use bottle::image::ImportOptions;
use bottle::plan::{GitUser, HomeFile, Machine, Plan, Process, Provide};
use tempfile::{NamedTempFile, TempDir};

use crate::harness::{Bottle, archive, example};
use crate::home::Home;

/// A launcher of this plan, and the plan's file.
pub(crate) fn carry_out(plan: &Plan) -> (Bottle, NamedTempFile) {
    let file = NamedTempFile::new().unwrap();
    serde_json::to_writer(&file, plan).unwrap();
    (Bottle::wrapped(&[], &example("carry_out"), &[&file.path().display().to_string()]), file)
}

/// Something of everything, and the directory where the skills are.
pub(crate) fn provide() -> (Provide, TempDir) {
    let dir = TempDir::new().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let skill = |name: &str| {
        let skill = root.join(name);
        std::fs::create_dir_all(skill.join("more")).unwrap();
        std::fs::write(skill.join("SKILL.md"), format!("How to {name}.\n")).unwrap();
        std::fs::write(skill.join("more/run"), "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(skill.join("more/run"), PermissionsExt::from_mode(0o755)).unwrap();
        symlink("/etc/shadow", skill.join("link")).unwrap();
        skill
    };
    let file = |path: &str, mode| HomeFile { path: path.to_owned(), mode, content: "set up\n".to_owned() };
    let provide = Provide {
        git_user: Some(GitUser { name: "An Agent".to_owned(), email: "agent@example.com".to_owned() }),
        prompt: Some("You review. Be \"terse\".\n".to_owned()),
        skills: vec![skill("review"), skill("test")],
        skills_dir: Some(".tool/skills".to_owned()),
        files: vec![file(".tool.json", 0o600), file(".tool/deep/config", 0o640)],
        ..Provide::default()
    };
    (provide, dir)
}

/// What of it there is to see for the user: its name, permissions and owner, and what is in it.
pub(crate) const LOOK: &str = "cd; stat -c '%A %U %G %n' /etc/bottle/prompt.md; cat /etc/bottle/prompt.md; \
     find .tool .tool.json | sort | xargs stat -c '%A %U %G %N'; cat .tool.json .tool/deep/config .tool/skills/*/SKILL.md; \
     .tool/skills/test/more/run && echo ran";

/// What is to be seen.
pub(crate) fn seen(user: &str) -> String {
    let mut lines = String::new();
    let mut stat = |mode: &str, name: &str| lines.push_str(&format!("{mode} {user} {user} {name}\n"));
    stat("-rw-------", "/etc/bottle/prompt.md");
    for (mode, name) in [
        ("drwx------", "'.tool'"),
        ("drwx------", "'.tool/deep'"),
        ("-rw-r-----", "'.tool/deep/config'"),
        ("-rw-------", "'.tool.json'"),
        ("drwx------", "'.tool/skills'"),
    ] {
        stat(mode, name);
    }
    for skill in ["review", "test"] {
        for (mode, name) in [
            ("drwxr-xr-x", format!("'.tool/skills/{skill}'")),
            ("lrwxrwxrwx", format!("'.tool/skills/{skill}/link' -> '/etc/shadow'")),
            ("drwxr-xr-x", format!("'.tool/skills/{skill}/more'")),
            ("-rwxr-xr-x", format!("'.tool/skills/{skill}/more/run'")),
            ("-rw-r--r--", format!("'.tool/skills/{skill}/SKILL.md'")),
        ] {
            stat(mode, &name);
        }
    }
    lines
}

/// The same, however `sort` sorts: what was seen has these lines, and then the contents.
#[track_caller]
pub(crate) fn assert_seen(said: &str, user: &str) {
    let expected = seen(user);
    for line in expected.lines() {
        assert!(said.lines().any(|seen| seen == line), "{line} is not in: {said}");
    }
    let of_user = said.lines().filter(|line| line.contains(&format!(" {user} {user} ")));
    assert_eq!(of_user.count(), expected.lines().count(), "{said}");
    assert!(said.contains("\nYou review. Be \"terse\".\n"), "{said}");
    assert!(said.contains("\nset up\nset up\nHow to review.\nHow to test.\nran\n"), "{said}");
}

fn plan(provide: Provide, script: &str) -> Plan {
    let words = ["sh", "-c", script];
    Plan {
        name: Some("given".to_owned()),
        image: format!("docker-archive:{}", archive("node_user").display()).parse().unwrap(),
        import: ImportOptions::default(),
        machine: Machine { cpus: Some(1), memory_mib: Some(384), ..Machine::default() },
        allow: Vec::new(),
        bundle: None,
        process: Process { args: words.map(Into::into).into(), ..Process::default() },
        provide,
        called: None,
        keep: true,
    }
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn an_agent_finds_what_it_is_given_and_keeps_what_it_changed() {
    let home = Home::new();
    let (provide, skills) = provide();
    // The first time it looks, then changes something; then it looks at that; then it puts a link in the way.
    let script = format!(
        "cd; if [ ! -e again ]; then {LOOK}; touch again; echo own >.tool.json; rm -r .tool/deep; echo x >.tool/skills/test/SKILL.md; \
         elif [ -d .tool/deep ] && [ ! -L .tool ]; then cat .tool.json .tool/deep/config .tool/skills/test/SKILL.md /etc/bottle/prompt.md; \
         rm -r .tool; ln -s /tmp .tool; else readlink .tool; ls /tmp; fi"
    );
    let run = |plan: &Plan| {
        let (bottle, _file) = carry_out(plan);
        bottle.env("BOTTLE_STATE_DIR", home.path()).run()
    };
    let first = run(&plan(provide.clone(), &script));
    assert_eq!(first.code, 0, "{}", first.quoted());
    assert_seen(first.text(), "node");
    for step in ["prompt", "files", "skills", "git"] {
        assert!(first.stderr.contains(&format!("s  provision: {step}\n")), "{}", first.quoted());
    }

    let second = home.expect(0, &["resume", "given"]);
    // There is no git in it, which is a word and no more.
    assert!(second.stderr.contains("the image has no git"), "{}", second.quoted());
    let text = "own\nset up\nHow to test.\nYou review. Be \"terse\".\n";
    assert_eq!(second.text(), text, "{}", second.quoted());
    // What an agent did to its home is no reason not to start it again, nor a way to have something put elsewhere.
    let third = home.expect(0, &["resume", "given"]);
    assert_eq!(third.text(), "/tmp\n", "{}", third.quoted());
    assert!(third.stderr.contains("skills: cannot write ~/.tool/skills/review"), "{}", third.quoted());

    // Before anything starts.
    let skill = provide.skills[0].clone();
    std::fs::rename(&skill, skills.path().join("moved")).unwrap();
    home.refused(&["skills: ", "/review", "No such file"], &["resume", "given"]);
    symlink(skills.path().join("moved"), &skill).unwrap();
    home.refused(&["skills: ", "/review", "a link leads to it"], &["resume", "given"]);
    home.ok(&["rm", "given"]);
    let refused = run(&plan(provide, "true"));
    assert!(refused.code == 125 && refused.stderr.contains("a link leads to it"), "{}", refused.quoted());
    home.nothing_left();
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_user_without_a_home_gets_one_and_a_user_who_is_not_there_is_named() {
    let (provide, _skills) = provide();
    let of = |user: &str| {
        let mut plan = Plan { keep: false, name: None, ..plan(provide.clone(), LOOK) };
        plan.process.user = Some(user.to_owned());
        carry_out(&plan).0.run()
    };
    let nobody = of("nobody:nogroup").expect(0);
    assert!(nobody.text().contains("drwx------ nobody nogroup '.tool'\n"), "{}", nobody.quoted());
    let ghost = of("ghost").expect(125);
    assert!(ghost.stderr.contains("prompt: cannot write /etc/bottle/prompt.md"), "{}", ghost.quoted());
    assert!(ghost.stderr.contains("no user `ghost` in the guest's /etc/passwd"), "{}", ghost.quoted());
}
