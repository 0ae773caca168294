//! Is there a way out of a bottle? Its guest is made to try all that we know, and the host looks what came of it.
//!
//! ```text
//! plan.rs ─► attempts ─► prober (in the guest, as root and as another user) ─► outcomes ─► judge.rs ─► Report
//!    ▲                                                                                        ▲
//!    └── what listens on the host (sys)      canary.rs: who should hear nothing, heard ───────┘
//! ```
//!
//! The prober is the guest agent's program under another name, so it is in every guest and no image can replace it. A guest that
//! is hostile can still make it lie. What the canaries heard it can't deny, and it can't hide what it got on the host.

mod canary;
mod errno;
mod judge;
mod plan;
mod report;
mod run;
mod sys;

pub use report::{Finding, Report, Verdict};
pub use run::{ProbeError, probe};
