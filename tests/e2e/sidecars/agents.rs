//! The real programs of providers in their image, behind the real daemons: Claude Code and Codex, which talk to a stand-in for their
//! APIs and take it for the real ones.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::outside::{self, REAL};
use super::run::{Guest, sidecars_image};
use crate::docker::{self, Outsider};
use crate::harness::{Bottle, Shell, archive, bottle, cache};
use crate::tmux::Tmux;
use crate::upstream;

/// The hosts that the programs know.
const ANTHROPIC: &str = "api.anthropic.com";
const CHATGPT: &str = "chatgpt.com";

/// What is said, and what comes back.
const PROMPT: &str = "what-the-test-asks";
const ANSWER: &str = "The stand-in has been reached.";

/// What makes the host's token of Codex the real one.
const SIGNATURE: &str = "the-real-signature-of-this-token";

/// A stand-in for both APIs, and a machine with logins for them.
struct Api {
    dir: TempDir,
    _server: Outsider,
}

impl Api {
    fn start() -> Self {
        // It is large: to be imported and to run are two things, each within its time.
        let image = format!("docker-archive:{}", archive("agent").display());
        Bottle::new(&["image", "import", &image]).run().expect(0);
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let (ca, chain) = upstream::certificates(&[ANTHROPIC, CHATGPT]);
        for (name, content) in [
            ("ca.pem", &*ca),
            ("chain.pem", &chain),
            ("api.py", upstream::API),
            ("token", REAL),
            ("requests", ""),
            ("auth.json", &login().to_string()),
            ("bottle.toml", &manifest(dir.path())),
        ] {
            std::fs::write(at(name), content).unwrap();
        }
        let server = outside::python(dir.path(), "api.py", &[PROMPT, ANSWER]);
        Self { dir, _server: server }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// `bottle run` of an agent, with these words on its command line.
    fn run(&self, words: &[&str]) -> Bottle {
        let image = sidecars_image();
        let words = [&["run", "--yes", "--bundle-image", &image], words].concat();
        Bottle::new(&words).env("BOTTLE_CONFIG_DIR", self.path()).env("CODEX_HOME", self.path())
    }

    /// A shell in the place of an agent.
    fn shell(&self, agent: &str) -> Guest {
        Guest::of(Shell::of(self.run(&["-i", "--entrypoint", "sh", agent]).start()))
    }

    /// What the server was asked below this path, with this host's name.
    fn requests(&self, host: &str, path: &str) -> Vec<Value> {
        let lines = std::fs::read_to_string(self.path().join("requests")).unwrap();
        let all = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        all.filter(|one| one["host"] == host && one["path"].as_str().unwrap().starts_with(path)).collect()
    }

    /// There was a request with the prompt, and each had this token, once.
    #[track_caller]
    fn was_asked(&self, host: &str, path: &str, token: &str) {
        let requests = self.requests(host, path);
        assert!(requests.iter().any(|one| one["has_prompt"] == true), "{requests:?}");
        for request in requests {
            let headers = request["headers"].as_array().unwrap();
            let credentials: Vec<&Value> =
                headers.iter().filter(|pair| pair[0] == "authorization").map(|pair| &pair[1]).collect();
            assert_eq!(credentials, [&json!(format!("Bearer {token}"))], "{request}");
        }
    }
}

/// A token as Codex has it.
fn access_token() -> String {
    let account = json!({ "chatgpt_account_id": "account-1", "chatgpt_plan_type": "pro" });
    let claims = json!({ "exp": 4_102_444_800_u64, "https://api.openai.com/auth": account });
    format!("e30.{}.{SIGNATURE}", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()))
}

/// What `codex login` leaves.
fn login() -> Value {
    let token = access_token();
    json!({
        "auth_mode": "chatgpt",
        "tokens": { "access_token": token, "id_token": token, "refresh_token": REAL, "account_id": "account-1" },
        "last_refresh": "2026-11-20T00:00:00Z",
    })
}

