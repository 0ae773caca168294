//! The bundle's daemons, from inside a guest that can reach nothing else: what the agent has of them, and what it never gets.
//!
//! The guest's allowlist is the bundle's published ports. Upstream are a server with TLS and a git server behind sshd, both on this
//! machine's address in docker's own network, under names that only the bundle knows.

mod agents;
mod mcp;
mod outside;
mod pipelock;
mod provision;
mod run;
mod trust;

use std::time::{Duration, Instant};

use bottle::plan::Plan;
use rustix::process::Signal;

use crate::docker;
use crate::harness::{self, Bottle, archive, until};
use crate::home::Home;
use crate::provision::carry_out;
use outside::{API, Outside, PLAIN, REAL};
use run::Guest;

const PLACEHOLDER: &str = "Authorization: Bearer placeholder";

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn what_an_agent_gets_through_its_bundle_and_what_it_never_gets() {
    let outside = Outside::start();
    let mut guest = Guest::start(&outside);
    let url = |host: &str, path: &str| format!("https://{host}{path}");

    // The environment of each process, and the CA before the first one.
    let env = guest.run("env | sort");
    for name in
        ["HTTP_PROXY", "https_proxy", "NO_PROXY", "GIT_GATE_URL", "MCP_SUPERVISE_URL", "SSL_CERT_FILE"]
    {
        assert!(env.lines().any(|line| line.starts_with(&format!("{name}="))), "{name}: {env}");
    }
    assert_eq!(
        guest.run("id -un; cat $SSL_CERT_FILE | grep -c 'BEGIN CERT' | grep -qv '^1$' && echo others").trim(),
        "agent\nothers"
    );

    // The credential: upstream has the real one, and nobody here has.
    let said = guest.curl(&["-H", PLACEHOLDER, &url(API, "/v1/messages")]);
    assert_eq!(said, "200 noted");
    assert_eq!(
        outside.last_request()["headers"]
            .as_array()
            .map(|all| all.iter().filter(|pair| pair[0] == "authorization").count()),
        Some(1)
    );
    assert!(outside.requests().contains(&format!("Bearer {REAL}")), "{}", outside.requests());

    // Who is not allowed is told so.
    let refused = guest.curl(&[&url("elsewhere.example", "/")]);
    assert!(refused.starts_with("403") && refused.contains("allowlist"), "{refused}");
    let direct = |to: String| format!("curl --silent --noproxy '*' --max-time 20 http://{to}/; echo code $?");
    let bundle = docker::bundle();
    let alias = guest.run("echo $HTTP_PROXY").trim().trim_start_matches("http://").to_owned();
    let (alias, port) = alias.split_once(':').expect("an address");
    for to in [
        format!("{}:8888", bundle.container),
        format!("{}:9099", bundle.container),
        format!("{alias}:8888"),
        format!("127.0.0.1:{port}"),
    ] {
        assert_eq!(guest.run(&direct(to.clone())), "code 7\n", "{to}");
    }

    // Events come one by one: the server pauses 400 ms after each.
    let times = guest.run(&format!(
        "curl --silent --no-buffer {} | while read word rest; do [ \"$word\" = data: ] && cut -d' ' -f1 /proc/uptime; done",
        url(API, "/events")
    ));
    let times: Vec<f64> = times.lines().map(|time| time.parse().expect("a time")).collect();
    assert_eq!(times.len(), 5, "{times:?}");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] > 0.1), "{times:?}");

    git(&mut guest, &outside);
    asks_and_is_answered(&mut guest, &outside);
    guest.assert_nowhere(&[REAL, &outside.identity_line()]);

    // Each daemon that dies is back.
    for (program, works) in [
        ("pipelock\0run", format!("curl --silent --fail {}", url(API, "/v1/again"))),
        ("egress.py", format!("curl --silent --fail {}", url(API, "/v1/again"))),
        ("bottle-sidecar\0git-gate", "git ls-remote $GIT_GATE_URL/project.git".to_owned()),
        (
            "bottle-sidecar\0supervise",
            "curl --silent --max-time 10 -o /dev/null $MCP_SUPERVISE_URL".to_owned(),
        ),
    ] {
        run::kill(program);
        let tries = format!(
            "for try in 1 2 3 4 5 6 7 8 9 10 11 12; do {works} >/dev/null 2>&1 && echo back && break; sleep 3; done"
        );
        assert_eq!(guest.run(&tries), "back\n", "{program:?}");
    }

    // The container's end is the run's.
    let since = Instant::now();
    run::kill("bottle-sidecar\0init");
    let ended = guest.end();
    assert!(since.elapsed() < Duration::from_secs(60));
    assert_eq!(ended.code, 125, "{}", ended.quoted());
    let said = "the bundle was lost, and the command was ended: bottle-sidecars-";
    assert!(
        ended.stderr.contains(said) && ended.stderr.contains("exited with code 137"),
        "{}",
        ended.quoted()
    );
    ended.nothing_left();
}

