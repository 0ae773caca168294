//! What the programs in a guest are told of its bundle, in their environment.

use std::net::SocketAddrV4;

use crate::launch::provision::CA_BUNDLE;

/// What programs look up their CAs with: Node.js, OpenSSL and Python, Python's `requests`, curl, git, Codex.
const CA_VARIABLES: [&str; 6] = [
    "NODE_EXTRA_CA_CERTS",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "CODEX_CA_CERTIFICATE",
];

/// Where supervise takes MCP requests.
const MCP_PATH: &str = "/mcp";

/// Where the guest's programs find the proxy. Both spellings are in use.
pub(super) fn proxy(proxy: SocketAddrV4) -> Vec<(String, String)> {
    let url = format!("http://{proxy}");
    let no_proxy = format!("localhost,127.0.0.1,{}", proxy.ip());
    let variables = [("HTTP_PROXY", &url), ("HTTPS_PROXY", &url), ("NO_PROXY", &no_proxy)];
    variables
        .iter()
        .flat_map(|(name, value)| {
            [((*name).to_owned(), (*value).clone()), (name.to_lowercase(), (*value).clone())]
        })
        .collect()
}

/// Where they find the daemons of a bundle: the first hop, which is a proxy whose CA they trust, git-gate and supervise.
pub(super) fn daemons(
    first_hop: SocketAddrV4,
    git_gate: Option<SocketAddrV4>,
    supervise: Option<SocketAddrV4>,
) -> Vec<(String, String)> {
    let mut env = proxy(first_hop);
    env.extend(git_gate.map(|gate| ("GIT_GATE_URL".to_owned(), git_gate_url(gate))));
    env.extend(supervise.map(|at| ("MCP_SUPERVISE_URL".to_owned(), format!("http://{at}{MCP_PATH}"))));
    env.extend(CA_VARIABLES.map(|name| (name.to_owned(), CA_BUNDLE.to_owned())));
    env
}

/// Below it are the repositories, `/NAME.git`.
pub(super) fn git_gate_url(gate: SocketAddrV4) -> String {
    format!("git://{gate}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_is_set_in_both_spellings() {
        let env = proxy("127.0.0.16:4000".parse().unwrap());
        for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"] {
            assert!(env.contains(&(name.to_owned(), "http://127.0.0.16:4000".to_owned())), "{name}");
        }
        assert!(env.contains(&("no_proxy".to_owned(), "localhost,127.0.0.1,127.0.0.16".to_owned())));
    }

    #[test]
    fn what_does_not_run_has_no_variable() {
        let at = |port: u16| SocketAddrV4::new([127, 0, 0, 17].into(), port);
        let has = |env: &[(String, String)], name: &str, value: &str| {
            env.contains(&(name.to_owned(), value.to_owned()))
        };
        let env = daemons(at(1), Some(at(2)), Some(at(3)));
        assert!(has(&env, "GIT_GATE_URL", "git://127.0.0.17:2"));
        assert!(has(&env, "MCP_SUPERVISE_URL", "http://127.0.0.17:3/mcp"));
        assert!(has(&env, "NODE_EXTRA_CA_CERTS", "/etc/ssl/certs/ca-certificates.crt"));
        assert!(has(&env, "HTTPS_PROXY", "http://127.0.0.17:1"));
        let names: Vec<String> = daemons(at(1), None, None).into_iter().map(|(name, _)| name).collect();
        assert!(!names.iter().any(|name| name.contains("GATE") || name.contains("MCP")), "{names:?}");
    }
}
