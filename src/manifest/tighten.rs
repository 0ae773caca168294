//! What a project's file asks for beyond what the user's allows: nothing, or somebody has to trust it.
//!
//! A project's file came with a repository, from whoever wrote that. Until it is trusted it may take away from the user's bottles,
//! and nothing else: whatever is not plainly less counts as more. In particular it may name no token, no command, no key and no
//! directory of its own, and no agent, since an agent's image and command would work with what the user gave to another's.

use super::agent::Agent;
use super::bottle::{Bottle, RoleRoute};
use super::layer::Layer;
use super::source::quoted;
use crate::bundle::{AuthScheme, GitUpstream, HostPattern, TokenSource};
use crate::plan::GitUser;
use crate::vm::Volume;
use crate::vm::config::{DEFAULT_CPUS, DEFAULT_MEMORY_MIB};

/// The least that an image's disk has without a word about it.
const DEFAULT_DISK_MIB: u64 = 16 * 1024;

/// What a project's layer asks for beyond the user's, one line each; nothing if it only takes away.
pub(crate) fn asks(project: &Layer, user: Option<&Layer>) -> Vec<String> {
    let nothing = Bottle::default();
    let mut asks = Vec::new();
    for (name, bottle) in &project.bottles {
        let allowed = user.and_then(|user| user.bottles.get(name)).unwrap_or(&nothing);
        let more = bottle_asks(bottle, allowed);
        asks.extend(more.into_iter().map(|ask| format!("bottle {name}: {ask}")));
    }
    for (name, agent) in &project.agents {
        if user.and_then(|user| user.agents.get(name)).is_none_or(|allowed| !same(agent, allowed)) {
            asks.push(format!("agent {name}: {}", words(agent)));
            let skills = agent.skills.iter().map(|skill| {
                let whose = if project.path.parent().is_some_and(|dir| skill.starts_with(dir)) {
                    "the project's"
                } else {
                    "your"
                };
                format!("agent {name}: {whose} directory {} as a skill", quoted(&skill.to_string_lossy()))
            });
            asks.extend(skills);
        }
    }
    asks
}

/// The same agent, wherever it is written.
fn same(agent: &Agent, allowed: &Agent) -> bool {
    Agent { bottle_at: allowed.bottle_at.clone(), ..agent.clone() } == *allowed
}

fn words(agent: &Agent) -> String {
    let image = agent.image.as_ref().map(|image| format!(", image {}", quoted(&image.to_string())));
    let forwards = if agent.forward_host_credentials { ", with your login" } else { "" };
    format!("{} in bottle {}{}{forwards}", agent.program, quoted(&agent.bottle), image.unwrap_or_default())
}

fn bottle_asks(bottle: &Bottle, allowed: &Bottle) -> Vec<String> {
    let mut asks = Vec::new();
    let reach: Vec<&HostPattern> = allowed.hosts.iter().chain(&allowed.pass_through).flatten().collect();
    let to_route =
        |host: &HostPattern| allowed.routes.iter().flatten().any(|one| one.route.host == host.as_str());
    for host in bottle.hosts.iter().flatten() {
        if !to_route(host) && !reach.iter().any(|pattern| covers(pattern, host)) {
            asks.push(format!("to reach {host}"));
        }
    }
    for host in bottle.pass_through.iter().flatten() {
        if !allowed.pass_through.iter().flatten().any(|pattern| covers(pattern, host)) {
            asks.push(format!("to reach {host} without a look at what goes there"));
        }
    }
    for one in bottle.routes.iter().flatten() {
        if !allowed.routes.iter().flatten().any(|other| is_within(one, other)) {
            asks.push(format!("{} on requests to {}", token_words(&one.route.token), one.route.host));
        }
    }
    for one in bottle.git.iter().flatten() {
        if !allowed.git.iter().flatten().any(|other| is_less(one, other)) {
            let identity = quoted(&one.identity.to_string_lossy());
            let push: Vec<String> = one.push.iter().map(ToString::to_string).collect();
            let push = if push.is_empty() { "nothing".to_owned() } else { push.join(", ") };
            asks.push(format!("your key {identity} for {}, to push {push}", quoted(&one.url)));
        }
    }
    if let Some(user) = &bottle.git_user
        && bottle.git_user != allowed.git_user
    {
        asks.push(format!("to commit as {}", git_user_words(user)));
    }
    if bottle.supervise == Some(true) && allowed.supervise != Some(true) {
        asks.push("to ask you for more (supervise)".to_owned());
    }
    for (name, address) in &bottle.extra_hosts {
        if allowed.extra_hosts.get(name) != Some(address) {
            asks.push(format!("{name} to be at {address}"));
        }
    }
    if bottle.upstream_ca.is_some() && bottle.upstream_ca != allowed.upstream_ca {
        asks.push("servers' certificates of a CA of its own".to_owned());
    }
    for (name, value) in &bottle.env {
        if allowed.env.get(name) != Some(value) {
            asks.push(format!("{}={} in the environment", quoted(name), quoted(value)));
        }
    }
    if bottle.cpus > Some(allowed.cpus.unwrap_or(DEFAULT_CPUS)) {
        asks.push(format!("{} processors", bottle.cpus.unwrap_or_default()));
    }
    if bottle.memory_mib > Some(allowed.memory_mib.unwrap_or(DEFAULT_MEMORY_MIB)) {
        asks.push(format!("{} MiB of memory", bottle.memory_mib.unwrap_or_default()));
    }
    let disk = |bottle: &Bottle| bottle.disk.map(u64::from);
    if let Some(size) = bottle.disk
        && disk(bottle) > Some(disk(allowed).unwrap_or(DEFAULT_DISK_MIB))
    {
        asks.push(format!("a disk of {size}"));
    }
    for volume in bottle.volumes.iter().flatten() {
        if !allowed.volumes.iter().flatten().any(|other| is_part(volume, other)) {
            asks.push(format!("your directory {}", volume_words(volume)));
        }
    }
    asks
}

