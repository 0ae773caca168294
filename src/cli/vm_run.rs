//! `bottle vm run`.

use std::process::ExitCode;

use bottle::image::Source;
use bottle::launch::{BareRun, Timings, run_bare};
use bottle::vm::AllowRule;
use clap::Args;

use super::import::ImportFlags;
use super::process::{MachineArgs, ProcessArgs};
use super::progress::ProgressLine;
use super::report::CliError;
use super::signals;

/// Run a command in a microVM of its own, without a bundle and, unless something is allowed, without a network.
///
/// The command gets the image's environment, user and working directory, our stdin, stdout and stderr. Its exit code is
/// ours; 125 says that the VM could not be run, 126 and 127 that the command could not. VM and disk are gone afterwards.
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
    import: ImportFlags,
    #[command(flatten)]
    machine: MachineArgs,
    #[command(flatten)]
    process: ProcessArgs,
}

impl VmRunArgs {
    pub(super) fn run(self, quiet: bool) -> Result<ExitCode, CliError> {
        let interrupt = signals::watch()?;
        let run = BareRun {
            image: self.image.parse::<Source>()?,
            name: self.name,
            import: self.import.options(),
            machine: self.machine.machine(),
            allow: self.allow,
            process: self.process.process(),
        };
        let mut timings = Timings::default();
        let mut line = ProgressLine::before_a_command(quiet);
        let status = run_bare(&run, &interrupt, &mut |progress| line.show(progress), &mut timings);
        drop(line);
        self.machine.print(&timings);
        Ok(signals::exit_code(status?))
    }
}
