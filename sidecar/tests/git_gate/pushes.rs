//! What may be pushed, and what comes of it upstream.

use std::process::Stdio;

use bottle_gates::push::PushRule;

use super::bench::{Bench, commit, git, git_command, refused, text};

#[test]
#[ignore = "needs git, ssh and sshd: run cargo xtask test"]
fn an_allowed_push_goes_upstream() {
    let bench = Bench::start();
    let clone = bench.clone("clone");
    assert_eq!(git(&clone, &["log", "--format=%s"]), "one");
    assert_eq!(git(&clone, &["symbolic-ref", "HEAD"]), "refs/heads/main");
    commit(&clone, "two");
    git(&clone, &["push", "-q", "origin", "HEAD:agent/fix"]);
    let head = git(&clone, &["rev-parse", "HEAD"]);
    assert_eq!(bench.upstream("refs/heads/agent/fix"), Some(head));

    commit(&clone, "three");
    git(&clone, &["tag", "v1"]);
    git(&clone, &["push", "-q", "origin", "HEAD:agent/fix", "HEAD:wip/a/b", "v1"]);
    let head = git(&clone, &["rev-parse", "HEAD"]);
    for name in ["refs/heads/agent/fix", "refs/heads/wip/a/b", "refs/tags/v1"] {
        assert_eq!(bench.upstream(name).as_ref(), Some(&head), "{name}");
    }
}

#[test]
#[ignore = "needs git, ssh and sshd: run cargo xtask test"]
fn what_no_rule_allows_is_refused_with_the_reason() {
    let mut bench = Bench::start();
    let clone = bench.clone("clone");
    let main = bench.upstream("refs/heads/main");
    commit(&clone, "two");
    let said = refused(&clone, &["push", "origin", "HEAD:main"]);
    let reason = "remote: git-gate: main refused: no rule allows it; allowed: branches agent/* (no force, no delete); \
                  branches wip/** (force and delete allowed); tags v* (no force, no delete)";
    assert!(said.contains(reason), "{said}");
    assert!(said.contains("! [remote rejected] HEAD -> main (pre-receive hook declined)"), "{said}");
    assert_eq!(bench.upstream("refs/heads/main"), main);

    git(&clone, &["push", "-q", "origin", "HEAD:agent/fix", "HEAD:wip/x"]);
    let fix = bench.upstream("refs/heads/agent/fix");
    git(&clone, &["commit", "-q", "--amend", "-m", "other"]);
    let said = refused(&clone, &["push", "--force", "origin", "HEAD:agent/fix"]);
    let reason =
        "agent/fix refused: not a fast-forward, and the rule says branches agent/* (no force, no delete)";
    assert!(said.contains(reason), "{said}");
    let said = refused(&clone, &["push", "origin", ":agent/fix"]);
    assert!(said.contains("agent/fix refused: it would be deleted"), "{said}");
    // All or nothing, with a ref among them that would be allowed.
    let said =
        refused(&clone, &["push", "--force", "origin", "HEAD:wip/x", "HEAD:agent/fix", "HEAD:refs/notes/n"]);
    assert!(said.contains("refs/notes/n refused"), "{said}");
    assert_eq!(bench.upstream("refs/heads/agent/fix"), fix);
    assert_eq!(bench.upstream("refs/heads/wip/x"), fix);

    git(&clone, &["push", "-q", "--force", "origin", "HEAD:wip/x"]);
    assert_eq!(bench.upstream("refs/heads/wip/x"), Some(git(&clone, &["rev-parse", "HEAD"])));
    git(&clone, &["push", "-q", "origin", ":wip/x"]);
    assert_eq!(bench.upstream("refs/heads/wip/x"), None);

    git(&clone, &["push", "-q", "origin", "HEAD:refs/tags/v1"]);
    commit(&clone, "three");
    let said = refused(&clone, &["push", "--force", "origin", "HEAD:refs/tags/v1"]);
    assert!(said.contains("the tag exists"), "{said}");

    // An approval holds from the next push on.
    bench.reconfigure(|config| config.upstreams[0].push.push(PushRule::branch("main")));
    git(&clone, &["push", "-q", "origin", "HEAD:main"]);
    assert_eq!(bench.upstream("refs/heads/main"), Some(git(&clone, &["rev-parse", "HEAD"])));
}

#[test]
#[ignore = "needs git, ssh and sshd: run cargo xtask test"]
fn of_two_pushes_at_once_neither_is_lost() {
    let bench = Bench::start();
    let clones = [bench.clone("first"), bench.clone("second")];
    for (round, same) in [(0, true), (1, false), (2, true)] {
        let pushes = clones.each_ref().map(|clone| {
            let name = clone.file_name().unwrap().to_str().unwrap();
            git(clone, &["reset", "-q", "--hard", "origin/main"]);
            commit(clone, &format!("{name} in round {round}"));
            let branch = if same { "same" } else { name };
            let refs = format!("HEAD:agent/{branch}-{round}");
            let mut push = git_command(clone, &["push", "origin", &refs]);
            push.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("git")
        });
        let ended = pushes.map(|push| push.wait_with_output().expect("its end"));
        let through = ended.iter().filter(|output| output.status.success()).count();
        let said = ended.each_ref().map(|output| text(&output.stderr));
        assert_eq!(through, if same { 1 } else { 2 }, "round {round}: {said:?}");
        if same {
            let winner = &clones[usize::from(ended[1].status.success())];
            let name = format!("refs/heads/agent/same-{round}");
            assert_eq!(bench.upstream(&name), Some(git(winner, &["rev-parse", "HEAD"])), "{said:?}");
        } else {
            for name in ["first", "second"] {
                assert!(bench.upstream(&format!("refs/heads/agent/{name}-{round}")).is_some());
            }
        }
    }
}

#[test]
#[ignore = "needs git, ssh and sshd: run cargo xtask test"]
fn upstreams_own_refusal_is_passed_on() {
    use std::os::unix::fs::PermissionsExt as _;

    let bench = Bench::start();
    let clone = bench.clone("clone");
    let hook = bench.path("upstream.git/hooks/pre-receive");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, "#!/bin/sh\nprintf 'not on a \\033[31mSunday\\n' >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    commit(&clone, "two");
    let said = refused(&clone, &["push", "origin", "HEAD:agent/fix"]);
    assert!(
        said.contains("agent/fix refused by upstream: [remote rejected] (pre-receive hook declined)"),
        "{said}"
    );
    assert!(said.contains("upstream says: not on a [31mSunday"), "{said}");
    assert_eq!(bench.upstream("refs/heads/agent/fix"), None);
}
