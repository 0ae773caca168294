//! What the agents of running bottles ask of the operator, and what the operator says.
//!
//! ```text
//! <slug>/bundle/
//! ├── supervise/proposals/<id>.json     written in the container: nothing in it is believed           (queue)
//! ├── supervise/answers/<id>.json       written here, read-only there; the first answer counts        (decide)
//! ├── approvals.lock                    held (flock) while one is given
//! └── config/                           the daemons' configurations, which an approval changes        (grant)
//! ```
//!
//! An approval is in force before the agent hears of it: configurations, SIGHUP, pipelock's word that it has them, then the
//! answer, SIGHUP.

mod decide;
mod error;
mod grant;
mod queue;

use std::path::{Path, PathBuf};

pub use bottle_gates::grant::Grant;
pub use bottle_gates::proposal::{Answer, Proposal};
pub use decide::{Verdict, decide};
pub use error::ProposalError;
pub use queue::{Asked, find, list};

/// Where a bottle's proposals are, in the directory of its bundle.
fn proposals_dir(bundle: &Path) -> PathBuf {
    bundle.join(crate::bundle::PROPOSALS)
}

/// Where the answers to them are.
fn answers_dir(bundle: &Path) -> PathBuf {
    bundle.join(crate::bundle::ANSWERS)
}

/// The directory of a bottle's bundle.
fn bundle_dir(bottle: &Path) -> PathBuf {
    bottle.join("bundle")
}
