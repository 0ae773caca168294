//! The configuration of egress: `images/sidecars/egress.py` says what it means.

use std::collections::{BTreeMap, BTreeSet};

use bottle_protocol::bundle::{Daemon, Reload};
use serde_json::json;

use super::super::manifest::{AuthScheme, Route};
use super::{
    BundleManifest, EGRESS_CA, EGRESS_PORT, PIPELOCK_CA, PIPELOCK_PORT, Part, TokenSource, UPSTREAM_CA,
    in_container, pretty,
};

const CONFIG: &str = "egress/egress.json";

/// The daemon's name, by which it gets its tokens.
pub(super) const NAME: &str = "egress";

/// The tokens of all routes, each once, by a name of ours.
pub(super) fn tokens(manifest: &BundleManifest) -> BTreeMap<String, TokenSource> {
    let sources: BTreeSet<&TokenSource> = manifest.routes.iter().map(|route| &route.token).collect();
    sources.into_iter().enumerate().map(|(at, source)| (format!("token-{at}"), source.clone())).collect()
}

/// The headers that routes set.
pub(super) fn headers(manifest: &BundleManifest) -> BTreeSet<String> {
    manifest.routes.iter().map(|route| header(&route.scheme).0).collect()
}

/// A scheme's header, and what goes before the token in it.
fn header(scheme: &AuthScheme) -> (String, &'static str) {
    let authorization = "authorization".to_owned();
    match scheme {
        AuthScheme::Bearer => (authorization, "Bearer "),
        AuthScheme::Token => (authorization, "token "),
        AuthScheme::Basic { .. } => (authorization, "Basic "),
        AuthScheme::Header { name } => (name.to_ascii_lowercase(), ""),
    }
}

pub(super) fn part(manifest: &BundleManifest, tokens: &BTreeMap<String, TokenSource>) -> Part {
    let route = |route: &Route| {
        let (header, prefix) = header(&route.scheme);
        let token = tokens.iter().find(|(_, source)| **source == route.token).map(|(name, _)| name);
        let mut spec = json!({
            "host": route.host.to_ascii_lowercase(),
            "path": route.path.as_deref().unwrap_or("/"),
            "methods": route.methods,
            "token": token,
            "header": header,
            "prefix": prefix,
        });
        if let AuthScheme::Basic { user } = &route.scheme {
            spec["basic_user"] = json!(user);
        }
        spec
    };
    // pipelock's for what it opens, the declared ones for what it passes through.
    let mut trusted = vec![in_container(PIPELOCK_CA)];
    trusted.extend(manifest.upstream_ca.is_some().then(|| in_container(UPSTREAM_CA)));
    let config = json!({
        "listen_port": EGRESS_PORT,
        "upstream": format!("http://127.0.0.1:{PIPELOCK_PORT}"),
        "ca": in_container(EGRESS_CA),
        "trusted": trusted,
        "pass_through": manifest.pass_through,
        "routes": manifest.routes.iter().map(route).collect::<Vec<_>>(),
    });
    Part {
        daemon: Daemon {
            name: NAME.to_owned(),
            argv: vec![
                "/opt/egress/bin/python".to_owned(),
                "/opt/egress/egress.py".to_owned(),
                in_container(CONFIG),
            ],
            env: BTreeMap::new(),
            port: Some(EGRESS_PORT),
            reload: Reload::Hangup,
            secrets: true,
        },
        files: [(CONFIG.to_owned(), pretty(&config))].into(),
    }
}
