//! From a manifest and what the command line says to a [`Plan`]: pure. Nothing is made, started, asked or read.

use std::path::Path;

use super::provider::{self, Asked, CodexLogin, Start};
use super::{BundleRequest, Called, Machine, Plan, Process, WORKSPACE};
use crate::bundle::{BundlePlan, ManifestError};
use crate::image::{ImportOptions, Source};
use crate::manifest::{Agent, Bottle, Manifest, Program, hint_for};
use crate::worktree::Worktree;

/// The image of the daemons, of this version.
pub const DAEMONS_IMAGE: &str = concat!("bottle-sidecars:", env!("CARGO_PKG_VERSION"));

/// The image of an agent's guest, of this version, where a provider's program runs and no other image is named.
pub const AGENT_IMAGE: &str = concat!("bottle-agent:", env!("CARGO_PKG_VERSION"));

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Which agent; not given and without a bottle, it is the only one that there is.
    pub agent: Option<String>,
    /// Which bottle, instead of the agent's.
    pub bottle: Option<String>,
    /// The image of the guest, instead of the agent's.
    pub image: Option<Source>,
    /// The image of the daemons, instead of [`DAEMONS_IMAGE`].
    pub bundle_image: Option<String>,
    /// What the bottle is to be called.
    pub name: Option<String>,
    /// How the image is imported.
    pub import: ImportOptions,
    /// The machine; what it says goes before what the bottle says, and volumes add up.
    pub machine: Machine,
    /// The process. Its arguments are behind those of an agent; environment and user go before the manifest's.
    pub process: Process,
    /// What it is to work on.
    pub worktree: Option<Worktree>,
    /// The login of Codex on this machine, if [`wants_codex_login`].
    pub codex_login: Option<CodexLogin>,
    /// The bottle stays when its process has ended.
    pub keep: bool,
}

/// A plan, and what it is called in the manifest.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The plan.
    pub plan: Plan,
    /// The agent, if it is one's, and what its author says of it.
    pub agent: Option<(String, String)>,
    /// The bottle.
    pub bottle: String,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// No such agent.
    #[error("there is no agent {name:?} in the manifest")]
    UnknownAgent {
        /// As asked for.
        name: String,
        /// What can be done about it.
        hint: String,
    },
    /// No such bottle.
    #[error("there is no bottle {name:?} in the manifest")]
    UnknownBottle {
        /// As asked for.
        name: String,
        /// What can be done about it.
        hint: String,
    },
    /// Several agents, and none is said.
    #[error("which agent? {}", one_of(agents))]
    WhichAgent {
        /// Those that there are.
        agents: Vec<String>,
    },
    /// Neither the agent nor the command line has one.
    #[error("no image to run in")]
    NoImage {
        /// The agent.
        agent: Option<String>,
    },
    /// Its program has no place for skills.
    #[error("agent {agent}: its program does not read skills")]
    NoSkills {
        /// The agent.
        agent: String,
    },
    /// The agent is to get a placeholder of a login that was not found.
    #[error("there is no login of Codex for the agent {agent}")]
    NoLogin {
        /// The agent.
        agent: String,
    },
    /// The bottle as a whole is not right.
    #[error("bottle {bottle}: {source}")]
    Bottle {
        /// Which.
        bottle: String,
        /// What is wrong with it.
        source: ManifestError,
    },
}

fn one_of(agents: &[String]) -> String {
    if agents.is_empty() {
        "the manifest has none".to_owned()
    } else {
        format!("there is {}", agents.join(", "))
    }
}

impl PrepareError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownAgent { hint, .. } | Self::UnknownBottle { hint, .. } => Some(hint.clone()),
            Self::WhichAgent { agents } => Some(match agents.first() {
                Some(first) => format!("`bottle run {first}`"),
                None => "`bottle run --bottle NAME --image IMAGE -- CMD` runs a command without an agent"
                    .to_owned(),
            }),
            Self::NoImage { agent: Some(agent) } => {
                Some(format!("give the agent {agent} an `image`, or say --image"))
            }
            Self::NoImage { agent: None } => Some("say --image IMAGE".to_owned()),
            Self::NoSkills { .. } => Some("leave `skills` out".to_owned()),
            Self::NoLogin { .. } => Some("`codex login` on this machine makes one".to_owned()),
            Self::Bottle { .. } => {
                Some("docs/MANIFEST.md has each key with its type and an example".to_owned())
            }
        }
    }
}

