//! The keys of `bottle.toml`, as they are written. Their documentation is that of the JSON schema and of `docs/MANIFEST.md`.
//!
//! What is text here and more elsewhere is read in [`super::bottle`], which knows the file's directory.

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

use crate::bundle::{AuthScheme, SecretPattern, TokenSource};

/// What agents get, and what they may reach.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "bottle.toml")]
pub(super) struct Document {
    /// Bottles, by name: what may be reached, and how large the machine is.
    #[schemars(with = "BTreeMap<String, BottleTable>")]
    pub(super) bottle: BTreeMap<Spanned<String>, BottleTable>,
    /// Agents, by name: what runs, and in which bottle. `agents/NAME.md` beside this file is another way to write one.
    #[schemars(with = "BTreeMap<String, AgentTable<String>>")]
    pub(super) agent: BTreeMap<Spanned<String>, AgentTable<Spanned<String>>>,
}

/// A bottle.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BottleTable {
    /// Hosts that may be reached over HTTP and HTTPS: `api.example.com`, or `*.example.com` for all below a domain and the domain
    /// itself.
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) hosts: Option<Vec<Spanned<String>>>,
    /// Hosts whose TLS is not opened: nothing is looked for in what goes there.
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) pass_through: Option<Vec<Spanned<String>>>,
    /// Requests that get a credential, which the agent never sees.
    #[schemars(with = "Option<Vec<RouteTable>>")]
    pub(super) routes: Option<Vec<Spanned<RouteTable>>>,
    /// Git repositories, by the name that they have in the bottle.
    #[schemars(with = "Option<BTreeMap<String, GitTable>>")]
    pub(super) git: Option<BTreeMap<String, Spanned<GitTable>>>,
    /// Who commits, for git in the bottle: `{ name = "…", email = "…" }`.
    #[schemars(with = "Option<GitUserTable>")]
    pub(super) git_user: Option<Spanned<GitUserTable>>,
    /// The agent may ask for more than this; `bottle approve` answers.
    pub(super) supervise: Option<bool>,
    /// Secrets to look for in what leaves the bottle, beside those that pipelock knows.
    #[schemars(with = "Option<Vec<SecretPattern>>")]
    pub(super) secrets: Option<Vec<Spanned<SecretPattern>>>,
    /// Hosts that have another address than the DNS says, or that it does not know. They may be private.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub(super) extra_hosts: Option<BTreeMap<Spanned<String>, IpAddr>>,
    /// A file of CA certificates, PEM, that servers' certificates may be of, beside the public ones.
    #[schemars(with = "Option<String>")]
    pub(super) upstream_ca: Option<Spanned<String>>,
    /// Environment of everything in the bottle.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub(super) env: Option<BTreeMap<Spanned<String>, String>>,
    /// Virtual processors.
    #[schemars(range(min = 1), with = "Option<u8>")]
    pub(super) cpus: Option<Spanned<u8>>,
    /// Memory in MiB.
    #[schemars(range(min = 1), with = "Option<u32>")]
    pub(super) memory: Option<Spanned<u32>>,
    /// The disk's size: `512M`, `40G`, `2T`.
    #[schemars(with = "Option<String>")]
    pub(super) disk: Option<Spanned<String>>,
    /// Directories of this machine that the guest gets: `HOST:GUEST`, to read only with `:ro`.
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) volumes: Option<Vec<Spanned<String>>>,
}

/// Requests that get a credential.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteTable {
    /// One host, by name, reached by HTTPS on port 443.
    pub(super) host: String,
    /// Only paths below this one.
    pub(super) path: Option<String>,
    /// Only these methods.
    #[serde(default)]
    pub(super) methods: Vec<String>,
    /// How the token becomes a header: `bearer`, `token`, `{ basic = { user = "me" } }` or `{ header = { name = "x-api-key" } }`.
    #[serde(default)]
    pub(super) scheme: AuthScheme,
    /// Where the token is, on this machine: `{ env = "NAME" }`, `{ command = ["program", "argument"] }`, which prints it, or
    /// `{ json = { file = "PATH", at = "/key/key" } }`. A program with a slash in its name is a path.
    pub(super) token: TokenSource,
    /// What the token is to the agent: `claude_code_oauth`.
    pub(super) role: Option<Role>,
}

/// What a route's token is to an agent's program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The OAuth token of Claude Code: it runs with a placeholder of it.
    ClaudeCodeOauth,
}

/// A git repository, by ssh.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GitTable {
    /// `ssh://git@example.com[:PORT]/group/project.git`, or `git@example.com:group/project.git`.
    pub(super) url: String,
    /// The private key, a file without a passphrase that only its owner may read.
    pub(super) identity: String,
    /// The server's host key, as in a `known_hosts` without the name: `ssh-ed25519 AAAA…`.
    pub(super) known_host: String,
    /// What may be pushed; nothing, if there are none.
    #[serde(default)]
    pub(super) push: Vec<PushTable>,
}

/// Who commits.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GitUserTable {
    /// git's `user.name`.
    pub(super) name: String,
    /// git's `user.email`.
    pub(super) email: String,
}

/// Branches or tags that may be pushed to, by a pattern of their names: `agent/*`, or `wip/**` for all below.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PushTable {
    /// Branches.
    pub(super) branch: Option<String>,
    /// Tags, instead of branches.
    pub(super) tag: Option<String>,
    /// Commits may be taken back, tags moved.
    #[serde(default)]
    pub(super) force: bool,
    /// They may be deleted.
    #[serde(default)]
    pub(super) delete: bool,
}

/// An agent.
// `Text` is a string that knows where it stands.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AgentTable<Text> {
    /// The bottle that it runs in.
    pub(super) bottle: Text,
    /// What it is for; shown.
    pub(super) description: Option<String>,
    /// The image of the guest, as `bottle run --image` takes it. An agent with a `provider` and without this has `bottle`'s own.
    pub(super) image: Option<Text>,
    /// A program that `bottle` knows how to start: `claude` or `codex`.
    pub(super) provider: Option<Provider>,
    /// For `codex`: the login that it has on this machine, of which the agent gets a placeholder.
    pub(super) forward_host_credentials: Option<bool>,
    /// Any other program, and arguments. Without this and `provider`, it is the image's own.
    pub(super) command: Option<Vec<String>>,
    /// Directories of this machine, each with a `SKILL.md`, that the provider's program finds among its skills under their own names.
    pub(super) skills: Option<Vec<Text>>,
    /// The user in the guest, instead of the image's.
    pub(super) user: Option<String>,
}

/// A program that `bottle` knows how to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// Claude Code.
    Claude,
    /// Codex.
    Codex,
}
