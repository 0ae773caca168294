//! `bottle run`.

use std::process::ExitCode;

use bottle::image::Source;
use bottle::launch::{BottleRun, BundleRequest, Timings, run_bottle};
use clap::Args;

use super::import::ImportFlags;
use super::process::{MachineArgs, ProcessArgs};
use super::progress::ProgressLine;
use super::report::CliError;
use super::signals;

/// Run a command in a microVM that can reach one port of one container, made for it, and nothing else.
///
/// The container runs on a bridge of its own. HTTP_PROXY and HTTPS_PROXY in the guest point at its port. VM, disk,
/// container and network are gone afterwards.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The image of the guest: docker-archive:PATH, oci:DIRECTORY, docker-daemon:NAME, docker://NAME, a path, or a name in the
    /// local docker daemon or else in its registry.
    #[arg(long)]
    image: String,
    /// The image of the bundle, as the docker daemon knows it.
    #[arg(long, value_name = "IMAGE")]
    bundle_image: String,
    /// The port of the proxy in the bundle.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    bundle_port: u16,
    /// The bottle's name, and the guest's host name [default: a random one]
    #[arg(long = "bottle", value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    import: ImportFlags,
    #[command(flatten)]
    machine: MachineArgs,
    #[command(flatten)]
    process: ProcessArgs,
}

impl RunArgs {
    pub(super) fn run(self, quiet: bool) -> Result<ExitCode, CliError> {
        let interrupt = signals::watch()?;
        let run = BottleRun {
            image: self.image.parse::<Source>()?,
            name: self.name,
            import: self.import.options(),
            machine: self.machine.machine(),
            bundle: BundleRequest { image: self.bundle_image, proxy_port: self.bundle_port },
            process: self.process.process(),
        };
        let mut timings = Timings::default();
        let mut line = ProgressLine::before_a_command(quiet);
        let status = run_bottle(&run, &interrupt, &mut |progress| line.show(progress), &mut timings);
        drop(line);
        self.machine.print(&timings);
        Ok(signals::exit_code(status?))
    }
}
