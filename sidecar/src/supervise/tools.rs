//! The tools, as an MCP client sees them. Their descriptions, and the comments of their arguments, are what a model reads.

use std::fmt;
use std::sync::Arc;

use bottle_gates::grant::{Grant, Host, Push, Route};
use bottle_gates::push::{PushRule, Refs};
use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{
    CallToolResult, ContentBlock, ErrorData, Implementation, ServerCapabilities, ServerConfig,
};

use rmcp::service::{RequestContext, RoleServer};
use rmcp::{ServerHandler, tool, tool_handler, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;

use super::queue::Queue;

const INSTRUCTIONS: &str = "You run in a sandbox that reaches declared hosts only. When a request is refused because of the \
    sandbox's policy and your task needs it, ask the operator with these tools. A call waits for a person to answer; meanwhile \
    nothing changes. Ask for the least that does, and say what it is for.";

/// One for each request: there are no sessions.
#[derive(Clone)]
pub(super) struct Tools {
    queue: Arc<Queue>,
    tool_router: ToolRouter<Self>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct HostArguments {
    /// DNS name of the host, such as `docs.example.com`; `*.example.com` for all names below one. No port, no path.
    host: String,
    /// What it is needed for, in a sentence or two. The operator decides by this.
    reason: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RouteArguments {
    /// DNS name of the host, such as `api.github.com`.
    host: String,
    /// What the path of the requests begins with, such as `/repos/acme/widget/`.
    path_prefix: String,
    /// HTTP methods, such as `["GET"]`. None: all of them.
    #[serde(default)]
    methods: Vec<String>,
    /// What it is needed for, in a sentence or two. The operator decides by this.
    reason: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PushArguments {
    /// Name of the repository: the last part of its URL, without `.git`.
    upstream: String,
    /// Branches, by name or pattern: `agent/fix-1`, `agent/*`.
    branch: String,
    /// Also pushes that take commits back.
    #[serde(default)]
    force: bool,
    /// Also the deletion of such branches.
    #[serde(default)]
    delete: bool,
    /// What it is needed for, in a sentence or two. The operator decides by this.
    reason: String,
}

#[tool_router]
impl Tools {
    pub(super) fn new(queue: Arc<Queue>) -> Self {
        Self { queue, tool_router: Self::tool_router() }
    }

    /// Ask the operator to let this sandbox send HTTP and HTTPS requests to a host. Waits for the answer.
    #[tool]
    async fn request_host(
        &self,
        Parameters(arguments): Parameters<HostArguments>,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, ErrorData> {
        let HostArguments { host, reason } = arguments;
        self.ask(Grant::Host(Host { host }), &reason, context).await
    }

    /// Ask the operator to add a credential of theirs to requests to a host, which you never see. Waits for the answer.
    #[tool]
    async fn request_route(
        &self,
        Parameters(arguments): Parameters<RouteArguments>,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, ErrorData> {
        let RouteArguments { host, path_prefix, methods, reason } = arguments;
        self.ask(Grant::Route(Route { host, path_prefix, methods }), &reason, context).await
    }

    /// Ask the operator to allow `git push` to branches of a repository. Waits for the answer.
    #[tool]
    async fn request_push_rule(
        &self,
        Parameters(arguments): Parameters<PushArguments>,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, ErrorData> {
        let PushArguments { upstream, branch, force, delete, reason } = arguments;
        let rule = PushRule { refs: Refs::Branch(branch), force, delete };
        self.ask(Grant::Push(Push { upstream, rule }), &reason, context).await
    }
}

impl Tools {
    async fn ask(
        &self,
        grant: Grant,
        reason: &str,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, ErrorData> {
        let id = match self.queue.ask(&grant, reason) {
            Ok(id) => id,
            Err(error) => return Ok(failure(format!("not asked: {error}"))),
        };
        let answer = tokio::select! {
            answer = self.queue.answer(&id) => answer,
            () = context.ct.cancelled() => return Err(ErrorData::internal_error("cancelled", None)),
        };
        let because = |reason: &str| if reason.is_empty() { String::new() } else { format!(": {reason}") };
        Ok(match answer {
            Some(answer) if answer.approved => {
                success(format!("approved{}. You may now {}.", because(&answer.reason), Mine(&grant)))
            }
            Some(answer) => failure(format!("denied by the operator{}", because(&answer.reason))),
            None => success(format!(
                "no answer yet. The operator sees this as proposal {id}; to go on waiting, call again with the same arguments."
            )),
        })
    }
}

/// A grant in words for whom it is granted to.
struct Mine<'a>(&'a Grant);

impl fmt::Display for Mine<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{}",
            self.0.to_string().replacen("use your credential", "use the operator's credential", 1)
        )
    }
}

fn success(text: String) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text)])
}

fn failure(text: String) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(text)])
}

#[tool_handler(router = self.tool_router)]
impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("bottle-supervise", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }
}
