//! From a manifest to what the bundle's container runs: pure, nothing is made or asked.
//!
//! ```text
//! BundleManifest ─► pipelock ─┐
//!                 ─► egress   ┤
//!                 ─► git-gate ┤
//!                 ─► supervise┴─► Part: a daemon, its files, its port ─► BundlePlan
//! ```
//!
//! A plan holds no secret: CAs are minted, and tokens read, when it is carried out ([`super::Sidecars`]).

mod egress;
pub mod git_gate;
mod pipelock;
pub mod supervise;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use bottle_protocol::bundle::{CONFIG_DIR, Daemon, InitConfig};

use super::manifest::{BundleManifest, ManifestError, TokenSource};

/// The port of pipelock.
pub const PIPELOCK_PORT: u16 = 8888;
/// The port of egress.
pub const EGRESS_PORT: u16 = 9099;

/// pipelock's CA, certificate and key.
pub(super) const PIPELOCK_CA: &str = "pipelock/ca.pem";
pub(super) const PIPELOCK_CA_KEY: &str = "pipelock/ca-key.pem";
/// egress's CA: certificate and key in one file.
pub(super) const EGRESS_CA: &str = "egress/ca.pem";
/// The declared CAs of upstream servers.
pub(super) const UPSTREAM_CA: &str = "upstream-ca/ca.pem";

/// The program that is everything of ours in the container.
pub(super) const SIDECAR: &str = "/usr/local/bin/bottle-sidecar";

/// pipelock's configuration.
pub(crate) const PIPELOCK_CONFIG: &str = pipelock::CONFIG;

/// Where a file of the plan is in the container.
fn in_container(file: &str) -> String {
    format!("{CONFIG_DIR}/{file}")
}

/// The daemon that gets the tokens.
pub(super) fn egress_name() -> &'static str {
    egress::NAME
}

/// What one daemon adds to a plan.
struct Part {
    daemon: Daemon,
    /// By their path below the configuration directory.
    files: BTreeMap<String, Vec<u8>>,
}

/// Everything the container is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundlePlan {
    /// The configuration files, by their path below the configuration directory.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What the init runs; one of the files.
    pub init: InitConfig,
    /// The port that the guest's HTTP goes to: egress's if there are routes, else pipelock's.
    pub first_hop: u16,
    /// The ports that the guest may reach.
    pub ports: Vec<u16>,
    /// The tokens of routes, by the name that egress knows them by.
    pub tokens: BTreeMap<String, TokenSource>,
    /// Entries of the container's `/etc/hosts`.
    pub extra_hosts: BTreeMap<String, IpAddr>,
    /// The files of the identities of upstreams, by the upstream's name.
    pub identities: BTreeMap<String, PathBuf>,
    /// What it is the plan of.
    pub manifest: BundleManifest,
    /// A file of the host's that goes into the configuration directory.
    pub upstream_ca: Option<PathBuf>,
}

impl BundlePlan {
    /// The plan of a manifest.
    ///
    /// # Errors
    /// When the manifest says what no daemon could do.
    pub fn new(manifest: &BundleManifest) -> Result<Self, ManifestError> {
        manifest.check()?;
        let tokens = egress::tokens(manifest);
        // Behind egress, pipelock is nobody else's business: its port answers in the container alone.
        let has_routes = !manifest.routes.is_empty();
        let mut parts = vec![pipelock::part(manifest)];
        if has_routes {
            parts.push(egress::part(manifest, &tokens));
        }
        let first_hop = if has_routes { EGRESS_PORT } else { PIPELOCK_PORT };
        let git_gate = if manifest.git.is_empty() { None } else { Some(git_gate::plan(&manifest.git)?) };
        let mut ports = vec![first_hop];
        if let Some(config) = &git_gate {
            parts.push(git_gate::part(config));
            ports.push(git_gate::PORT);
        }
        if manifest.supervise {
            parts.push(supervise::part(&supervise::plan(git_gate.as_ref())));
            ports.push(supervise::PORT);
        }
        let mut plan = Self {
            files: BTreeMap::new(),
            init: InitConfig::default(),
            first_hop,
            ports,
            tokens,
            extra_hosts: manifest.extra_hosts.clone(),
            upstream_ca: manifest.upstream_ca.clone(),
            identities: manifest.git.iter().map(|one| (one.name.clone(), one.identity.clone())).collect(),
            manifest: manifest.clone(),
        };
        for part in parts {
            plan.files.extend(part.files);
            plan.init.daemons.push(part.daemon);
        }
        plan.files.insert("init.json".to_owned(), pretty(&plan.init));
        Ok(plan)
    }
}

