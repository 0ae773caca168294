//! `bottle run`.

use std::process::ExitCode;

use bottle::image::Source;
use bottle::plan::{BundleRequest, Plan};
use clap::Args;

use super::background::Order;
use super::import::ImportFlags;
use super::keep::KeepArgs;
use super::process::{MachineArgs, ProcessArgs};
use super::report::CliError;
use super::{Verbosity, here};

/// Run a command in a microVM that can reach one port of one container, made for it, and nothing else.
///
/// The container runs on a bridge of its own. HTTP_PROXY and HTTPS_PROXY in the guest point at its port. VM, disk,
/// container and network are gone afterwards, unless the bottle is kept.
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
    keep: KeepArgs,
    #[command(flatten)]
    import: ImportFlags,
    #[command(flatten)]
    machine: MachineArgs,
    #[command(flatten)]
    process: ProcessArgs,
}

impl RunArgs {
    pub(super) fn run(self, verbosity: Verbosity) -> Result<ExitCode, CliError> {
        let order = Order::Launch(Box::new(Plan {
            name: self.name,
            image: self.image.parse::<Source>()?,
            import: self.import.options(),
            machine: self.machine.machine(),
            allow: Vec::new(),
            bundle: Some(BundleRequest::Proxy { image: self.bundle_image, port: self.bundle_port }),
            process: self.process.process(),
            keep: self.keep.keep(),
        }));
        if self.keep.detach {
            return order.start(verbosity);
        }
        here::carry_out(&order, verbosity.quiet, Some(&self.machine))
    }
}
