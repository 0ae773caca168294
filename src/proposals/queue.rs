//! The proposals that there are.

use std::io;
use std::path::PathBuf;

use bottle_gates::file;
use bottle_gates::proposal::{self, Answer, FILES_MAX, Proposal};

use super::{ProposalError, answers_dir, bundle_dir, proposals_dir};
use crate::state::{self, Found};

/// A proposal of a bottle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The bottle.
    pub slug: String,
    /// What it asks for.
    pub proposal: Proposal,
    /// What was said to it.
    pub answer: Option<Answer>,
    /// The directory of the bottle's bundle.
    pub(super) bundle: PathBuf,
}

/// The proposals of all bottles that live, the oldest first. One that can't be read is warned of.
///
/// # Errors
/// When the bottles can't be listed.
pub fn list() -> Result<Vec<Asked>, ProposalError> {
    let bottles = state::list()?;
    let mut all: Vec<Asked> = bottles.iter().filter(|bottle| bottle.alive).flat_map(of_bottle).collect();
    all.sort_by(|a, b| (a.proposal.asked, &a.proposal.id).cmp(&(b.proposal.asked, &b.proposal.id)));
    Ok(all)
}

/// The proposal with this ID, of the bottle of this name if one is given.
///
/// # Errors
/// When there is none, or more than one: a bundle that is in the hands of an attacker can write what it wants.
pub fn find(id: &str, slug: Option<&str>) -> Result<Asked, ProposalError> {
    if !proposal::is_id(id) {
        return Err(ProposalError::BadId { id: id.to_owned() });
    }
    let mut found = list()?;
    found.retain(|asked| asked.proposal.id == id && slug.is_none_or(|slug| slug == asked.slug));
    match found.as_slice() {
        [] => Err(ProposalError::Unknown { id: id.to_owned() }),
        [_] => Ok(found.remove(0)),
        several => {
            let slugs = several.iter().map(|asked| asked.slug.clone()).collect();
            Err(ProposalError::Ambiguous { id: id.to_owned(), slugs })
        }
    }
}

fn of_bottle(bottle: &Found) -> Vec<Asked> {
    let bundle = bundle_dir(&bottle.dir);
    let ids = match file::names(&proposals_dir(&bundle), FILES_MAX, proposal::is_id) {
        Ok(ids) => ids,
        Err(error) => {
            // Most bottles have none.
            if error.kind() != io::ErrorKind::NotFound {
                log::warn!("the proposals of {} can't be read: {error}", bottle.slug);
            }
            return Vec::new();
        }
    };
    let read = |id: &String| {
        let proposal = Proposal::read(&proposals_dir(&bundle), id)?;
        let answer = Answer::read(&answers_dir(&bundle), id)?;
        Ok::<_, io::Error>(Asked { slug: bottle.slug.clone(), proposal, answer, bundle: bundle.clone() })
    };
    let (mut asked, mut broken) = (Vec::new(), None);
    for id in &ids {
        match read(id) {
            Ok(one) => asked.push(one),
            Err(error) => broken = Some((id, error)),
        }
    }
    // One line, however many there are.
    if let Some((id, error)) = broken {
        log::warn!("a proposal of {} is left out: {id}: {error}", bottle.slug);
    }
    asked
}
