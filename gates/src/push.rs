//! Push rules: which branches and tags of an upstream may be pushed to, and how.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::grant::{Invalid, short_text};
use crate::pattern;

/// Longer names than any that git hosting services take.
const PATTERN_CHARS: usize = 200;

/// Allows pushes to the branches, or the tags, whose names fit a pattern: new ones, and new commits on those that exist.
/// What no rule allows is refused.
///
/// ```json
/// { "branch": "agent/*" }      { "branch": "wip/**", "force": true, "delete": true }      { "tag": "v*" }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct PushRule {
    /// Which.
    pub refs: Refs,
    /// Commits may be taken back, tags moved.
    pub force: bool,
    /// They may be deleted.
    pub delete: bool,
}

/// Branches or tags, by a [`pattern`] of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refs {
    /// `refs/heads/…`
    Branch(String),
    /// `refs/tags/…`
    Tag(String),
}

/// What a push does to a branch or a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// There was none of this name.
    Create,
    /// What was there stays part of it.
    Forward,
    /// What was there is no part of it any more.
    Force,
    /// It goes.
    Delete,
}

impl PushRule {
    /// New branches that fit the pattern, and new commits on them.
    pub fn branch(pattern: impl Into<String>) -> Self {
        Self { refs: Refs::Branch(pattern.into()), force: false, delete: false }
    }

    /// Is the rule about this ref (`refs/heads/main`)?
    pub fn covers(&self, full_name: &str) -> bool {
        let (prefix, pattern) = match &self.refs {
            Refs::Branch(pattern) => ("refs/heads/", pattern),
            Refs::Tag(pattern) => ("refs/tags/", pattern),
        };
        full_name.strip_prefix(prefix).is_some_and(|name| pattern::fits(pattern, name))
    }

    /// Does the rule allow this change of a ref that it covers?
    pub fn allows(&self, change: Change) -> bool {
        match change {
            Change::Create | Change::Forward => true,
            Change::Force => self.force,
            Change::Delete => self.delete,
        }
    }

    /// Refuses patterns that are no names, or can't be shown on a line.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn check(&self) -> Result<(), Invalid> {
        let (Refs::Branch(pattern) | Refs::Tag(pattern)) = &self.refs;
        short_text("pattern", pattern, PATTERN_CHARS)?;
        let fine = |c: char| c.is_ascii_alphanumeric() || "-_./+@*#,=".contains(c);
        if pattern.chars().all(fine) && !pattern.starts_with(['/', '-']) && !pattern.contains("..") {
            Ok(())
        } else {
            Err(Invalid::new(format!(
                "{pattern:?} is no pattern for branches: letters, digits, `-_./+@#,=`, `*` and `**`"
            )))
        }
    }
}

/// Checks a change against all rules.
///
/// # Errors
/// Why it is refused, in words for who pushes.
pub fn judge(rules: &[PushRule], full_name: &str, change: Change) -> Result<(), String> {
    let covering: Vec<&PushRule> = rules.iter().filter(|rule| rule.covers(full_name)).collect();
    if covering.iter().any(|rule| rule.allows(change)) {
        return Ok(());
    }
    if covering.is_empty() {
        return Err(match rules {
            [] => "nothing may be pushed to this repository".to_owned(),
            _ => format!("no rule allows it; allowed: {}", list(rules)),
        });
    }
    let names = list(covering.iter().copied());
    Err(match change {
        Change::Delete => format!("it would be deleted, and the rule says {names}"),
        _ if full_name.starts_with("refs/tags/") => format!("the tag exists, and the rule says {names}"),
        _ => format!("not a fast-forward, and the rule says {names}"),
    })
}

fn list<'a>(rules: impl IntoIterator<Item = &'a PushRule>) -> String {
    rules.into_iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl fmt::Display for PushRule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.refs {
            Refs::Branch(pattern) => write!(out, "branches {pattern}")?,
            Refs::Tag(pattern) => write!(out, "tags {pattern}")?,
        }
        match (self.force, self.delete) {
            (false, false) => write!(out, " (no force, no delete)"),
            (true, false) => write!(out, " (force allowed, no delete)"),
            (false, true) => write!(out, " (no force, delete allowed)"),
            (true, true) => write!(out, " (force and delete allowed)"),
        }
    }
}