fn git(guest: &mut Guest, outside: &Outside) {
    let upstream = outside.git_url();
    let done = guest.run(&format!(
        "git config --global user.name Agent; git config --global user.email agent@example.com
         git clone -q {upstream} clone && cd clone && git commit -q --allow-empty -m two &&
         git push -q origin HEAD:agent/fix && git rev-parse HEAD; cd"
    ));
    assert_eq!(outside.branch("agent/fix"), done.trim(), "{done}");
    let refused = guest.run("cd clone; git push origin HEAD:main 2>&1; git commit -q --amend --allow-empty -m other; git push -f origin HEAD:agent/fix 2>&1; cd");
    assert!(refused.contains("main refused: no rule allows it; allowed: branches agent/*"), "{refused}");
    assert!(refused.contains("agent/fix refused"), "{refused}");
}

fn asks_and_is_answered(guest: &mut Guest, outside: &Outside) {
    let url = format!("https://{PLAIN}/");
    assert!(guest.curl(&[&url]).starts_with("403"));
    let call = mcp::request_host(PLAIN, "to read the documentation");
    guest.run(&format!("{call} >answer 2>&1 &"));
    let id = guest.proposal();
    let approved = guest.bottle(&["approve", &id, "--reason", "fine"]);
    assert!(approved.status.success(), "{approved:?}");
    let told = guest.run("wait; cat answer");
    assert!(told.contains(&format!("approved: fine. You may now reach {PLAIN}.")), "{told}");
    assert_eq!(guest.curl(&[&url]), "200 noted");
    assert_eq!(outside.last_request()["path"], "/");
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn an_agent_of_a_manifest_runs_as_that_says() {
    let outside = Outside::start();
    let script = format!(
        "id -un; curl --silent --header '{PLACEHOLDER}' https://{API}/v1/messages; git config --global user.name"
    );
    let config = tempfile::tempdir().unwrap();
    std::fs::write(config.path().join("bottle.toml"), outside.toml(&archive("client"), &script)).unwrap();
    let image = run::sidecars_image();
    let bottle = |words: &[&str]| {
        let words = [&["run", "--bundle-image", &image], words].concat();
        Bottle::new(&words).env("BOTTLE_CONFIG_DIR", config.path())
    };
    // Nobody is there to be asked.
    let unasked = bottle(&[]).run().expect(125);
    assert!(
        unasked.stderr.ends_with("hint: read what is shown above, and say yes with -y\n"),
        "{}",
        unasked.quoted()
    );
    unasked.nothing_left();
    let ended = bottle(&["--yes", "--timings", "asker"]).run().expect(0);
    assert_eq!(ended.text(), "agent\nnoted\nAn Agent\n", "{}", ended.quoted());
    for step in ["CA", "prompt", "git"] {
        assert!(ended.stderr.contains(&format!("provision: {step}\n")), "{}", ended.quoted());
    }
    assert!(ended.stderr.starts_with("agent asker, bottle dev\n"), "{}", ended.quoted());
    assert!(outside.requests().contains(&format!("Bearer {REAL}")), "{}", outside.requests());
    ended.nothing_left();
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn of_a_launcher_that_was_killed_gc_leaves_nothing() {
    let outside = Outside::start();
    let guest = Guest::start(&outside);
    guest.kill();
    harness::until_no_vmm();
    assert_ne!(docker::leftovers(), Vec::<String>::new());
    assert!(guest.bottle(&["gc"]).status.success());
    assert_eq!(docker::leftovers(), Vec::<String>::new());
    until("the bottle's directory is gone", || harness::bottles(guest.state()).is_empty());
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_bottle_that_is_resumed_has_a_new_bundle_and_trusts_its_ca_alone() {
    let outside = Outside::start();
    let home = Home::new();
    // The image has neither git nor update-ca-certificates.
    let look =
        "grep -c 'BEGIN CERT' $SSL_CERT_FILE; sha256sum <$SSL_CERT_FILE; stat -c '%U %a' $SSL_CERT_FILE";
    let plan = Plan { name: Some("kept".to_owned()), ..run::plan(&outside, "debian", &["-c", look]) };
    let (bottle, _file) = carry_out(&plan);
    let first = bottle.env("BOTTLE_STATE_DIR", home.path()).run();
    let second = home.bottle(&["resume", "kept"]).run();
    let ended = [&first, &second].map(|ended| {
        assert_eq!(ended.code, 0, "{}", ended.quoted());
        ended.text().lines().collect::<Vec<_>>()
    });
    for looked in &ended {
        assert_eq!((looked[0], looked[2]), ("1", "root 644"), "{looked:?}");
    }
    assert_ne!(ended[0][1], ended[1][1]);
    assert!(second.stderr.contains("the image has no git"), "{}", second.quoted());

    // Ended while the bundle is being started.
    let mut third = home.bottle(&["resume", "kept"]).start();
    third.until("a container", |_| docker::leftovers().len() > 1);
    third.signal(Signal::TERM);
    let third = third.end();
    assert_eq!(third.code, 128 + 15, "{}", third.quoted());
    assert_eq!(docker::leftovers(), Vec::<String>::new());
    assert!(home.ok(&["logs", "--daemon", "pipelock", "kept"]).contains("startup"));
    home.refused(&["kept", "no log of a daemon docker"], &["logs", "--daemon", "docker", "kept"]);
    assert_eq!(home.ok(&["rm", "kept"]), "kept\n");
    home.nothing_left();
}
