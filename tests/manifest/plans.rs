//! From files and flags to a plan.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::place::{Place, assert_as_kept};

pub(crate) const FULL: &str = r#"
[bottle.dev]
hosts = ["code.example.org", "*.example.com"]
pass_through = ["chat.example.org"]
supervise = true
git_user = { name = "An Agent", email = "agent@example.com" }
extra_hosts = { "git.corp.example" = "10.9.8.7" }
upstream_ca = "corp.pem"
env = { EDITOR = "true" }
cpus = 4
memory = 4096
disk = "40G"
volumes = ["./src:/src:ro", "/srv/cache:/cache"]
secrets = [{ name = "Badge", regex = "badge_[0-9]{6}" }]

[[bottle.dev.routes]]
host = "api.anthropic.com"
path = "/v1"
methods = ["POST"]
token = { env = "CLAUDE_CODE_OAUTH_TOKEN" }
role = "claude_code_oauth"

[[bottle.dev.routes]]
host = "api.github.com"
scheme = "token"
token = { command = ["gh", "auth", "token"] }

[bottle.dev.git.bottle]
url = "git@git.example.com:me/bottle.git"
identity = "keys/deploy"
known_host = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE8F6vW4nXlVyO3rPEGWHYKv6mUSWM5cWyJ3jDyFyKXs"
push = [{ branch = "agent/*" }, { tag = "v*", force = true }]

[agent.claude]
bottle = "dev"
provider = "claude"
image = "docker-archive:images/agent.tar"
user = "node"

[agent.shell]
bottle = "dev"
command = ["bash", "-l"]
image = "debian:bookworm-slim"
"#;

pub(crate) const REVIEWER: &str = "---
bottle: dev
description: reviews what others wrote
provider: claude
image: ../images/agent
skills: [../skills/review, ../skills/lint]
---

You review. Be terse.
";

fn full() -> Place {
    let place = Place::new();
    place.user(FULL).write("config/agents/reviewer.md", REVIEWER);
    place.write("config/images/agent/index.json", "{}").write("config/agents/notes.txt", "no agent");
    // One by a link; the other one is not there yet.
    place.write("elsewhere/code-review/SKILL.md", "").write("config/skills/README.md", "");
    std::os::unix::fs::symlink(place.path("elsewhere/code-review"), place.path("config/skills/review"))
        .unwrap();
    place
}

#[test]
fn every_key_ends_up_in_the_plan() {
    let place = full();
    assert_as_kept("claude.json", &place.plan(&["claude", "--", "-p", "hello"]));
    assert_as_kept("reviewer.json", &place.plan(&["reviewer"]));
}

#[test]
fn codex_gets_a_placeholder_of_its_users_login() {
    let jwt = |claims: &str| format!("e30.{}.the-real-signature", BASE64_URL_SAFE_NO_PAD.encode(claims));
    let about = r#""https://api.openai.com/auth": {"chatgpt_account_id": "a-1", "chatgpt_plan_type": "pro"}"#;
    let token = jwt(&format!(r#"{{"exp": 4102444800, "email": "me@example.com", {about}}}"#));
    let place = Place::new();
    place.user(
        "[bottle.b]\n[agent.codex]\nbottle = \"b\"\nprovider = \"codex\"\nforward_host_credentials = true\n",
    );
    place.write(
        "codex/auth.json",
        format!(
            r#"{{"tokens": {{"access_token": "{token}", "id_token": "{token}", "refresh_token": "the-real-one", "account_id": "a-1"}}}}"#
        ),
    );
    let plan = place.plan(&["codex"]);
    assert!(!plan.contains("the-real") && !plan.contains("me@example"), "{plan}");
    assert_as_kept("codex.json", &plan);
}

#[test]
fn a_command_runs_in_a_bottle_without_an_agent() {
    let plan = full().plan(&["--bottle", "dev", "--image", "debian:bookworm-slim", "--", "true"]);
    assert!(plan.contains(r#""image": "debian:bookworm-slim""#), "{plan}");
    assert!(plan.contains("\"args\": [\n      \"true\"\n    ]"), "{plan}");
    assert!(plan.contains(r#""image": "bottle-sidecars:0.1.0""#), "{plan}");
}

#[test]
fn flags_go_before_the_manifest() {
    let words = ["shell", "--cpus", "1", "--memory", "512", "--disk", "1G", "-u", "root", "-e", "EDITOR=vi"];
    let more = [
        "-v",
        "/tmp:/host",
        "--name",
        "one",
        "--image",
        "other",
        "--bundle-image",
        "mine:1",
        "--keep",
        "--",
        "-c",
    ];
    let plan = full().plan(&[&words[..], &more[..]].concat());
    assert_as_kept("flags.json", &plan);
}

#[test]
fn the_project_stands_over_the_user_and_the_only_agent_is_meant() {
    let place = full();
    place.project("[bottle.dev]\nhosts = [\"code.example.org\"]\nsupervise = false\ncpus = 2\n");
    let plan = place.plan(&["shell"]);
    assert!(plan.contains("\"hosts\": [\n          \"code.example.org\"\n        ]"), "{plan}");
    assert!(plan.contains("\"supervise\": false") && plan.contains("\"cpus\": 2"), "{plan}");
    // What it does not say stays.
    assert!(plan.contains("gh") && plan.contains("\"memory_mib\": 4096"), "{plan}");
    // From further down as well; elsewhere there is the user's alone.
    let said = place.bottle_in("project/deep/down", &["run", "--plan", "shell"]);
    assert!(said.out.contains("\"supervise\": false"), "{said:?}");
    let said = place.bottle_in("elsewhere", &["run", "--plan", "shell"]);
    assert!(said.out.contains("\"supervise\": true"), "{said:?}");

    place
        .bottle(&["run"])
        .refused(&["which agent? there is claude, reviewer, shell\n", "`bottle run claude`"]);
    let only = Place::new();
    only.user("[bottle.b]\n[agent.a]\nbottle = \"b\"\nimage = \"i\"\ncommand = [\"only\"]\n");
    assert!(only.plan(&[]).contains("\"entrypoint\": \"only\""));
}

#[test]
fn what_an_agent_gets_is_shown_and_nothing_starts_without_a_yes() {
    let place = full();
    let said = place.bottle(&["run", "claude"]);
    said.refused(&["there is no terminal to ask on", "-y"]);
    let shown = said.err.replace(place.path("").to_str().unwrap(), "/place/");
    assert_as_kept("preflight.txt", &shown);
    let small = place.bottle(&["run", "--cpus", "1", "shell", "--", "-c", "echo \u{1b}[2J\u{202e}"]);
    small.refused(&["bash -l -c \"echo \\u{1b}[2J\\u{202e}\"", "one processor"]);
    assert!(!place.path("state").join("claude").exists());
}

#[test]
fn a_run_behind_a_proxy_asks_for_no_manifest() {
    let place = Place::new();
    place.project("garbage");
    let words = ["--image", "debian", "--bundle-image", "proxy", "--bundle-port", "8888", "--", "true"];
    assert_as_kept("proxy.json", &place.plan(&words));
    for wrong in [
        &["run", "--bundle-port", "8888", "--image", "a"][..],
        &["run", "agent", "--image", "a", "--bundle-image", "b", "--bundle-port", "8888"],
        &["run", "--bottle", "c", "--image", "a", "--bundle-image", "b", "--bundle-port", "8888"],
    ] {
        let said = place.bottle(wrong);
        assert_eq!(said.code, Some(125), "{said:?}");
        assert!(said.err.contains("--bundle-"), "{said:?}");
    }
}
