//! pipelock's configuration (its `docs/configuration.md`, version 2.3): YAML, of which JSON is a part.

use std::collections::{BTreeMap, BTreeSet};

use bottle_protocol::bundle::{Daemon, Reload};
use serde_json::json;

use super::{
    BundleManifest, PIPELOCK_CA, PIPELOCK_CA_KEY, PIPELOCK_PORT, Part, UPSTREAM_CA, egress, in_container,
    pretty,
};

/// The daemon's name.
pub(super) const NAME: &str = "pipelock";

pub(super) const CONFIG: &str = "pipelock/pipelock.yaml";

/// Bodies that are scanned are held whole, and larger ones refused. An agent sends its whole conversation with each request, images
/// included; the container has 1 GiB.
const REQUEST_MAX_BYTES: u64 = 32 * 1024 * 1024;
/// Packages are larger.
const RESPONSE_MAX_BYTES: u64 = 128 * 1024 * 1024;
/// pipelock's own limits are five minutes, and two without a byte: a model may think for longer, and a stream of events last
/// as long as the agent.
const TUNNEL_MAX_SECONDS: u64 = 24 * 3600;
const TUNNEL_IDLE_SECONDS: u64 = 3600;
/// A host. An agent that reads a package index makes some hundred requests in a minute; this only ends a loop gone wild.
const REQUESTS_PER_MINUTE: u64 = 6000;

/// Headers that say nothing of the agent's, as pipelock has them if it is not told others.
const STRUCTURAL_HEADERS: [&str; 13] = [
    "Connection",
    "Keep-Alive",
    "Proxy-Authenticate",
    "Te",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
    "Host",
    "Content-Length",
    "Content-Type",
    "Accept",
    "Accept-Encoding",
    "User-Agent",
];

pub(super) fn part(manifest: &BundleManifest) -> Part {
    let routed: BTreeSet<String> =
        manifest.routes.iter().map(|route| route.host.to_ascii_lowercase()).collect();
    let named = manifest.hosts.iter().chain(&manifest.pass_through).map(ToString::to_string);
    let allowed: BTreeSet<String> = routed.iter().cloned().chain(named).collect();
    let granted = manifest.granted.iter().map(ToString::to_string);
    // What egress sets is a secret, and is meant to be there. What an agent put there, egress shows to pipelock elsewhere.
    let mut ignored: Vec<String> = STRUCTURAL_HEADERS.map(str::to_owned).to_vec();
    ignored.extend(egress::headers(manifest));
    let listen = if manifest.routes.is_empty() { "0.0.0.0" } else { "127.0.0.1" };
    let secrets: Vec<_> = manifest
        .secrets
        .iter()
        .map(|secret| json!({ "name": secret.name, "regex": secret.regex, "severity": "critical" }))
        .collect();
    let config = json!({
        "version": 1,
        // Nothing but what is in the list.
        "mode": "strict",
        "enforce": true,
        "explain_blocks": true,
        "api_allowlist": allowed.iter().cloned().chain(granted).collect::<BTreeSet<_>>(),
        "trusted_domains": manifest.extra_hosts.keys().collect::<Vec<_>>(),
        "fetch_proxy": {
            "listen": format!("{listen}:{PIPELOCK_PORT}"),
            "monitoring": {
                // Which hosts are reached is decided by the list. Names of packages and commits look random, and are not secrets.
                "max_url_length": 16384,
                "subdomain_entropy_exclusions": allowed,
                "max_requests_per_minute": REQUESTS_PER_MINUTE,
            },
        },
        "forward_proxy": {
            "enabled": true,
            "sni_verification": true,
            "max_tunnel_seconds": TUNNEL_MAX_SECONDS,
            "idle_timeout_seconds": TUNNEL_IDLE_SECONDS,
        },
        "tls_interception": {
            "enabled": true,
            "ca_cert": in_container(PIPELOCK_CA),
            "ca_key": in_container(PIPELOCK_CA_KEY),
            "passthrough_domains": manifest.pass_through.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "max_response_bytes": RESPONSE_MAX_BYTES,
        },
        "request_body_scanning": {
            "enabled": true,
            "action": "block",
            "max_body_bytes": REQUEST_MAX_BYTES,
            "scan_headers": true,
            "header_mode": "all",
            "ignore_headers": ignored,
        },
        "dlp": {
            "include_defaults": true,
            "patterns": secrets,
            // Of pipelock's own environment, which holds none.
            "scan_env": false,
        },
        // pipelock looks for one among all of a body's strings, sorted: `type` twelve times is a valid phrase, checksum and all, and a
        // request to a model that offers it tools has that many.
        "seed_phrase_detection": { "enabled": false },
        // What comes back is data to the agent, and often about secrets and instructions: it is written down, and goes on.
        "response_scanning": {
            "enabled": true,
            "action": "warn",
            "include_defaults": true,
            "sse_streaming": { "enabled": true, "action": "warn", "max_event_bytes": 1024 * 1024 },
        },
        // The audit log: the init keeps what goes to stdout.
        "logging": { "format": "json", "output": "stdout", "include_allowed": true, "include_blocked": true },
        // It would report to its makers.
        "sentry": { "enabled": false },
    });
    let mut env = BTreeMap::new();
    if manifest.upstream_ca.is_some() {
        // Go reads Debian's bundle and, beside it, all files of this directory.
        let file = in_container(UPSTREAM_CA);
        let directory = file.rsplit_once('/').map_or("", |(directory, _)| directory);
        env.insert("SSL_CERT_DIR".to_owned(), directory.to_owned());
    }
    Part {
        daemon: Daemon {
            name: NAME.to_owned(),
            argv: vec!["pipelock".to_owned(), "run".to_owned(), "--config".to_owned(), in_container(CONFIG)],
            env,
            port: Some(PIPELOCK_PORT),
            reload: Reload::Hangup,
            secrets: false,
        },
        files: [(CONFIG.to_owned(), pretty(&config))].into(),
    }
}