/// Does the pattern fit every host that the other one fits?
fn covers(pattern: &HostPattern, other: &HostPattern) -> bool {
    match pattern.as_str().strip_prefix("*.") {
        None => pattern == other,
        Some(domain) => {
            let name = other.as_str().strip_prefix("*.").unwrap_or(other.as_str());
            name == domain || name.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
        }
    }
}

/// The same token in the same way, for the same requests or for fewer.
fn is_within(one: &RoleRoute, other: &RoleRoute) -> bool {
    let (new, old) = (&one.route, &other.route);
    let below = |path: &str, limit: &str| {
        let rest = path.strip_prefix(limit.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.len() > 1 && rest.starts_with('/') && !rest.contains(".."))
    };
    let path = match (&new.path, &old.path) {
        (_, None) => true,
        (Some(path), Some(limit)) => path == limit || below(path, limit),
        (None, Some(_)) => false,
    };
    let methods = old.methods.is_empty()
        || (!new.methods.is_empty()
            && new
                .methods
                .iter()
                .all(|method| old.methods.iter().any(|old| old.eq_ignore_ascii_case(method))));
    new.host == old.host
        && new.token == old.token
        && new.scheme == old.scheme
        && one.role == other.role
        && path
        && methods
}

/// The same upstream, with some of its push rules.
fn is_less(one: &GitUpstream, other: &GitUpstream) -> bool {
    one.name == other.name
        && one.url == other.url
        && one.identity == other.identity
        && one.host_key == other.host_key
        && one.push.iter().all(|rule| {
            let weaker = |old: &bottle_gates::push::PushRule| {
                old.refs == rule.refs && (old.force || !rule.force) && (old.delete || !rule.delete)
            };
            other.push.iter().any(weaker)
        })
}

/// The same directory in the same place, perhaps only to read.
fn is_part(volume: &Volume, other: &Volume) -> bool {
    volume.host() == other.host()
        && volume.guest() == other.guest()
        && (volume.read_only() || !other.read_only())
}

/// A volume for a person to read.
pub(crate) fn volume_words(volume: &Volume) -> String {
    let [host, guest] = [volume.host(), volume.guest()].map(|path| quoted(&path.to_string_lossy()));
    let how = if volume.read_only() { "to read" } else { "to read and write" };
    format!("{host} as {guest}, {how}")
}

/// Who commits, for a person to read.
pub(crate) fn git_user_words(user: &GitUser) -> String {
    format!("{}, {}", quoted(&user.name), quoted(&user.email))
}

/// A token for a person to read: where it is from, never what it is.
pub(crate) fn token_words(token: &TokenSource) -> String {
    match token {
        TokenSource::Env(name) => format!("the token in your ${}", quoted(name)),
        TokenSource::Command(words) => {
            let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
            format!("the token that your command `{}` prints", words.join(" "))
        }
        TokenSource::Json { file, at } => {
            format!("the token at {} in your file {}", quoted(at), quoted(&file.to_string_lossy()))
        }
    }
}

/// How a token becomes a header, for a person to read.
pub(crate) fn scheme_words(scheme: &AuthScheme) -> String {
    match scheme {
        AuthScheme::Bearer => "Authorization: Bearer".to_owned(),
        AuthScheme::Token => "Authorization: token".to_owned(),
        AuthScheme::Basic { user } => format!("Authorization: Basic, as {}", quoted(user)),
        AuthScheme::Header { name } => name.clone(),
    }
}
