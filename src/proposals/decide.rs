//! An answer to a proposal: what it changes, and that the agent hears of it.

use std::fs::File;
use std::path::Path;

use bottle_gates::file;
use bottle_gates::grant::short_text;
use bottle_gates::proposal::{self, Answer, Proposal, REASON_CHARS, VERSION};
use rustix::fs::{FlockOperation, flock};

use super::{Asked, ProposalError, answers_dir, grant, proposals_dir};
use crate::bundle::{Bundle, Docker};
use crate::state;

/// What the operator says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is granted.
    Approve,
    /// It is not.
    Deny,
}

/// Answers a proposal, for good: the first answer counts. The reason, which may be empty, is what the agent is told.
///
/// # Errors
/// When it was answered, or can't be granted: nothing has changed then. [`ProposalError::Bundle`] when docker can't tell the
/// container; the answer stands, and the agent hears of it when it asks again.
pub async fn decide(
    docker: &Docker,
    state_root: &Path,
    asked: &Asked,
    verdict: Verdict,
    reason: &str,
) -> Result<(), ProposalError> {
    let approved = verdict == Verdict::Approve;
    let reason = proposal::one_line(reason);
    if !reason.is_empty() {
        short_text("reason", &reason, REASON_CHARS)?;
    }
    let _lock = lock(&asked.bundle)?;
    let answers = answers_dir(&asked.bundle);
    let id = &asked.proposal.id;
    let answer_path = Answer::path(&answers, id);
    if let Some(answer) = Answer::read(&answers, id).map_err(ProposalError::io("read", &answer_path))? {
        return Err(ProposalError::Answered { id: id.clone(), approved: answer.approved });
    }
    // The container may have put another one in its place since it was shown.
    let proposals = proposals_dir(&asked.bundle);
    let now =
        Proposal::read(&proposals, id).map_err(ProposalError::io("read", Proposal::path(&proposals, id)))?;
    if now != asked.proposal {
        return Err(ProposalError::Changed { id: id.clone() });
    }
    if approved {
        let granted = grant::apply(&asked.bundle, &asked.slug, &now.grant)?;
        Bundle::reload(docker, state_root, &asked.slug).await?;
        granted.in_force(&asked.slug).await?;
    }
    let answer = Answer { version: VERSION, id: id.clone(), answered: state::now(), approved, reason };
    file::create(&answer_path, &answer).map_err(ProposalError::io("write", &answer_path))?;
    Ok(Bundle::reload(docker, state_root, &asked.slug).await?)
}

/// Held while an answer is given: some file writes, and some requests to docker.
fn lock(bundle: &Path) -> Result<File, ProposalError> {
    let path = bundle.join("approvals.lock");
    let open = || {
        let file = File::options().create(true).truncate(false).write(true).open(&path)?;
        rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))?;
        Ok(file)
    };
    open().map_err(ProposalError::io("lock", &path))
}
