//! What a bottle may reach, and with which credentials: what was asked for, as a manifest has it.
//!
//! The daemons' configurations follow from it alone ([`super::plan`]).

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::plan::git_gate::{GitGateError, GitUpstream};

/// A bottle's bundle.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BundleManifest {
    /// The hosts that may be reached over HTTP and HTTPS, beside those of [`routes`](Self::routes).
    pub hosts: Vec<HostPattern>,
    /// The hosts that an operator granted to the running bundle, beside these. They are apart, since a pipelock that runs takes
    /// no configuration with more exceptions from its checks, only one with more hosts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub granted: Vec<HostPattern>,
    /// Those whose TLS pipelock does not open: it sees which host, and nothing else. For hosts that are trusted with whatever the
    /// agent knows, and need WebSockets, compression or bodies beyond pipelock's limits. They may be reached without being in
    /// [`hosts`](Self::hosts).
    pub pass_through: Vec<HostPattern>,
    /// Requests that get a credential.
    pub routes: Vec<Route>,
    /// Repositories that may be fetched from, and pushed to by rules.
    pub git: Vec<GitUpstream>,
    /// The agent may ask the operator for more than this.
    pub supervise: bool,
    /// Secrets to look for, beside those that pipelock knows.
    pub secrets: Vec<SecretPattern>,
    /// Hosts that have another address than the DNS says, or that it does not know. They may be private.
    pub extra_hosts: BTreeMap<String, IpAddr>,
    /// A file of CA certificates, PEM, that servers' certificates may be of, beside the public ones.
    pub upstream_ca: Option<PathBuf>,
}

/// A host, `api.example.com`, or all below a domain and the domain itself, `*.example.com`. In lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPattern(String);

impl HostPattern {
    /// The pattern, as pipelock writes it as well.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.0
    }
}

impl TryFrom<String> for HostPattern {
    type Error = ManifestError;

    fn try_from(text: String) -> Result<Self, ManifestError> {
        let lower = text.to_ascii_lowercase();
        let name = lower.strip_prefix("*.").unwrap_or(&lower);
        // A whole top-level domain is not meant by anyone.
        let broad = lower.starts_with("*.") && !name.contains('.');
        if is_host_name(name) && !broad { Ok(Self(lower)) } else { Err(ManifestError::Host { text }) }
    }
}

impl std::str::FromStr for HostPattern {
    type Err = ManifestError;

    fn from_str(text: &str) -> Result<Self, ManifestError> {
        Self::try_from(text.to_owned())
    }
}

/// Labels of letters, digits and `-`, and at least one letter somewhere in the last: an address is no name.
pub(super) fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        (1..=63).contains(&label.len())
            && label.chars().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253 && name.split('.').all(label) && last.contains(|c: char| c.is_ascii_alphabetic())
}

/// Requests that get a credential: what the agent sent instead is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// One host, by name, reached by HTTPS on port 443.
    pub host: String,
    /// Only paths below this one, `/v1`; all if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Only these methods; all if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// How the token becomes a header.
    #[serde(default)]
    pub scheme: AuthScheme,
    /// Where the token is, on the host.
    pub token: TokenSource,
}

/// How a token becomes a header.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AuthScheme {
    /// `Authorization: Bearer TOKEN`
    #[default]
    Bearer,
    /// `Authorization: token TOKEN`, as older APIs have it.
    Token,
    /// `Authorization: Basic` with this user, and the token as the password.
    Basic {
        /// The user.
        user: String,
    },
    /// A header of its own, which is the token: `x-api-key`.
    Header {
        /// Its name.
        name: String,
    },
}

/// Where a token comes from. It is read on the host, by the launcher, and goes nowhere but into egress's memory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TokenSource {
    /// An environment variable of the launcher's.
    Env(String),
    /// A command that prints it, program and arguments. It is run again and again, so that a token that changes is picked up.
    Command(Vec<String>),
    /// A string in a JSON file. The file is read again and again, too.
    Json {
        /// The file.
        file: PathBuf,
        /// Where in it, as a JSON pointer (RFC 6901): `/tokens/access_token`.
        at: String,
    },
}

/// A secret's look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretPattern {
    /// What pipelock calls it when it refuses a request.
    pub name: String,
    /// A regular expression of Go's (RE2).
    pub regex: String,
}

/// What a manifest may not say.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Neither a host's name nor a pattern.
    #[error("{text:?} is no host name and no pattern such as *.example.com")]
    Host {
        /// The text.
        text: String,
    },
    /// A field of a route.
    #[error("route to {host}: {what}")]
    Route {
        /// The route's host.
        host: String,
        /// Which field, and why.
        what: String,
    },
    /// An upstream of the git gate.
    #[error(transparent)]
    Git(#[from] GitGateError),
    /// A field elsewhere.
    #[error("{what}")]
    Other {
        /// Which field, and why.
        what: String,
    },
}

