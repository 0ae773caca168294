//! `--cwd`, `bottle diff` and `bottle pull`: an agent works on a copy, and nothing of the host's repository is its to change.

use std::path::Path;
use std::process::{Command, Stdio};

use bottle::image::ImportOptions;
use bottle::plan::{Machine, Plan, Process, Provide};
use tempfile::{NamedTempFile, TempDir};

use crate::harness::{Bottle, Shell, archive, example};
use crate::home::Home;

/// What must not get into a guest: it opens the server that the repository came from.
const TOKEN: &str = "token-of-the-operator";

/// A repository as people have them: with commits, changes that are not committed, files that git ignores, and a token in a URL.
struct Repository(TempDir);

impl Repository {
    fn new() -> Self {
        let repository = Self(tempfile::tempdir().unwrap());
        let write =
            |name: &str, content: &str| std::fs::write(repository.path().join(name), content).unwrap();
        repository.git(&["init", "-q", "-b", "main"]);
        std::fs::create_dir(repository.path().join("src")).unwrap();
        for (name, content) in [("src/lib.rs", "one\n"), ("gone", ""), (".gitignore", "secret.env\n")] {
            write(name, content);
        }
        std::os::unix::fs::symlink("src/lib.rs", repository.path().join("link")).unwrap();
        repository.git(&["add", "."]);
        repository.git(&["commit", "-q", "-m", "first"]);
        write("src/lib.rs", "one\nmine\n");
        write("notes", "mine, and not tracked\n");
        write("secret.env", TOKEN);
        std::fs::remove_file(repository.path().join("gone")).unwrap();
        repository.git(&["remote", "add", "origin", &format!("https://{TOKEN}@code.example.org/a.git")]);
        repository.git(&["config", "http.extraHeader", &format!("Authorization: {TOKEN}")]);
        repository
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    #[track_caller]
    fn git(&self, words: &[&str]) -> String {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=Me", "-c", "user.email=me@example.com"]).args(words);
        git.current_dir(self.path()).env("GIT_CONFIG_GLOBAL", "/dev/null").stdin(Stdio::null());
        let output = git.output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// All that the user sees of it, but for branches of agents.
    fn looks(&self) -> String {
        let status = self.git(&["status", "--porcelain"]);
        let diff = self.git(&["diff", "HEAD"]);
        let config = std::fs::read_to_string(self.path().join(".git/config")).unwrap();
        format!("{status}{diff}{config}{}", self.git(&["rev-parse", "HEAD"]))
    }
}

/// A shell in a guest that has a copy of it.
fn shell(repository: &Repository, home: &Home, name: &str) -> (Shell, NamedTempFile) {
    let plan = Plan {
        name: Some(name.to_owned()),
        image: format!("docker-archive:{}", archive("client").display()).parse().unwrap(),
        import: ImportOptions::default(),
        machine: Machine { cpus: Some(1), memory_mib: Some(384), ..Machine::default() },
        allow: Vec::new(),
        bundle: None,
        process: Process {
            args: vec!["sh".into()],
            // The first place is the agent's own.
            env: vec![("PATH".into(), "/tmp/bin:/usr/local/bin:/usr/bin:/bin".into())],
            cwd: Some("/workspace/src".into()),
            interactive: true,
            ..Process::default()
        },
        provide: Provide { worktree: Some(repository.path().to_owned()), ..Provide::default() },
        called: None,
        keep: false,
    };
    let file = NamedTempFile::new().unwrap();
    serde_json::to_writer(&file, &plan).unwrap();
    let bottle = Bottle::wrapped(&[], &example("carry_out"), &[&file.path().display().to_string()]);
    (Shell::of(bottle.env("BOTTLE_STATE_DIR", home.path()).start()), file)
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn an_agent_works_on_a_copy_and_its_work_comes_back_as_a_branch() {
    let (repository, home) = (Repository::new(), Home::new());
    let before = repository.looks();
    let (mut shell, _plan) = shell(&repository, &home, "worker");

    // The tree as it is here, the agent's own, without what git ignores and without what opens anything.
    let looked = shell
        .run("pwd; id -un; git status --porcelain; cat ../link; stat -c %U .. ../.git ../.git/HEAD ../notes");
    assert_eq!(
        looked,
        "/workspace/src\nagent\n D gone\n M src/lib.rs\n?? notes\none\nmine\nagent\nagent\nagent\nagent\n"
    );
    assert_eq!(shell.run("git remote get-url origin"), "https://code.example.org/a.git\n");
    assert_eq!(shell.run(&format!("ls ../secret.env 2>&1 | wc -l; grep -r {TOKEN} /workspace")), "1\n");

    // Nothing was done yet.
    assert_eq!(home.ok(&["diff", "worker"]), "");
    assert_eq!(home.ok(&["pull", "worker"]), "");

    shell.run(
        "git config user.name Agent; git config user.email agent@example.com
         echo agents >>lib.rs; git commit -qam second; echo new >new; chmod +x new",
    );
    let diff = home.ok(&["diff", "worker"]);
    assert!(diff.contains("+agents\n") && diff.contains("new file mode 100755\n"), "{diff}");
    // What was changed here before is no work of the agent's.
    assert!(!diff.contains("+mine") && !diff.contains("notes") && !diff.contains("gone"), "{diff}");
    assert!(home.ok(&["diff", "--stat", "worker"]).ends_with("2 files changed, 2 insertions(+)\n"));

    assert_eq!(home.ok(&["pull", "worker"]), "bottle/worker\n");
    let log = || repository.git(&["log", "--format=%an: %s", "main..bottle/worker"]);
    assert_eq!(log(), "Agent: What was not committed\nAgent: second\n");
    assert_eq!(repository.git(&["show", "bottle/worker:src/lib.rs"]), "one\nmine\nagents\n");
    assert_eq!(repository.looks(), before);

    // It is not another's branch that is taken, and none that somebody looks at.
    home.refused(&["the branch main", "is checked out"], &["pull", "--branch", "main", "worker"]);
    repository.git(&["branch", "theirs"]);
    home.refused(&["the branch theirs", "there already"], &["pull", "--branch", "theirs", "worker"]);
    home.refused(&["the branch -x", "can't be called that"], &["pull", "--branch=-x", "worker"]);

    // The end brings what came since.
    shell.run("git add -A; git commit -qm third");
    shell.end();
    assert_eq!(log(), "Agent: third\nAgent: second\n");
    assert_eq!(repository.looks(), before);
    assert_eq!(repository.git(&["fsck", "--strict", "--no-dangling"]), "");
    home.nothing_left();
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_repository_in_hostile_hands_runs_nothing_here_and_hides_nothing() {
    let (repository, home) = (Repository::new(), Home::new());
    let before = repository.looks();
    let (mut shell, _plan) = shell(&repository, &home, "worker");
    // Of a pack, what is not right; of a name, what is none.
    shell.run("mkdir -p /tmp/bin; cd /workspace");
    for (git, said) in [
        ("echo refs/heads/main", "no commit's name"),
        ("[ $1 = commit-tree ] && exec yes; exec /usr/bin/git \"$@\"", "more than the name of a commit"),
        ("exit 3", "exit code 3"),
        (
            "[ $1 = pack-objects ] && head -c 100000 /dev/urandom && exit; exec /usr/bin/git \"$@\"",
            "git here does not take",
        ),
        (
            "[ $1 = pack-objects ] && exec /usr/bin/git pack-objects --stdout -q </dev/null; exec /usr/bin/git \"$@\"",
            "without all that it consists of",
        ),
    ] {
        shell.run(&format!(
            "echo agents >>src/lib.rs; printf '%s\\n' '#!/bin/sh' '{git}' >/tmp/bin/git; chmod +x /tmp/bin/git"
        ));
        let refused = refused_pull(&home);
        assert!(refused.contains(said), "{git}: {refused}");
        assert_eq!(repository.looks(), before);
    }
    assert_eq!(repository.git(&["for-each-ref", "refs/heads/bottle"]), "");
    shell.run("rm /tmp/bin/git");

    // Where the agent's own base would be, and what git here would run.
    shell.run(
        "git update-ref refs/bottle/base HEAD; git config core.fsmonitor 'touch /tmp/ran'; git config diff.external 'touch /tmp/ran'
         echo '*.rs diff=evil filter=evil' >.gitattributes; git config filter.evil.clean 'sed s/agents/hidden/'",
    );
    let diff = home.ok(&["diff", "worker"]);
    assert!(diff.contains("+hidden") && diff.contains("+*.rs diff=evil"), "{diff}");
    // A tree that no git makes.
    shell.run("rm -rf .git");
    let refused = refused_pull(&home);
    assert!(refused.contains("git in the guest failed with exit code"), "{refused}");

    // What can't be brought back stays where it is.
    shell.end();
    assert_eq!(home.look("worker")["kept"], true);
    assert_eq!(repository.looks(), before);
    assert_eq!(home.ok(&["rm", "worker"]), "worker\n");
    home.nothing_left();
}

/// `bottle pull`, which is refused; what it says.
#[track_caller]
fn refused_pull(home: &Home) -> String {
    let ended = home.expect(125, &["pull", "worker"]);
    assert!(ended.stderr.contains("\nhint: "), "{}", ended.quoted());
    ended.stderr
}