fn manifest(dir: &Path) -> String {
    let [token, ca] = ["token", "ca.pem"].map(|name| dir.join(name).display().to_string());
    let (address, image) = (docker::host_address(), archive("agent"));
    let image = format!("docker-archive:{}", image.display());
    format!(
        "[bottle.dev]\ncpus = 1\nmemory = 2048\nsupervise = true\nupstream_ca = {ca:?}\n\
         extra_hosts = {{ {ANTHROPIC:?} = \"{address}\", {CHATGPT:?} = \"{address}\" }}\n\
         [[bottle.dev.routes]]\nhost = {ANTHROPIC:?}\ntoken = {{ command = [\"cat\", {token:?}] }}\n\
         role = \"claude_code_oauth\"\n\
         [agent.claude]\nbottle = \"dev\"\nimage = {image:?}\nprovider = \"claude\"\n\
         [agent.codex]\nbottle = \"dev\"\nimage = {image:?}\nprovider = \"codex\"\nforward_host_credentials = true\n"
    )
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn claude_code_answers_and_never_holds_what_it_is_let_in_with() {
    let api = Api::start();
    let mut guest = api.shell("claude");
    assert_eq!(guest.run(&format!("claude -p 'say {PROMPT}' </dev/null")).trim(), ANSWER);
    api.was_asked(ANTHROPIC, "/v1/messages", REAL);
    let listed = guest.run("claude mcp list");
    assert!(listed.contains("supervise") && listed.contains("Connected"), "{listed}");
    guest.assert_nowhere(&[REAL]);
    guest.exit();
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn codex_answers_and_never_holds_what_it_is_let_in_with() {
    let api = Api::start();
    let mut guest = api.shell("codex");
    // Compressed, nobody would see the prompt in it.
    let plain = "-c features.enable_request_compression=false";
    let exec = format!("codex exec --skip-git-repo-check {plain} 'say {PROMPT}' </dev/null 2>said");
    assert_eq!(guest.run(&exec).trim(), ANSWER, "{}", guest.run("cat said"));
    api.was_asked(CHATGPT, "/backend-api/codex/responses", &access_token());
    let listed = guest.run("codex mcp list");
    assert!(listed.contains("supervise") && listed.contains("/mcp"), "{listed}");
    guest.assert_nowhere(&[SIGNATURE, REAL]);
    guest.exit();
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn claude_codes_full_screen_is_drawn_and_the_terminal_is_put_back() {
    let api = Api::start();
    let state = TempDir::new().unwrap();
    let (program, image) = (bottle(), sidecars_image());
    let env = [
        ("B", &*program),
        ("BUNDLE", image.as_ref()),
        ("BOTTLE_CONFIG_DIR", api.path()),
        ("BOTTLE_STATE_DIR", state.path()),
        ("BOTTLE_CACHE_DIR", cache()),
        ("CODEX_HOME", api.path()),
    ];
    let tmux = Tmux::start(100, 30, &env);
    let modes = tmux.modes();
    tmux.line("$B -q run --yes --bundle-image $BUNDLE claude");
    tmux.until("Claude Code v");
    // A rule across the screen, above what is typed.
    tmux.until(&"─".repeat(100));
    tmux.type_text(PROMPT);
    tmux.until(PROMPT);
    tmux.press(&["Enter"]);
    tmux.until(ANSWER);
    tmux.resize(70, 20);
    tmux.until_screen("rules of the new width", |screen| {
        screen.lines().filter(|line| *line == "─".repeat(70)).count() == 2
    });
    tmux.type_text("/exit");
    tmux.until("❯ /exit");
    tmux.press(&["Enter"]);
    tmux.until_prompt("host$ ");
    assert_eq!(tmux.modes(), modes);
    api.was_asked(ANTHROPIC, "/v1/messages", REAL);
}
