//! Claude Code.

use serde_json::json;

use super::{Asked, PLACEHOLDER, Start, sh};
use crate::manifest::Role;
use crate::plan::{HomeFile, PROMPT, Provide};

/// Below the user's home.
const CONFIG: &str = ".claude.json";

/// Tells it of supervise, unless it is told already, as by our configuration: to start it for that takes longer than all else.
const REGISTER: &str = "grep -qs '\"supervise\"' \"$HOME/.claude.json\" || \
                        exec claude mcp add --scope user --transport http supervise '${MCP_SUPERVISE_URL}'";

pub(super) fn start(asked: &Asked<'_>) -> Start {
    let mut command = vec!["claude".to_owned()];
    if !asked.prompt.is_empty() {
        command.extend(["--append-system-prompt-file".to_owned(), PROMPT.to_owned()]);
    }
    // Updates and telemetry would be refused, and be reported as something to worry about.
    let mut env = vec![
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1".to_owned()),
        ("DISABLE_ERROR_REPORTING", "1".to_owned()),
    ];
    if asked.bottle.has_role(Role::ClaudeCodeOauth) {
        env.push(("CLAUDE_CODE_OAUTH_TOKEN", PLACEHOLDER.to_owned()));
    }
    let provide = Provide {
        skills_dir: Some(".claude/skills".to_owned()),
        files: vec![settled(asked.bottle.supervise == Some(true))],
        register: sh(REGISTER),
        ..Provide::default()
    };
    Start { command, env, provide, ..Start::default() }
}

/// What it would ask at its first start: how it is to look, who its user is, and whether what lies there is trusted. All of the guest
/// is there for the agent. And where it can ask for more: it looks into its environment itself, so that this holds in a bottle that is
/// resumed, whose ports are others.
fn settled(supervise: bool) -> HomeFile {
    let mut settled = json!({
        "hasCompletedOnboarding": true,
        "projects": { "/": { "hasTrustDialogAccepted": true } },
    });
    if supervise {
        settled["mcpServers"] = json!({ "supervise": { "type": "http", "url": "${MCP_SUPERVISE_URL}" } });
    }
    HomeFile { path: CONFIG.to_owned(), mode: 0o600, content: settled.to_string() }
}