/// A rule as it stands in a file.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    branch: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    force: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    delete: bool,
}

impl TryFrom<Written> for PushRule {
    type Error = Invalid;

    fn try_from(Written { branch, tag, force, delete }: Written) -> Result<Self, Invalid> {
        let refs = match (branch, tag) {
            (Some(pattern), None) => Refs::Branch(pattern),
            (None, Some(pattern)) => Refs::Tag(pattern),
            _ => return Err(Invalid::new("a push rule is about either a `branch` or a `tag`")),
        };
        let rule = Self { refs, force, delete };
        rule.check()?;
        Ok(rule)
    }
}

impl From<PushRule> for Written {
    fn from(PushRule { refs, force, delete }: PushRule) -> Self {
        let (branch, tag) = match refs {
            Refs::Branch(pattern) => (Some(pattern), None),
            Refs::Tag(pattern) => (None, Some(pattern)),
        };
        Self { branch, tag, force, delete }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_one_readable_line() {
        let rules: Vec<PushRule> = serde_json::from_str(
            r#"[{"branch": "agent/*"}, {"branch": "wip/**", "force": true, "delete": true}, {"tag": "v*"}]"#,
        )
        .unwrap();
        assert_eq!(rules[0], PushRule::branch("agent/*"));
        assert_eq!(
            list(&rules),
            "branches agent/* (no force, no delete); branches wip/** (force and delete allowed); \
             tags v* (no force, no delete)"
        );
        assert_eq!(serde_json::to_string(&rules[0]).unwrap(), r#"{"branch":"agent/*"}"#);
        for bad in
            [r#"{"branch": "a", "forced": true}"#, r#"{"force": true}"#, r#"{"branch": "a", "tag": "b"}"#]
        {
            assert!(serde_json::from_str::<PushRule>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_no_rule_allows_is_refused_with_the_reason() {
        let rules = [
            PushRule::branch("agent/*"),
            PushRule { force: true, ..PushRule::branch("agent/wip-*") },
            PushRule { refs: Refs::Tag("v*".to_owned()), force: false, delete: true },
        ];
        let judge = |name: &str, change| judge(&rules, name, change);
        for (name, change) in [
            ("refs/heads/agent/a", Change::Create),
            ("refs/heads/agent/a", Change::Forward),
            ("refs/heads/agent/wip-1", Change::Force),
            ("refs/tags/v1", Change::Delete),
        ] {
            assert_eq!(judge(name, change), Ok(()), "{name}");
        }
        let refused = judge("refs/heads/main", Change::Forward).unwrap_err();
        assert!(refused.starts_with("no rule allows it; allowed: branches agent/* (no"), "{refused}");
        let refused = judge("refs/heads/agent/a", Change::Force).unwrap_err();
        assert_eq!(refused, "not a fast-forward, and the rule says branches agent/* (no force, no delete)");
        assert!(judge("refs/heads/agent/wip-1", Change::Delete).unwrap_err().contains("would be deleted"));
        assert!(judge("refs/tags/v1", Change::Force).unwrap_err().contains("the tag exists"));
        for other in ["refs/notes/agent/a", "refs/heads/agent/a/b", "agent/a", "refs/pull/1/head", "HEAD"] {
            assert!(judge(other, Change::Create).is_err(), "{other}");
        }
        assert!(super::judge(&[], "refs/heads/a", Change::Create).unwrap_err().starts_with("nothing may be"));
    }

    #[test]
    fn a_pattern_that_is_no_name_is_refused() {
        assert!(PushRule::branch("agent/**/x-*").check().is_ok());
        for bad in ["", "a b", "a\n", "../x", "/a", "-a", "a\u{202e}b", "[a]", "a?", &"a".repeat(201)] {
            assert!(PushRule::branch(bad).check().is_err(), "{bad:?}");
        }
    }
}
