//! Codex.
//!
//! With a login that is forwarded, the guest has a placeholder of it: tokens of the same form and expiry that nobody has signed. egress
//! puts the real one in their place, on the requests that Codex cannot do without.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{Asked, CodexLogin, PLACEHOLDER, Start, sh};
use crate::bundle::{AuthScheme, HostPattern, Route, TokenSource};
use crate::plan::{HomeFile, Provide};

/// Where a ChatGPT login is good for models. It wants WebSockets, which pipelock does not carry where it looks.
const HOST: &str = "chatgpt.com";

/// What of it Codex needs: models and answers, which workspace, and what is left of the plan. With the rest, an agent would be its
/// user: their chats, their connected mailboxes.
const PATHS: [&str; 3] =
    ["/backend-api/codex", "/backend-api/wham/accounts/check", "/backend-api/wham/usage"];

/// No updates and no telemetry, which would be refused; no connectors, which the token is not for.
const CONFIG: &str = "check_for_update_on_startup = false

[analytics]
enabled = false

[features]
apps = false
plugins = false

[projects.\"/workspace\"]
trust_level = \"trusted\"
";

/// Tells it of supervise, in place of what an earlier start has told it.
const REGISTER: &str = "exec codex mcp add supervise --url \"$MCP_SUPERVISE_URL\"";

pub(super) fn start(asked: &Asked<'_>) -> Start {
    let file = |path: &str, content: String| HomeFile { path: path.to_owned(), mode: 0o600, content };
    let mut files = vec![file(".codex/config.toml", CONFIG.to_owned())];
    if !asked.prompt.is_empty() {
        // What it reads beside a project's own.
        files.push(file(".codex/AGENTS.md", asked.prompt.to_owned()));
    }
    let mut start = Start { command: vec!["codex".to_owned()], ..Start::default() };
    if let Some(login) = asked.codex_login {
        files.push(file(".codex/auth.json", placeholder(login).to_string()));
        start.routes = PATHS.map(|path| route(path, login)).to_vec();
        start.pass_through = HostPattern::try_from(HOST.to_owned()).into_iter().collect();
    }
    start.provide = Provide {
        skills_dir: Some(".codex/skills".to_owned()),
        files,
        register: sh(REGISTER),
        ..Provide::default()
    };
    start
}

fn route(path: &str, login: &CodexLogin) -> Route {
    Route {
        host: HOST.to_owned(),
        path: Some(path.to_owned()),
        methods: Vec::new(),
        scheme: AuthScheme::Bearer,
        token: TokenSource::Json { file: login.file.clone(), at: "/tokens/access_token".to_owned() },
    }
}

/// An `auth.json` that Codex takes for a login.
fn placeholder(login: &CodexLogin) -> Value {
    // The workspace's name is no secret, and Codex wants the one that the server knows.
    let about = json!({ "chatgpt_account_id": login.account, "chatgpt_plan_type": login.plan });
    let claims = |expires: u64| {
        json!({
            "exp": expires,
            "email": "agent@bottle.invalid",
            "https://api.openai.com/auth": about,
        })
    };
    json!({
        "auth_mode": "chatgpt",
        "OPENAI_API_KEY": null,
        "tokens": {
            "id_token": unsigned(&claims(login.id_expires)),
            "access_token": unsigned(&claims(login.access_expires)),
            "refresh_token": PLACEHOLDER,
            "account_id": login.account,
        },
        "last_refresh": login.last_refresh,
    })
}

/// A JWT (RFC 7519) with these claims.
fn unsigned(claims: &Value) -> String {
    let part = |text: String| BASE64_URL_SAFE_NO_PAD.encode(text);
    let header = json!({ "alg": "none", "typ": "JWT" });
    format!("{}.{}.{PLACEHOLDER}", part(header.to_string()), part(claims.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Bottle;

    #[test]
    fn the_guest_gets_what_is_no_secret_of_a_login() {
        let login = CodexLogin {
            file: "/home/me/.codex/auth.json".into(),
            account: "the-account".to_owned(),
            plan: Some("pro".to_owned()),
            access_expires: 2_000_000_000,
            id_expires: 1_900_000_000,
            last_refresh: Some("2026-11-20T00:00:00Z".to_owned()),
        };
        let bottle = Bottle::default();
        let start = start(&Asked { bottle: &bottle, prompt: "", codex_login: Some(&login) });
        let auth = start.provide.files.iter().find(|file| file.path == ".codex/auth.json").unwrap();
        assert_eq!(auth.mode, 0o600);
        let auth = auth.content.as_bytes();
        let again =
            CodexLogin::parse("/elsewhere".into(), auth, 1_000_000_000).expect("a login, for Codex as well");
        assert_eq!(CodexLogin { file: login.file.clone(), ..again }, login);
        assert_eq!(start.routes.len(), PATHS.len());
        assert_eq!(start.pass_through.iter().map(HostPattern::as_str).collect::<Vec<_>>(), [HOST]);
    }

    #[test]
    fn without_a_login_there_is_none() {
        let bottle = Bottle::default();
        let start = start(&Asked { bottle: &bottle, prompt: "Be terse.", codex_login: None });
        let paths: Vec<&str> = start.provide.files.iter().map(|file| &*file.path).collect();
        assert_eq!(paths, [".codex/config.toml", ".codex/AGENTS.md"]);
        assert!(start.routes.is_empty() && start.pass_through.is_empty());
        toml::from_str::<toml::Table>(CONFIG).expect("TOML");
    }
}