impl BundlePlan {
    /// The daemon that the guest's HTTP goes to.
    pub(super) fn first_hop_name(&self) -> &'static str {
        if self.first_hop == EGRESS_PORT { egress::NAME } else { pipelock::NAME }
    }
}

/// JSON that a person can read.
pub(super) fn pretty(value: &impl serde::Serialize) -> Vec<u8> {
    // Strings, numbers and maps with string keys: nothing that JSON lacks.
    let mut text = serde_json::to_vec_pretty(value).unwrap_or_default();
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::manifest::{AuthScheme, Route, SecretPattern};
    use super::*;

    /// The files of a plan as those in `tests/bundle_plan/NAME`. With `BOTTLE_BLESS` set, they are written instead.
    fn assert_as_kept(name: &str, manifest: &BundleManifest) {
        let plan = BundlePlan::new(manifest).unwrap();
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bundle_plan").join(name);
        for (file, bytes) in &plan.files {
            let path = dir.join(file);
            if std::env::var_os("BOTTLE_BLESS").is_some() {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(&path, bytes).unwrap();
            }
            let kept = std::fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(String::from_utf8_lossy(bytes), kept, "{}", path.display());
        }
    }

    fn hosts(names: &[&str]) -> Vec<super::super::HostPattern> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn without_routes_pipelock_is_the_first_hop() {
        let manifest =
            BundleManifest { hosts: hosts(&["github.com", "*.example.com"]), ..BundleManifest::default() };
        assert_as_kept("plain", &manifest);
        let plan = BundlePlan::new(&manifest).unwrap();
        assert_eq!((plan.first_hop, plan.ports), (PIPELOCK_PORT, vec![PIPELOCK_PORT]));
    }

    #[test]
    fn everything_at_once() {
        let route = |host: &str, token: TokenSource, scheme: AuthScheme| Route {
            host: host.to_owned(),
            path: None,
            methods: Vec::new(),
            scheme,
            token,
        };
        let key = TokenSource::Env("ANTHROPIC_API_KEY".to_owned());
        let manifest = BundleManifest {
            hosts: hosts(&["packages.example.com"]),
            pass_through: hosts(&["chatgpt.com"]),
            routes: vec![
                route("api.anthropic.com", key.clone(), AuthScheme::Header { name: "X-Api-Key".to_owned() }),
                Route {
                    path: Some("/repos/".to_owned()),
                    methods: vec!["get".to_owned(), "POST".to_owned()],
                    ..route(
                        "api.github.com",
                        TokenSource::Command(vec!["gh".into(), "auth".into()]),
                        AuthScheme::Token,
                    )
                },
                route("eu.anthropic.com", key, AuthScheme::Bearer),
                route(
                    "git.corp.example",
                    TokenSource::Env("PASSWORD".to_owned()),
                    AuthScheme::Basic { user: "me".to_owned() },
                ),
            ],
            secrets: vec![SecretPattern { name: "Badge".to_owned(), regex: "badge_[0-9]{6}".to_owned() }],
            extra_hosts: [("git.corp.example".to_owned(), "10.9.8.7".parse().unwrap())].into(),
            upstream_ca: Some("/corp.pem".into()),
            ..BundleManifest::default()
        };
        assert_as_kept("full", &manifest);
        let plan = BundlePlan::new(&manifest).unwrap();
        assert_eq!((plan.first_hop, plan.ports), (EGRESS_PORT, vec![EGRESS_PORT]));
        // Two routes share one token.
        assert_eq!(plan.tokens.len(), 3);
    }
}
