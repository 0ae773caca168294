//! What a guest may connect to: one rule, as it is written on the command line and given to libkrun.
//!
//! ```text
//! tcp:ADDRESS[/PREFIX]:PORT[-PORT]      tcp:127.0.0.16:40123   tcp:10.0.0.0/8:1-1024   tcp:[::1]:443
//! ```

use std::fmt;
use std::net::SocketAddrV4;
use std::ops::RangeInclusive;
use std::str::FromStr;

use libkrun_sys::allowlist::{TsiAllowlist, TsiRuleError};
use serde::{Deserialize, Serialize};

/// A range of addresses and of TCP ports. Everything that no rule allows is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AllowRule {
    /// Understood by libkrun's own parser.
    text: String,
}

/// A rule that does not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the rule {rule:?} is not of the form tcp:IP[/N]:PORT[-PORT]: {reason}")]
pub struct BadRule {
    rule: String,
    reason: TsiRuleError,
}

impl AllowRule {
    /// One port, not 0, of one address.
    pub fn endpoint(endpoint: SocketAddrV4) -> Self {
        Self { text: format!("tcp:{endpoint}") }
    }

    /// Its ports.
    pub(super) fn ports(&self) -> RangeInclusive<u16> {
        let ports = self.text.rsplit(':').next().unwrap_or_default();
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        // It has been parsed, so both are numbers; without them there would be no port.
        match (first.parse(), last.parse()) {
            (Ok(first), Ok(last)) => first..=last,
            _ => RangeInclusive::new(1, 0),
        }
    }
}

impl FromStr for AllowRule {
    type Err = BadRule;

    fn from_str(rule: &str) -> Result<Self, BadRule> {
        match TsiAllowlist::parse([rule]) {
            Ok(_) => Ok(Self { text: rule.to_owned() }),
            Err(reason) => Err(BadRule { rule: rule.to_owned(), reason }),
        }
    }
}

impl TryFrom<String> for AllowRule {
    type Error = BadRule;

    fn try_from(rule: String) -> Result<Self, BadRule> {
        rule.parse()
    }
}

impl From<AllowRule> for String {
    fn from(rule: AllowRule) -> Self {
        rule.text
    }
}

impl fmt::Display for AllowRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed_is_what_libkrun_understands() {
        for rule in ["tcp:127.0.0.16:40123", "tcp:10.0.0.0/8:1-1024", "tcp:[::1]:443"] {
            assert_eq!(rule.parse::<AllowRule>().unwrap().to_string(), rule);
        }
        let error = "udp:1.2.3.4:5".parse::<AllowRule>().unwrap_err().to_string();
        assert!(error.contains("udp:1.2.3.4:5") && error.contains("does not start with"), "{error}");
        let endpoint = AllowRule::endpoint("127.0.0.16:40123".parse().unwrap());
        assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
    }

    #[test]
    fn a_rule_has_ports() {
        let ports = |rule: &str| rule.parse::<AllowRule>().unwrap().ports();
        assert_eq!(ports("tcp:127.0.0.16:40123"), 40123..=40123);
        assert_eq!(ports("tcp:10.0.0.0/8:1-1024"), 1..=1024);
        assert_eq!(ports("tcp:[::1]:443"), 443..=443);
    }
}
