//! The command line: one file a verb. The doc comments are the manual.
//!
//! - [`run`] and [`vm_run`] launch; [`process`] and [`keep`] have the flags that both share, [`import`] those of all that take
//!   an image. [`here`] and [`background`] are where a launch goes on.
//! - [`exec`]: one more command in a bottle that runs.
//! - [`ps`], [`logs`], [`end`], [`resume`]: a bottle's life.
//! - [`manifest`]: finds `bottle.toml`, and asks before it counts; [`trust`] is how a project's gets to count. [`init`] writes
//!   one, [`schema`] is for editors.
//! - [`proposals`]: what agents ask for, and the operator's answers.
//! - [`cp`] copies files into a bottle and out of it; [`diff`] and [`pull`] show and bring back what became of a working tree.
//! - [`probe`] looks for ways out of a bottle.
//! - [`image`], [`build`], [`check`], [`gc`], [`doctor`]: what is on this machine.
//! - [`report`]: the one place where an error becomes a message, a hint and an exit code.
//! - [`signals`]: Ctrl-C and its kin, for the launch under way.

mod background;
mod build;
mod check;
mod cp;
mod diff;
mod doctor;
mod end;
mod exec;
mod gc;
mod here;
mod image;
mod import;
mod init;
mod keep;
mod logs;
mod manifest;
mod probe;
mod process;
mod progress;
mod proposals;
mod ps;
mod pull;
mod report;
mod resume;
mod run;
mod schema;
mod signals;
mod trust;
mod vm_run;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use serde::{Deserialize, Serialize};

/// Run a coding agent in a microVM whose only way out is a sidecar bundle made for it.
#[derive(Debug, Parser)]
#[command(name = "bottle", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    verbosity: Verbosity,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Clone, Copy, Args, Serialize, Deserialize)]
struct Verbosity {
    /// Say more; twice, even more. RUST_LOG says it module by module. Before the verb: behind it, -v may be a volume.
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Say nothing but errors.
    #[arg(short, long, global = true)]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::RunArgs),
    Exec(exec::ExecArgs),
    Ps(ps::PsArgs),
    Logs(logs::LogsArgs),
    Stop(end::StopArgs),
    Resume(resume::ResumeArgs),
    Rm(end::RmArgs),
    Proposals(proposals::ProposalsArgs),
    Approve(proposals::ApproveArgs),
    Deny(proposals::DenyArgs),
    #[command(subcommand)]
    Vm(VmVerb),
    Cp(cp::CpArgs),
    Diff(diff::DiffArgs),
    Pull(pull::PullArgs),
    #[command(subcommand)]
    Image(image::ImageVerb),
    Probe(probe::ProbeArgs),
    Gc(gc::GcArgs),
    Doctor(doctor::DoctorArgs),
    Init(init::InitArgs),
    Trust(trust::TrustArgs),
    Schema(schema::SchemaArgs),
}

/// MicroVMs without a bundle.
#[derive(Debug, Subcommand)]
enum VmVerb {
    Run(vm_run::VmRunArgs),
}

/// Parses, runs, reports.
pub(crate) fn main() -> ExitCode {
    if let Some(code) = background::become_launcher_if_asked() {
        return code;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return report::usage(&error),
    };
    let verbosity = cli.verbosity;
    start_log(verbosity);
    let quiet = verbosity.quiet;
    let result = match cli.verb {
        Verb::Run(args) => args.run(verbosity),
        Verb::Exec(args) => args.run(quiet),
        Verb::Vm(VmVerb::Run(args)) => args.run(verbosity),
        Verb::Ps(args) => args.run(quiet),
        Verb::Logs(args) => args.run(),
        Verb::Stop(args) => args.run(),
        Verb::Resume(args) => args.run(verbosity),
        Verb::Rm(args) => args.run(),
        Verb::Proposals(args) => args.run(),
        Verb::Approve(args) => args.run(),
        Verb::Deny(args) => args.run(),
        Verb::Cp(args) => args.run(quiet),
        Verb::Diff(args) => args.run(),
        Verb::Pull(args) => args.run(quiet),
        Verb::Image(verb) => verb.run(quiet),
        Verb::Probe(args) => args.run(),
        Verb::Gc(args) => args.run(),
        Verb::Doctor(args) => args.run(),
        Verb::Init(args) => args.run(),
        Verb::Trust(args) => args.run(),
        Verb::Schema(args) => args.run(),
    };
    result.unwrap_or_else(|error| report::failure(&error))
}

fn start_log(verbosity: Verbosity) {
    let level = match (verbosity.quiet, verbosity.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "bottle=info,warn",
        (false, _) => "bottle=debug,warn",
    };
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(level))
        .format(|out, record| {
            use std::io::Write;
            writeln!(out, "bottle: {}: {}", record.level().as_str().to_lowercase(), record.args())
        })
        .init();
}
