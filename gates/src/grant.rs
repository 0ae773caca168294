//! What an agent may ask for, and an operator grant.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::push::PushRule;

/// Longer than any path that is worth a rule of its own.
const PATH_CHARS: usize = 500;

/// One more thing that a bottle may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Grant {
    /// Requests to a host, without credentials.
    Host(Host),
    /// Requests to a host, to which the operator's credential is added.
    Route(Route),
    /// Pushes to an upstream of the git gate.
    Push(Push),
}

/// A host that may be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// A DNS name in lower case; `*.` in front stands for all names below it.
    pub host: String,
}

/// Requests that get a credential. Which one, the operator says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// A DNS name in lower case.
    pub host: String,
    /// What the path of a request begins with.
    pub path_prefix: String,
    /// HTTP methods in upper case; none stands for all.
    #[serde(default)]
    pub methods: Vec<String>,
}

/// A push rule for an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Push {
    /// The upstream's name in the git gate.
    pub upstream: String,
    /// What is allowed.
    pub rule: PushRule,
}

/// Something that was written by others and can't be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Invalid {
    what: String,
}

impl Invalid {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }
}

impl Grant {
    /// Refuses what no configuration may hold: names that are none, addresses, anything that would be shown as something else.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn check(&self) -> Result<(), Invalid> {
        match self {
            Self::Host(Host { host }) => dns_name(host.strip_prefix("*.").unwrap_or(host)),
            Self::Route(route) => {
                dns_name(&route.host)?;
                short_text("path prefix", &route.path_prefix, PATH_CHARS)?;
                let plain = |c: char| c.is_ascii_alphanumeric() || "/-._~%!$&'()*+,;=:@".contains(c);
                if !route.path_prefix.starts_with('/') || !route.path_prefix.chars().all(plain) {
                    return Err(Invalid::new(format!("{:?} is no path of a URL", route.path_prefix)));
                }
                if route.path_prefix.split('/').any(|part| part == "..") {
                    return Err(Invalid::new("a path prefix goes through no `..`"));
                }
                if route.methods.len() > METHODS.len() {
                    return Err(Invalid::new("there are not so many methods"));
                }
                match route.methods.iter().find(|method| !METHODS.contains(&method.as_str())) {
                    Some(method) => Err(Invalid::new(format!(
                        "{method:?} is no method; there are {}",
                        METHODS.join(", ")
                    ))),
                    None => Ok(()),
                }
            }
            Self::Push(push) => {
                upstream_name(&push.upstream)?;
                push.rule.check()
            }
        }
    }
}

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

impl fmt::Display for Grant {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(Host { host }) => write!(out, "reach {host}"),
            Self::Route(Route { host, path_prefix, methods }) => {
                let methods = if methods.is_empty() { "any method".to_owned() } else { methods.join(", ") };
                write!(out, "use your credential at {host}{path_prefix} ({methods})")
            }
            Self::Push(Push { upstream, rule }) => write!(out, "push to {upstream}: {rule}"),
        }
    }
}

/// A DNS name, in lower case, of more than one label; an address is none.
///
/// # Errors
/// Says what is wrong.
pub fn dns_name(name: &str) -> Result<(), Invalid> {
    let label = |label: &str| {
        let plain = label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        (1..=63).contains(&label.len()) && plain && !label.starts_with('-') && !label.ends_with('-')
    };
    let numeric = |label: &str| label.chars().all(|c| c.is_ascii_digit()) || label.starts_with("0x");
    let address = name.parse::<Ipv4Addr>().is_ok() || name.parse::<Ipv6Addr>().is_ok();
    // What ends in a number is taken for an address by URL parsers, in whatever notation.
    let last_is_number = name.rsplit('.').next().is_some_and(numeric);
    if address || last_is_number {
        return Err(Invalid::new(format!(
            "{:?} is an address; a host is asked for by its name",
            brief(name)
        )));
    }
    if name.len() <= 253 && name.contains('.') && name.split('.').all(label) {
        Ok(())
    } else {
        Err(Invalid::new(format!(
            "{:?} is no name of a host: lower case, without port and path",
            brief(name)
        )))
    }
}