impl BundleManifest {
    /// Refuses what serde lets pass and a daemon would stumble over, or understand as something else.
    pub(super) fn check(&self) -> Result<(), ManifestError> {
        for route in &self.routes {
            route.check()?;
        }
        for name in self.extra_hosts.keys() {
            if !is_host_name(name) {
                return Err(ManifestError::Host { text: name.clone() });
            }
        }
        for secret in &self.secrets {
            if secret.name.is_empty() || secret.regex.is_empty() {
                return Err(ManifestError::Other {
                    what: "a secret pattern lacks a name or a regex".to_owned(),
                });
            }
        }
        Ok(())
    }
}

impl Route {
    fn check(&self) -> Result<(), ManifestError> {
        if !is_host_name(&self.host) {
            return Err(ManifestError::Host { text: self.host.clone() });
        }
        let wrong = |what: String| Err(ManifestError::Route { host: self.host.clone(), what });
        let graphic = |text: &str| text.chars().all(|c| c.is_ascii_graphic());
        if let Some(path) = &self.path
            && (!path.starts_with('/') || !graphic(path) || path.contains(['?', '#', '%', '\\']))
        {
            return wrong(format!("{path:?} is not a plain path that begins with a slash"));
        }
        for method in &self.methods {
            if method.is_empty() || !method.chars().all(|c| c.is_ascii_alphabetic()) {
                return wrong(format!("{method:?} is no method"));
            }
        }
        match &self.scheme {
            AuthScheme::Header { name } => {
                let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
                let taken =
                    ["host", "connection", "content-length", "transfer-encoding", "proxy-authorization"];
                if name.is_empty() || !name.chars().all(plain) || taken.contains(&&*name.to_ascii_lowercase())
                {
                    return wrong(format!("{name:?} cannot be a credential's header"));
                }
            }
            AuthScheme::Basic { user } if !graphic(user) || user.contains(':') => {
                return wrong(format!("{user:?} cannot be a user of HTTP's Basic scheme"));
            }
            _ => {}
        }
        match &self.token {
            TokenSource::Env(name) if name.is_empty() || name.contains(['=', '\0']) => {
                wrong(format!("{name:?} cannot be an environment variable"))
            }
            TokenSource::Command(words) if words.first().is_none_or(String::is_empty) => {
                wrong("the token's command has no program".to_owned())
            }
            TokenSource::Json { at, .. } if !at.starts_with('/') => {
                wrong(format!("{at:?} is no JSON pointer: it does not begin with a slash"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_all_below_a_domain() {
        for good in
            ["api.example.com", "*.example.com", "API.Example.com", "localhost", "xn--bcher-kva.example"]
        {
            let pattern: HostPattern = good.parse().unwrap();
            assert_eq!(pattern.as_str(), good.to_ascii_lowercase());
        }
        for bad in [
            "", "*", "*.com", "a..b", "-a.b", "a b", "http://a", "a/b", "a:443", "1.2.3.4", "::1", "*.*.a",
            "a.*",
        ] {
            assert!(bad.parse::<HostPattern>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_route_that_egress_would_misread_is_refused() {
        let good = Route {
            host: "api.example.com".into(),
            path: Some("/v1".into()),
            methods: vec!["POST".into()],
            scheme: AuthScheme::Bearer,
            token: TokenSource::Env("TOKEN".into()),
        };
        let check = |change: &dyn Fn(&mut Route)| {
            let mut route = good.clone();
            change(&mut route);
            BundleManifest { routes: vec![route], ..BundleManifest::default() }.check()
        };
        check(&|_| ()).unwrap();
        let bad: [&dyn Fn(&mut Route); 7] = [
            &|it| it.host = "*.example.com".into(),
            &|it| it.path = Some("v1".into()),
            &|it| it.path = Some("/v1?x".into()),
            &|it| it.methods = vec!["GE T".into()],
            &|it| it.scheme = AuthScheme::Header { name: "a: b\r\nc".into() },
            &|it| it.scheme = AuthScheme::Basic { user: "a:b".into() },
            &|it| it.token = TokenSource::Command(vec![]),
        ];
        for (at, change) in bad.iter().enumerate() {
            assert!(check(change).is_err(), "{at}");
        }
    }

    #[test]
    fn unknown_keys_are_errors() {
        let read = |text: &str| serde_json::from_str::<BundleManifest>(text);
        assert_eq!(read("{}").unwrap(), BundleManifest::default());
        assert!(read(r#"{"host":[]}"#).is_err());
        let route =
            r#"{"routes":[{"host":"a.b","token":{"env":"T"},"scheme":{"header":{"name":"x-api-key"}}}]}"#;
        assert_eq!(read(route).unwrap().routes[0].scheme, AuthScheme::Header { name: "x-api-key".into() });
    }
}
