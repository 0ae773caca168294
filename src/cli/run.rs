//! `bottle run`.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use bottle::image::Source;
use bottle::plan::{
    BundleRequest, CodexLogin, Plan, Prepared, Provide, Request, preflight, prepare, wants_codex_login,
};
use bottle::worktree::Worktree;
use clap::Args;

use super::background::Order;
use super::image::unwritten;
use super::import::ImportFlags;
use super::keep::KeepArgs;
use super::process::{MachineArgs, ProcessArgs};
use super::report::CliError;
use super::{Verbosity, here, manifest};

/// Run an agent, or any command, in a microVM that reaches what its bottle allows, and nothing else.
///
/// Agents and bottles are those of a manifest: the bottle.toml in this directory or above, over your own in ~/.config/bottle.
/// `bottle init` writes one. What the agent gets is shown first, and you are asked. VM, disk, container and network are gone
/// afterwards, unless the bottle is kept.
///
/// With --bundle-port there is no manifest: the command reaches that port of a container of --bundle-image, and HTTP_PROXY and
/// HTTPS_PROXY point at it.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The agent [default: the only one there is]
    agent: Option<String>,
    /// The bottle of the manifest, instead of the agent's; without an agent, what is behind `--` runs in it.
    #[arg(long, value_name = "NAME")]
    bottle: Option<String>,
    /// The image of the guest, instead of the agent's: docker-archive:PATH, oci:DIRECTORY, docker-daemon:NAME, docker://NAME, a
    /// path, or a name in the local docker daemon or else in its registry.
    #[arg(long)]
    image: Option<String>,
    /// The image of the bundle, as the docker daemon knows it [default: bottle-sidecars of this version]
    #[arg(long, value_name = "IMAGE")]
    bundle_image: Option<String>,
    /// The port of a proxy of your own in the bundle.
    #[arg(
        long,
        value_name = "PORT",
        value_parser = clap::value_parser!(u16).range(1..),
        requires_all = ["bundle_image", "image"],
        conflicts_with_all = ["agent", "bottle"],
    )]
    bundle_port: Option<u16>,
    /// The name that the running bottle gets, and the guest's host name [default: a random one]
    #[arg(long, value_name = "SLUG")]
    name: Option<String>,
    /// Give it a copy of the git working tree that DIR is in, with its history, and start it there. Ignored files stay here, and so
    /// do the repository's credentials. What it makes of it comes back as the branch bottle/SLUG.
    #[arg(
        long,
        value_name = "DIR",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = ".",
        conflicts_with = "bundle_port",
    )]
    cwd: Option<PathBuf>,
    /// Don't ask.
    #[arg(short, long)]
    yes: bool,
    /// Print what would be launched, as JSON, and launch nothing.
    #[arg(long)]
    plan: bool,
    #[command(flatten)]
    keep: KeepArgs,
    #[command(flatten)]
    import: ImportFlags,
    #[command(flatten)]
    machine: MachineArgs,
    #[command(flatten)]
    process: ProcessArgs,
}

impl RunArgs {
    pub(super) fn run(mut self, verbosity: Verbosity) -> Result<ExitCode, CliError> {
        let image = self.image.take().map(|image| image.parse::<Source>()).transpose()?;
        let plan = match (self.bundle_port, self.bundle_image.take(), image) {
            (Some(port), Some(bundle), Some(image)) => self.behind_proxy(image, bundle, port),
            (_, bundle, image) => self.of_manifest(image, bundle, verbosity.quiet)?,
        };
        if self.plan {
            let mut out = io::stdout().lock();
            serde_json::to_writer_pretty(&mut out, &plan)
                .map_err(Into::into)
                .and_then(|()| writeln!(out))
                .map_err(unwritten)?;
            return Ok(ExitCode::SUCCESS);
        }
        let order = Order::Launch(Box::new(plan));
        if self.keep.detach {
            return order.start(verbosity);
        }
        here::carry_out(&order, verbosity.quiet, Some(&self.machine))
    }

    fn behind_proxy(&mut self, image: Source, bundle: String, port: u16) -> Plan {
        Plan {
            name: self.name.take(),
            image,
            import: self.import.options(),
            machine: self.machine.machine(),
            allow: Vec::new(),
            bundle: Some(BundleRequest::Proxy { image: bundle, port }),
            process: self.process.process(),
            provide: Provide::default(),
            called: None,
            keep: self.keep.keep(),
        }
    }

    /// Asks, unless nothing is to be launched.
    fn of_manifest(
        &mut self,
        image: Option<Source>,
        bundle_image: Option<String>,
        quiet: bool,
    ) -> Result<Plan, CliError> {
        let worktree = self.cwd.take().map(|dir| Worktree::find(&dir)).transpose()?;
        let mut request = Request {
            worktree,
            agent: self.agent.take(),
            bottle: self.bottle.take(),
            image,
            bundle_image,
            name: self.name.take(),
            import: self.import.options(),
            machine: self.machine.machine(),
            process: self.process.process(),
            codex_login: None,
            keep: self.keep.keep(),
        };
        let known = manifest::load()?;
        if wants_codex_login(&known, &request)? {
            request.codex_login = Some(CodexLogin::of_this_machine()?);
        }
        let Prepared { mut plan, agent, bottle } = prepare(&known, request)?;
        // An agent at our terminal is there to be spoken to.
        let at_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        if agent.is_some() && at_terminal && !self.keep.detach {
            (plan.process.interactive, plan.process.tty) = (true, true);
        }
        if self.plan {
            return Ok(plan);
        }
        if !(quiet && self.yes) {
            let who = match &agent {
                Some((name, description)) if description.is_empty() => format!("agent {name}, "),
                Some((name, description)) => format!("agent {name} ({}), ", description.escape_debug()),
                None => String::new(),
            };
            eprintln!("{who}bottle {bottle}");
            manifest::show(&preflight(&plan));
        }
        if !self.yes {
            manifest::ask("Start it?")?;
        }
        Ok(plan)
    }
}