/// The name of an upstream: it is part of a path and of a URL.
///
/// # Errors
/// Says what is wrong.
pub fn upstream_name(name: &str) -> Result<(), Invalid> {
    let plain =
        name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.'));
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if plain && starts_well && name.len() <= 63 && !name.ends_with(".git") && !name.ends_with(".lock") {
        Ok(())
    } else {
        Err(Invalid::new(format!(
            "{:?} can't name an upstream: 1 to 63 of a-z, 0-9, `-`, `_`, `.`, the first a letter or digit, no `.git` at the end",
            brief(name)
        )))
    }
}

/// A text that is there, has at most so many characters, and none that would not be seen.
///
/// # Errors
/// Says what is wrong.
pub fn short_text(what: &str, text: &str, limit_chars: usize) -> Result<(), Invalid> {
    if text.trim().is_empty() {
        return Err(Invalid::new(format!("the {what} is empty")));
    }
    let length = text.chars().count();
    if length > limit_chars {
        return Err(Invalid::new(format!("the {what} has {length} characters, more than {limit_chars}")));
    }
    if text.chars().any(is_unseen) {
        return Err(Invalid::new(format!("the {what} has characters that can't be seen")));
    }
    Ok(())
}

/// Characters that a terminal obeys or that change how others are shown: controls, marks of writing direction, and those
/// without a width. A line break is one too.
pub fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn brief(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(host: &str) -> Grant {
        Grant::Host(Host { host: host.to_owned() })
    }

    fn route(path_prefix: &str, methods: &[&str]) -> Grant {
        let methods = methods.iter().map(|method| (*method).to_owned()).collect();
        Grant::Route(Route {
            host: "api.example.com".to_owned(),
            path_prefix: path_prefix.to_owned(),
            methods,
        })
    }

    #[test]
    fn hosts_are_names() {
        for good in
            ["docs.example.com", "a.b-c.example.com", "*.example.com", "xn--bcher-kva.example", "1.example"]
        {
            assert!(host(good).check().is_ok(), "{good}");
        }
        let long = format!("{}.com", "a".repeat(64));
        for bad in [
            "",
            "localhost",
            "127.0.0.1",
            "::1",
            "[::1]",
            "2130706433.1",
            "0x7f.1",
            "a.0x1f",
            "Code.example.org",
            "docs.example.com:443",
            "https://docs.example.com",
            "docs.example.com/x",
            "-a.com",
            "a..com",
            ".com",
            "a.com.",
            "*.*.com",
            "*",
            "*.com.*",
            "a b.com",
            "docs.example.com\n",
            "crаtes.io",
            "a\u{202e}.com",
            &long,
        ] {
            assert!(host(bad).check().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn routes_are_a_path_and_methods() {
        assert!(route("/", &[]).check().is_ok());
        assert!(route("/repos/a-b/c", &["GET", "POST"]).check().is_ok());
        let long = format!("/{}", "a".repeat(500));
        for (path, methods) in [
            ("", &[][..]),
            ("repos", &[]),
            ("/a b", &[]),
            ("/a/../b", &[]),
            ("/a\n", &[]),
            (&long, &[]),
            ("/", &["get"]),
            ("/", &["BREW"]),
            ("/", &["GET"; 8]),
        ] {
            assert!(route(path, methods).check().is_err(), "{path:?} {methods:?}");
        }
        assert_eq!(
            route("/repos", &["GET"]).to_string(),
            "use your credential at api.example.com/repos (GET)"
        );
    }

    #[test]
    fn upstreams_have_names_fit_for_a_path() {
        for good in ["bottle", "a.b_c-1"] {
            assert!(upstream_name(good).is_ok(), "{good}");
        }
        for bad in ["", "..", "a/b", "-a", "A", "a.git", "a b", "a\0", "ä"] {
            assert!(upstream_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_grant_is_written_by_its_kind() {
        let text = r#"{"push":{"upstream":"bottle","rule":{"branch":"agent/*"}}}"#;
        let grant: Grant = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&grant).unwrap(), text);
        assert_eq!(grant.to_string(), "push to bottle: branches agent/* (no force, no delete)");
        assert!(serde_json::from_str::<Grant>(r#"{"host":{"host":"a.b","port":1}}"#).is_err());
    }
}
