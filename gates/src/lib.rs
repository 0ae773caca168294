//! What a bundle's gates decide by, git-gate and supervise: grants, push rules, proposals; and the files of JSON by which the
//! host and the container tell each other.
//!
//! ```text
//!   host                                     container
//!   git-gate.json   ── mounted read-only ──► git-gate         upstreams, their host keys, push rules    (git_gate)
//!   supervise.json  ── mounted read-only ──► supervise        what may be asked for                     (supervise)
//!   proposals/*     ◄───── mounted ───────── supervise        what the agent asks for                   (proposal)
//!   answers/*       ── mounted read-only ──► supervise        what the operator said                    (proposal)
//! ```
//!
//! The container is not trusted: what the host reads of it goes through [`file::read`], and is checked again. Whoever writes
//! a file puts it in place whole ([`file::write`]), so that nobody sees a part of one.

pub mod file;
pub mod git_gate;
pub mod grant;
pub mod pattern;
pub mod proposal;
pub mod push;
pub mod supervise;