/// Makes the plan.
///
/// # Errors
/// When the manifest does not have what is asked for, or nothing says which image.
pub fn prepare(manifest: &Manifest, request: Request) -> Result<Prepared, PrepareError> {
    let chosen = choose_agent(manifest, &request)?;
    let bottle_name = match (&request.bottle, chosen) {
        (Some(name), _) => name.clone(),
        (None, Some((_, agent))) => agent.bottle.clone(),
        // Without a bottle, an agent is chosen or it is an error.
        (None, None) => return Err(PrepareError::WhichAgent { agents: Vec::new() }),
    };
    let bottle = manifest.bottles.get(&bottle_name).ok_or_else(|| PrepareError::UnknownBottle {
        hint: hint_for(&bottle_name, manifest.bottles.keys().map(String::as_str)),
        name: bottle_name.clone(),
    })?;
    let agent = chosen.map(|(_, agent)| agent);
    let image = request.image.or_else(|| agent.and_then(image));
    let image =
        image.ok_or_else(|| PrepareError::NoImage { agent: chosen.map(|(name, _)| name.to_owned()) })?;
    if let Some((name, agent)) = chosen
        && agent.forward_host_credentials
        && request.codex_login.is_none()
    {
        return Err(PrepareError::NoLogin { agent: name.to_owned() });
    }
    let mut start = start(bottle, agent, request.codex_login.as_ref());
    let mut daemons = bottle.bundle();
    // What the user says of a host goes before what its program wants there.
    daemons.routes.extend(start.routes);
    daemons.pass_through.extend(start.pass_through);
    BundlePlan::new(&daemons)
        .map_err(|source| PrepareError::Bottle { bottle: bottle_name.clone(), source })?;
    if let (Some((name, _)), None, false) =
        (chosen, &start.provide.skills_dir, start.provide.skills.is_empty())
    {
        return Err(PrepareError::NoSkills { agent: name.to_owned() });
    }
    let mut asked = request.process;
    if let Some(Worktree { top, below }) = request.worktree {
        start.provide.worktree = Some(top);
        asked.cwd = asked.cwd.or_else(|| Some(Path::new(WORKSPACE).join(below).into()));
    }
    let plan = Plan {
        name: request.name,
        image,
        import: request.import,
        machine: machine(request.machine, bottle),
        allow: Vec::new(),
        bundle: Some(BundleRequest::Daemons {
            image: request.bundle_image.unwrap_or_else(|| DAEMONS_IMAGE.to_owned()),
            manifest: Box::new(daemons),
        }),
        process: process(asked, bottle, agent, start.command, start.env),
        provide: start.provide,
        called: Some(Called { agent: chosen.map(|(name, _)| name.to_owned()), bottle: bottle_name.clone() }),
        keep: request.keep,
    };
    let agent = chosen.map(|(name, agent)| (name.to_owned(), agent.description.clone()));
    Ok(Prepared { plan, agent, bottle: bottle_name })
}

/// Whether the agent that is asked for is to get a placeholder of the login of Codex on this machine.
///
/// # Errors
/// When there is no such agent.
pub fn wants_codex_login(manifest: &Manifest, request: &Request) -> Result<bool, PrepareError> {
    Ok(choose_agent(manifest, request)?.is_some_and(|(_, agent)| agent.forward_host_credentials))
}

/// The agent that is asked for; none where a bottle is and no agent.
fn choose_agent<'a>(
    manifest: &'a Manifest,
    request: &Request,
) -> Result<Option<(&'a str, &'a Agent)>, PrepareError> {
    let named = |(name, agent): (&'a String, &'a Agent)| (name.as_str(), agent);
    let names = || manifest.agents.keys().map(String::as_str);
    match (&request.agent, &request.bottle) {
        (Some(name), _) => match manifest.agents.get_key_value(name) {
            Some(found) => Ok(Some(named(found))),
            None => Err(PrepareError::UnknownAgent { name: name.clone(), hint: hint_for(name, names()) }),
        },
        (None, Some(_)) => Ok(None),
        (None, None) => match manifest.agents.iter().next() {
            Some(only) if manifest.agents.len() == 1 => Ok(Some(named(only))),
            _ => Err(PrepareError::WhichAgent { agents: names().map(str::to_owned).collect() }),
        },
    }
}

fn machine(asked: Machine, bottle: &Bottle) -> Machine {
    let volumes = bottle.volumes.iter().flatten().cloned().chain(asked.volumes).collect();
    Machine {
        cpus: asked.cpus.or(bottle.cpus),
        memory_mib: asked.memory_mib.or(bottle.memory_mib),
        disk_size: asked.disk_size.or(bottle.disk),
        volumes,
        confine: asked.confine,
    }
}

/// The image that the agent names, or else ours, for a program that is in it. No registry is asked for that one.
fn image(agent: &Agent) -> Option<Source> {
    let ours = matches!(agent.program, Program::Provider(_));
    agent.image.clone().or_else(|| ours.then(|| Source::DockerDaemon(AGENT_IMAGE.to_owned())))
}

/// How the agent's program is started, and what it finds in the guest.
fn start(bottle: &Bottle, agent: Option<&Agent>, codex_login: Option<&CodexLogin>) -> Start {
    let prompt = agent.map(|agent| agent.prompt.clone()).unwrap_or_default();
    let mut start = match agent.map(|agent| &agent.program) {
        None | Some(Program::Image) => Start::default(),
        Some(Program::Command(words)) => Start { command: words.clone(), ..Start::default() },
        Some(Program::Provider(known)) => {
            provider::start(*known, &Asked { bottle, prompt: &prompt, codex_login })
        }
    };
    start.provide.prompt = agent.map(|_| prompt);
    start.provide.skills = agent.map(|agent| agent.skills.clone()).unwrap_or_default();
    start.provide.git_user = bottle.git_user.clone();
    start
}

fn process(
    asked: Process,
    bottle: &Bottle,
    agent: Option<&Agent>,
    mut command: Vec<String>,
    provided: Vec<(&'static str, String)>,
) -> Process {
    let mut env: Vec<_> = bottle.env.iter().map(|(name, value)| (name.into(), value.into())).collect();
    env.extend(provided.into_iter().map(|(name, value)| (name.into(), value.into())));
    env.retain(|(name, _)| !asked.env.iter().any(|(set, _)| set == name));
    env.extend(asked.env);
    // A program of the command line's is instead of the agent's, with all its words.
    let (entrypoint, args) = match (asked.entrypoint, command.is_empty()) {
        (Some(program), _) => (Some(program), asked.args),
        (None, true) => (None, asked.args),
        (None, false) => {
            let program = command.remove(0);
            (Some(program.into()), command.into_iter().map(Into::into).chain(asked.args).collect())
        }
    };
    Process {
        entrypoint,
        args,
        env,
        user: asked.user.or_else(|| agent.and_then(|agent| agent.user.clone())),
        cwd: asked.cwd,
        interactive: asked.interactive,
        tty: asked.tty,
    }
}
