//! `bottle ps`.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use bottle::logs::without_controls;
use bottle::plan::{BundleRequest, Plan};
use bottle::state::{self, Found, Life, Outcome};
use clap::Args;
use serde::Serialize;

use super::image::{age, unwritten};
use super::report::CliError;

/// What is longer is cut, in the table.
const COMMAND_CHARS: usize = 40;

/// List the bottles that live; with -q, only their names.
#[derive(Debug, Args)]
pub(super) struct PsArgs {
    /// Those too that do not live: kept ones, and those that crashed.
    #[arg(short, long)]
    all: bool,
    /// As JSON, with seconds since 1970.
    #[arg(long)]
    json: bool,
}

impl PsArgs {
    /// `-q`, which all verbs have, means here what it means to docker: only the names.
    pub(super) fn run(self, quiet: bool) -> Result<ExitCode, CliError> {
        let mut bottles = state::list()?;
        bottles.retain(|bottle| self.all || bottle.alive);
        let mut out = std::io::stdout().lock();
        let written = if self.json {
            let listed: Vec<Listed<'_>> = bottles.iter().map(Listed::new).collect();
            serde_json::to_writer_pretty(&mut out, &listed).map_err(Into::into).and_then(|()| writeln!(out))
        } else if quiet {
            bottles.iter().try_for_each(|bottle| writeln!(out, "{}", bottle.slug))
        } else {
            write_table(&mut out, &bottles)
        };
        written.map_err(unwritten)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What `--json` prints of a bottle. The names are part of the command line's contract.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed<'a> {
    name: &'a str,
    status: &'static str,
    exit_code: Option<u8>,
    signal: Option<u32>,
    error: Option<&'a str>,
    created: Option<u64>,
    started: Option<u64>,
    ended: Option<u64>,
    kept: bool,
    agent: Option<&'a str>,
    bottle: Option<&'a str>,
    image: Option<String>,
    image_id: Option<&'a str>,
    bundle_image: Option<&'a str>,
    command: Vec<String>,
    cpus: Option<u8>,
    memory_mib: Option<u32>,
    allow: Vec<String>,
    directory: String,
}

impl<'a> Listed<'a> {
    fn new(bottle: &'a Found) -> Self {
        let record = bottle.record.as_ref();
        let plan = record.map(|record| &record.plan);
        let mut listed = Self {
            name: &bottle.slug,
            status: "",
            exit_code: None,
            signal: None,
            error: None,
            created: record.map(|record| record.created),
            started: None,
            ended: None,
            kept: bottle.is_kept(),
            agent: plan.and_then(agent),
            bottle: plan.and_then(|plan| plan.called.as_ref()).map(|called| called.bottle.as_str()),
            image: plan.map(|plan| plan.image.to_string()),
            image_id: record.and_then(|record| record.base.as_ref()).map(|base| base.key.as_str()),
            bundle_image: plan.and_then(|plan| plan.bundle.as_ref()).map(BundleRequest::image),
            command: plan.map(|plan| words(plan).collect()).unwrap_or_default(),
            cpus: plan.and_then(|plan| plan.machine.cpus),
            memory_mib: plan.and_then(|plan| plan.machine.memory_mib),
            allow: plan.map(|plan| plan.allow.iter().map(ToString::to_string).collect()).unwrap_or_default(),
            directory: bottle.dir.display().to_string(),
        };
        listed.status = match bottle.life() {
            Life::Starting => "starting",
            Life::Running { since } => {
                listed.started = Some(since);
                "running"
            }
            Life::Ending => "ending",
            Life::Ended { at, .. } => {
                listed.ended = Some(at);
                listed.set_outcome(bottle);
                "exited"
            }
            Life::Crashed => "crashed",
        };
        listed
    }

    fn set_outcome(&mut self, bottle: &'a Found) {
        match bottle.record.as_ref().map(|record| &record.status) {
            Some(state::Status::Ended { outcome: Outcome::Code(code), .. }) => self.exit_code = Some(*code),
            Some(state::Status::Ended { outcome: Outcome::Signal(signal), .. }) => {
                self.signal = Some(*signal)
            }
            Some(state::Status::Ended { outcome: Outcome::Failed(why), .. }) => self.error = Some(why),
            _ => {}
        }
    }
}

/// The agent's name in the manifest.
fn agent(plan: &Plan) -> Option<&str> {
    plan.called.as_ref()?.agent.as_deref()
}

/// The command as the user gave it.
fn words(plan: &Plan) -> impl Iterator<Item = String> {
    let text = |word: &OsString| word.to_string_lossy().into_owned();
    plan.process.entrypoint.iter().chain(&plan.process.args).map(text)
}

fn write_table(out: &mut impl Write, bottles: &[Found]) -> std::io::Result<()> {
    let mut rows = vec![["NAME", "AGENT", "BOTTLE", "STATUS", "IMAGE", "COMMAND"].map(str::to_owned)];
    rows.extend(bottles.iter().map(|bottle| {
        let plan = bottle.record.as_ref().map(|record| &record.plan);
        let image = plan.map_or_else(|| "-".to_owned(), |plan| plan.image.to_string());
        let command = plan.map(|plan| words(plan).collect::<Vec<_>>().join(" ")).unwrap_or_default();
        let none = || "-".to_owned();
        let agent = plan.and_then(agent).map_or_else(none, str::to_owned);
        let of = plan.and_then(|plan| plan.called.as_ref()).map_or_else(none, |called| called.bottle.clone());
        [bottle.slug.clone(), agent, of, status(&bottle.life()), image, short(&command)]
            .map(|cell| without_controls(&cell))
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(width);
    for [name, agent, bottle, status, image, command] in &rows {
        let line = format!("{name:a$}  {agent:b$}  {bottle:c$}  {status:d$}  {image:e$}  {command}");
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn status(life: &Life) -> String {
    let ago = |seconds: u64| age(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    match life {
        Life::Starting => "starting".to_owned(),
        Life::Running { since } => format!("running, started {}", ago(*since)),
        Life::Ending => "ending".to_owned(),
        Life::Ended { outcome: Outcome::Code(code), at } => format!("exited ({code}) {}", ago(*at)),
        Life::Ended { outcome: Outcome::Signal(signal), at } => {
            format!("ended by signal {signal} {}", ago(*at))
        }
        Life::Ended { outcome: Outcome::Failed(_), at } => format!("failed {}", ago(*at)),
        Life::Crashed => "crashed".to_owned(),
    }
}

fn short(command: &str) -> String {
    if command.chars().count() <= COMMAND_CHARS {
        return command.to_owned();
    }
    command.chars().take(COMMAND_CHARS - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_a_few_words() {
        assert_eq!(status(&Life::Crashed), "crashed");
        let ended = Life::Ended { outcome: Outcome::Code(7), at: state::now() - 130 };
        assert_eq!(status(&ended), "exited (7) 2 minutes ago");
        assert_eq!(status(&Life::Running { since: state::now() }), "running, started just now");
    }

    #[test]
    fn a_long_command_is_cut() {
        assert_eq!(short("true"), "true");
        assert_eq!(short(&"ä".repeat(41)).chars().count(), COMMAND_CHARS);
    }
}
