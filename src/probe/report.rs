//! What is said of a probe, in words or as JSON; to be kept.

use std::fmt;

use serde::Serialize;

use crate::logs::without_controls;

/// Everything.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The bottle's name.
    pub bottle: String,
    /// When, in RFC 3339.
    pub time: String,
    /// That of `bottle`.
    pub version: String,
    /// That of libkrun.
    pub libkrun: String,
    /// SHA-256, in hex, over the patches to libkrun; nothing if it is the system's.
    pub libkrun_patches: Option<String>,
    /// The guest kernel's release, by its own word.
    pub guest_kernel: String,
    /// What the guest may connect to.
    pub policy: Vec<String>,
    /// What was tried, and what came of it.
    pub findings: Vec<Finding>,
}

/// An attempt, or something that the host looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was tried.
    pub what: String,
    /// By whom in the guest; nothing for what the host looked at.
    #[serde(rename = "by")]
    pub who: Option<&'static str>,
    /// What it means.
    pub verdict: Verdict,
    /// What came of it.
    pub result: String,
}

impl Finding {
    /// The guest had a say in this.
    pub(super) fn printable(mut self) -> Self {
        self.result = without_controls(&self.result);
        self
    }
}

/// What an attempt's outcome means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Refused,
    /// It is allowed, and works.
    Works,
    /// A way out.
    Found,
    /// It is allowed, and does not work.
    Broken,
    /// It is not known.
    Untried,
}

impl Verdict {
    /// As it should be.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Refused | Self::Works)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Refused => "refused",
            Self::Works => "works",
            Self::Found => "FOUND",
            Self::Broken => "BROKEN",
            Self::Untried => "UNTRIED",
        })
    }
}

impl Report {
    /// Nothing was found, everything was tried, and what is allowed works.
    pub fn is_good(&self) -> bool {
        self.findings.iter().all(|finding| finding.verdict.is_good())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = if self.policy.is_empty() { "no network".to_owned() } else { self.policy.join(", ") };
        writeln!(f, "bottle   {}, {}", self.bottle, self.time)?;
        writeln!(f, "version  {}, {}", self.version, self.libkrun)?;
        writeln!(f, "guest    Linux {}", self.guest_kernel)?;
        writeln!(f, "policy   {policy}\n")?;
        for finding in &self.findings {
            let by = finding.who.map(|who| format!(", by {who}")).unwrap_or_default();
            writeln!(f, "{:8} {}{by}: {}", finding.verdict, finding.what, finding.result)?;
        }
        let bad = self.findings.iter().filter(|finding| !finding.verdict.is_good()).count();
        match bad {
            0 => write!(f, "\nno way out found in {} attempts", self.findings.len()),
            bad => write!(f, "\n{bad} of {} attempts did not end as they should", self.findings.len()),
        }
    }
}
