//! Every step of the provisioning, as the agent sees it when its process starts; and launches that are killed.

use std::thread;
use std::time::Instant;

use bottle::plan::{Plan, Provide};
use rustix::process::Signal;

use super::outside::{API, Outside};
use super::run;
use crate::docker;
use crate::harness::{bottles, number, until_no_vmm};
use crate::home::Home;
use crate::provision::{LOOK, assert_seen, carry_out, provide};
use crate::random::Random;

const PLACEHOLDER: &str = "Authorization: Bearer placeholder";

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn every_step_is_done_when_the_agent_starts() {
    let outside = Outside::start();
    let (provide, _skills) = provide();
    let register = "id -un >registered && echo $MCP_SUPERVISE_URL >>registered && pwd >>registered";
    let provide =
        Provide { register: ["sh", "-c", &format!("cd && {register}")].map(str::to_owned).into(), ..provide };
    // At once, and as the first process: nothing here waits for anything.
    let script = format!(
        "curl --silent --show-error --header '{PLACEHOLDER}' https://{API}/v1/messages; git ls-remote {url} main | cut -f 2; {LOOK}; \
         cat registered; echo $MCP_SUPERVISE_URL; git config --global user.name; git config --global user.email",
        url = outside.git_url(),
    );
    for round in 0..number("BOTTLE_TEST_LAUNCHES") {
        let plan = run::plan(&outside, "client", &["-c", &script]);
        let (bottle, _file) = carry_out(&Plan { provide: provide.clone(), keep: false, ..plan });
        let ended = bottle.run().expect(0);
        let said = ended.text();
        assert!(said.starts_with("noted\nrefs/heads/main\n"), "{round}: {}", ended.quoted());
        assert_seen(said, "agent");
        let lines: Vec<&str> = said.lines().collect();
        let [user, url, home, the_url, name, email] = lines[lines.len() - 6..] else { panic!("{said}") };
        assert_eq!((user, home, name, email), ("agent", "/home/agent", "An Agent", "agent@example.com"));
        assert!(url == the_url && url.starts_with("http://127.0.0.") && url.ends_with("/mcp"), "{said}");
        for step in ["CA", "prompt", "files", "skills", "git", "supervise"] {
            assert!(ended.stderr.contains(&format!("s  provision: {step}\n")), "{}", ended.quoted());
        }
    }
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn of_launches_that_are_killed_at_any_moment_nothing_is_left_and_the_next_one_works() {
    let (outside, home) = (Outside::start(), Home::new());
    let (provide, _skills) = provide();
    let mut random = Random::new();
    let launch = || {
        let plan = run::plan(&outside, "client", &["-c", "echo works"]);
        let (bottle, file) = carry_out(&Plan { provide: provide.clone(), keep: false, ..plan });
        (bottle.env("BOTTLE_STATE_DIR", home.path()), file)
    };
    let works = || {
        let since = Instant::now();
        let (bottle, _file) = launch();
        let ended = bottle.run().expect(0);
        assert_eq!(ended.text(), "works\n", "{}", ended.quoted());
        home.nothing_left();
        since.elapsed()
    };
    let mut takes = works();
    for round in 0..number("BOTTLE_TEST_ROUNDS") {
        let moment = random.below(takes);
        eprintln!("round {round}, {random:?}: after {moment:?} of {takes:?}");
        let (bottle, _file) = launch();
        let running = bottle.start();
        thread::sleep(moment);
        running.signal(Signal::KILL);
        let killed = running.end();
        until_no_vmm();
        eprintln!("left: {:?}, {:?}", bottles(home.path()), docker::leftovers());
        home.ok(&["gc"]);
        assert_eq!(bottles(home.path()), Vec::<String>::new(), "{}", killed.quoted());
        home.nothing_left();
        takes = works();
    }
}
