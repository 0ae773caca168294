//! Claude Code.

use super::Start;
use crate::manifest::{Bottle, Role};
use crate::plan::{PROMPT, Provide};

/// In place of a token: egress drops it, and sets the real one.
const PLACEHOLDER: &str = "placeholder-of-bottle";

pub(super) fn start(bottle: &Bottle, has_prompt: bool) -> Start {
    let mut command = vec!["claude".to_owned()];
    if has_prompt {
        command.extend(["--append-system-prompt-file".to_owned(), PROMPT.to_owned()]);
    }
    // Updates and telemetry would be refused, and be reported as something to worry about.
    let mut env = vec![
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1".to_owned()),
        ("DISABLE_ERROR_REPORTING", "1".to_owned()),
    ];
    if bottle.has_role(Role::ClaudeCodeOauth) {
        env.push(("CLAUDE_CODE_OAUTH_TOKEN", PLACEHOLDER.to_owned()));
    }
    let provide = Provide { skills_dir: Some(".claude/skills".to_owned()), ..Provide::default() };
    Start { command, env, provide }
}
