//! What a plan gives its process, and what that will reach: a few lines that a person checks before anything starts.

use super::{BundleRequest, Plan};
use crate::bundle::{BundleManifest, GitUpstream, Route};
use crate::manifest::{git_user_words, quoted, scheme_words, token_words, volume_words};

/// A command of more characters is cut: a prompt may be part of it.
const SHOWN_CHARS: usize = 80;

/// A line: what it is about, and what is so. Fit for a terminal, whoever wrote the manifest.
pub type Line = (&'static str, String);

/// All of it, in the order in which it matters.
pub fn preflight(plan: &Plan) -> Vec<Line> {
    let mut lines = vec![
        ("runs", command(plan)),
        ("in", format!("{}, {}", quoted(&plan.image.to_string()), machine(plan))),
    ];
    match &plan.bundle {
        None => lines.push(("reaches", "nothing".to_owned())),
        Some(BundleRequest::Proxy { image, port }) => {
            lines.push(("reaches", format!("port {port} of a container of {}", quoted(image))));
        }
        Some(BundleRequest::Daemons { manifest, .. }) => lines.extend(daemons(manifest)),
    }
    lines.extend(plan.allow.iter().map(|rule| ("reaches", rule.to_string())));
    lines.extend(plan.provide.git_user.iter().map(|user| ("commits as", git_user_words(user))));
    lines.extend(plan.provide.skills.iter().map(|skill| ("a skill", quoted(&skill.to_string_lossy()))));
    lines.extend(plan.machine.volumes.iter().map(|volume| ("your files", volume_words(volume))));
    if let Some(top) = &plan.provide.worktree {
        let top = quoted(&top.to_string_lossy());
        lines.push((
            "your files",
            format!("a copy of the git working tree {top}; what becomes of it comes back as a branch"),
        ));
    }
    let names: Vec<String> =
        plan.process.env.iter().map(|(name, _)| quoted(&name.to_string_lossy())).collect();
    if !names.is_empty() {
        lines.push(("variables", names.join(", ")));
    }
    lines
}

fn daemons(manifest: &BundleManifest) -> Vec<Line> {
    let mut lines = Vec::new();
    if !manifest.hosts.is_empty() {
        lines.push(("reaches", list(&manifest.hosts)));
    }
    if !manifest.pass_through.is_empty() {
        lines.push(("reaches", format!("{}; nobody looks at what goes there", list(&manifest.pass_through))));
    }
    lines.extend(manifest.routes.iter().map(|one| ("with a token", route(one))));
    lines.extend(manifest.git.iter().map(|upstream| ("git", git(upstream))));
    if lines.is_empty() {
        lines.push(("reaches", "nothing".to_owned()));
    }
    for (name, address) in &manifest.extra_hosts {
        lines.push(("address", format!("{name} is {address}")));
    }
    if let Some(file) = &manifest.upstream_ca {
        lines.push(("trusts", format!("the CAs of {}", quoted(&file.to_string_lossy()))));
    }
    if manifest.supervise {
        lines.push(("may ask", "you for more: `bottle proposals`".to_owned()));
    }
    lines
}

fn command(plan: &Plan) -> String {
    let process = &plan.process;
    let words: Vec<String> = process
        .entrypoint
        .iter()
        .filter(|program| !program.is_empty())
        .chain(&process.args)
        .map(|word| quoted(&word.to_string_lossy()))
        .collect();
    let command = match (&process.entrypoint, words.is_empty()) {
        (None, true) => "the image's command".to_owned(),
        (None, false) => format!("the image's program with {}", words.join(" ")),
        (Some(_), _) => words.join(" "),
    };
    let short = match command.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &command[..end]),
        None => command,
    };
    match &process.user {
        Some(user) => format!("{short}, as {}", quoted(user)),
        None => short,
    }
}

fn machine(plan: &Plan) -> String {
    let machine = &plan.machine;
    let parts = [
        machine
            .cpus
            .map(|cpus| if cpus == 1 { "one processor".to_owned() } else { format!("{cpus} processors") }),
        machine.memory_mib.map(|mib| format!("{mib} MiB of memory")),
        machine.disk_size.map(|size| format!("a disk of {size}")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "a machine of the usual size".to_owned() } else { parts.join(", ") }
}

fn route(route: &Route) -> String {
    let methods =
        if route.methods.is_empty() { String::new() } else { format!("{} ", route.methods.join(", ")) };
    let path = route.path.as_deref().unwrap_or_default();
    let to = format!("{methods}{}{path}", route.host);
    format!("{to}: {}, as {}", token_words(&route.token), scheme_words(&route.scheme))
}

fn git(upstream: &GitUpstream) -> String {
    let identity = quoted(&upstream.identity.to_string_lossy());
    let push = if upstream.push.is_empty() { "nothing".to_owned() } else { list(&upstream.push) };
    format!("{} with your key {identity}; may push: {push}", quoted(&upstream.url))
}

fn list<T: ToString>(all: &[T]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
