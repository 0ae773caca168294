//! `bottle proposals`, `bottle approve` and `bottle deny`: what agents ask for, and the operator's answers.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use bottle::bundle::Docker;
use bottle::proposals::{self, Asked, Grant, Verdict};
use bottle::state;
use clap::Args;
use serde::Serialize;

use super::image::{age, unwritten};
use super::report::CliError;

/// List what the agents of running bottles ask for, and why.
///
/// What is listed was written by agents: read it as that.
#[derive(Debug, Args)]
pub(super) struct ProposalsArgs {
    /// Those too that were answered.
    #[arg(short, long)]
    all: bool,
    /// As JSON, with seconds since 1970.
    #[arg(long)]
    json: bool,
}

/// Grant what an agent asks for: it holds at once, without a restart, and for as long as the bottle runs.
///
/// Prints what was granted.
#[derive(Debug, Args)]
pub(super) struct ApproveArgs {
    #[command(flatten)]
    answer: AnswerArgs,
}

/// Refuse what an agent asks for.
///
/// Prints what was refused.
#[derive(Debug, Args)]
pub(super) struct DenyArgs {
    #[command(flatten)]
    answer: AnswerArgs,
}

#[derive(Debug, Args)]
struct AnswerArgs {
    /// The proposal, as `bottle proposals` lists it.
    id: String,
    /// What the agent is told beside it.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// The bottle, if several have a proposal with this ID.
    #[arg(long, value_name = "SLUG")]
    bottle: Option<String>,
}

impl ProposalsArgs {
    pub(super) fn run(self) -> Result<ExitCode, CliError> {
        let mut asked = proposals::list()?;
        asked.retain(|one| self.all || one.answer.is_none());
        let mut out = std::io::stdout().lock();
        let written = if self.json {
            let listed: Vec<Listed<'_>> = asked.iter().map(Listed::new).collect();
            serde_json::to_writer_pretty(&mut out, &listed).map_err(Into::into).and_then(|()| writeln!(out))
        } else {
            write_table(&mut out, &asked)
        };
        written.map_err(unwritten)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl ApproveArgs {
    pub(super) fn run(self) -> Result<ExitCode, CliError> {
        self.answer.run(Verdict::Approve)
    }
}

impl DenyArgs {
    pub(super) fn run(self) -> Result<ExitCode, CliError> {
        self.answer.run(Verdict::Deny)
    }
}

impl AnswerArgs {
    fn run(self, verdict: Verdict) -> Result<ExitCode, CliError> {
        let asked = proposals::find(&self.id, self.bottle.as_deref())?;
        let root = state::state_root()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| CliError::Io { what: "cannot start the runtime", source })?;
        runtime.block_on(async {
            let docker = Docker::connect().await?;
            proposals::decide(&docker, &root, &asked, verdict, &self.reason).await
        })?;
        let said = match verdict {
            Verdict::Approve => "approved",
            Verdict::Deny => "denied",
        };
        writeln!(std::io::stdout(), "{said}: {}: {}", asked.slug, asked.proposal.grant).map_err(unwritten)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What `--json` prints of a proposal. The names are part of the command line's contract.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed<'a> {
    id: &'a str,
    bottle: &'a str,
    asked: u64,
    grant: &'a Grant,
    reason: &'a str,
    /// `waiting`, `approved` or `denied`
    status: &'static str,
    answered: Option<u64>,
    answer: Option<&'a str>,
}

impl<'a> Listed<'a> {
    fn new(asked: &'a Asked) -> Self {
        Self {
            id: &asked.proposal.id,
            bottle: &asked.slug,
            asked: asked.proposal.asked,
            grant: &asked.proposal.grant,
            reason: &asked.proposal.reason,
            status: status(asked),
            answered: asked.answer.as_ref().map(|answer| answer.answered),
            answer: asked.answer.as_ref().map(|answer| answer.reason.as_str()),
        }
    }
}

fn status(asked: &Asked) -> &'static str {
    match &asked.answer {
        None => "waiting",
        Some(answer) if answer.approved => "approved",
        Some(_) => "denied",
    }
}

/// What was read is on one line, and has nothing in it that a terminal would obey.
fn write_table(out: &mut impl Write, asked: &[Asked]) -> std::io::Result<()> {
    let mut rows = vec![["ID", "BOTTLE", "ASKED", "STATUS", "TO", "BECAUSE"].map(str::to_owned)];
    rows.extend(asked.iter().map(|one| {
        let proposal = &one.proposal;
        let when = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(proposal.asked));
        [
            proposal.id.clone(),
            one.slug.clone(),
            when.map_or_else(|| "-".to_owned(), age),
            status(one).to_owned(),
            proposal.grant.to_string(),
            proposal.reason.clone(),
        ]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(width);
    for [id, bottle, when, status, grant, reason] in &rows {
        writeln!(out, "{id:a$}  {bottle:b$}  {when:c$}  {status:d$}  {grant:e$}  {reason}")?;
    }
    Ok(())
}
