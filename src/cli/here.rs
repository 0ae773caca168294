//! A launch in the foreground: in this process, on our stdio.

use std::process::ExitCode;

use bottle::launch::{Event, Observer, Output, Timings};

use super::background::Order;
use super::process::MachineArgs;
use super::progress::ProgressLine;
use super::pull;
use super::report::CliError;
use super::signals;

/// Carries the order out, and ends as its command did.
pub(super) fn carry_out(
    order: &Order,
    quiet: bool,
    machine: Option<&MachineArgs>,
) -> Result<ExitCode, CliError> {
    let interrupt = signals::watch()?;
    let mut timings = Timings::default();
    let mut line = ProgressLine::before_a_command(quiet);
    let observer = Observer {
        interrupt: &interrupt,
        on_event: &mut |event| match event {
            Event::Build(progress) => line.show_build(progress),
            Event::Import(progress) => line.show(progress),
            Event::Pulled(pulled) => pull::tell(pulled, quiet),
            _ => {}
        },
        timings: &mut timings,
    };
    let status = order.carry_out(Output::Ours, observer);
    drop(line);
    if let Some(machine) = machine {
        machine.print(&timings);
    }
    Ok(signals::exit_code(status?))
}
