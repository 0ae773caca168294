//! `bottle vm run`.

use std::process::ExitCode;

use bottle::image::Source;
use bottle::plan::{Plan, Provide};
use bottle::vm::AllowRule;
use clap::Args;

use super::background::Order;
use super::import::ImportFlags;
use super::keep::KeepArgs;
use super::process::{MachineArgs, ProcessArgs};
use super::report::CliError;
use super::{Verbosity, here};

/// Run a command in a microVM of its own, without a bundle and, unless something is allowed, without a network.
///
/// The command gets the image's environment, user and working directory, our stdin, stdout and stderr. Its exit code is
/// ours; 125 says that the VM could not be run, 126 and 127 that the command could not. VM and disk are gone afterwards,
/// unless the bottle is kept.
#[derive(Debug, Args)]
pub(super) struct VmRunArgs {
    /// The image: docker-archive:PATH, oci:DIRECTORY, docker-daemon:NAME, docker://NAME, a path, or a name in the
    /// local docker daemon or else in its registry.
    image: String,
    /// The VM's name, and the guest's host name [default: a random one]
    #[arg(long)]
    name: Option<String>,
    /// Let the guest connect to this: tcp:IP[/N]:PORT[-PORT]. Any number of times.
    #[arg(long, value_name = "RULE")]
    allow: Vec<AllowRule>,
    #[command(flatten)]
    keep: KeepArgs,
    #[command(flatten)]
    import: ImportFlags,
    #[command(flatten)]
    machine: MachineArgs,
    #[command(flatten)]
    process: ProcessArgs,
}

impl VmRunArgs {
    pub(super) fn run(mut self, verbosity: Verbosity) -> Result<ExitCode, CliError> {
        let order = Order::Launch(Box::new(Plan {
            name: self.name,
            image: self.image.parse::<Source>()?,
            import: self.import.options(),
            machine: self.machine.machine(),
            allow: self.allow,
            bundle: None,
            process: self.process.process(),
            provide: Provide::default(),
            called: None,
            keep: self.keep.keep(),
        }));
        if self.keep.detach {
            return order.start(verbosity);
        }
        here::carry_out(&order, verbosity.quiet, Some(&self.machine))
    }
}
