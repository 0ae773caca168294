//! The flags of every verb that runs a process.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use bottle::launch::Timings;
use bottle::plan::{Machine, Process};
use bottle::vm::{Confine, DiskSize, Volume};
use clap::Args;

/// Of those that run it in a new VM, and of `exec`.
#[derive(Debug, Default, Args)]
pub(super) struct StdioArgs {
    /// Give the command a terminal; with -i, ours.
    #[arg(short, long)]
    tty: bool,
    /// Give the command our stdin; without, its stdin is empty.
    #[arg(short, long)]
    interactive: bool,
    /// Run as this user: a name or uid, perhaps with `:` and a group, looked up in the guest.
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Set a variable in the command's environment; without `=VALUE`, to what it is here.
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    env: Vec<OsString>,
    /// Run in this directory of the guest.
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<OsString>,
}

#[derive(Debug, Args)]
pub(super) struct ProcessArgs {
    #[command(flatten)]
    stdio: StdioArgs,
    /// Run this program instead of the image's ENTRYPOINT; an empty one means none.
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<OsString>,
    /// The command and its arguments, instead of the image's CMD.
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(super) struct MachineArgs {
    /// Virtual processors.
    #[arg(long, value_name = "N")]
    cpus: Option<u8>,
    /// Memory in MiB. The guest takes it from the host as it uses it.
    #[arg(long, value_name = "MIB")]
    memory: Option<u32>,
    /// The disk's size in GiB, or with a unit: 512M, 40G, 2T. It takes space on the host as the guest uses it
    /// [default: 16, more for a large image]
    #[arg(long, value_name = "SIZE")]
    disk: Option<DiskSize>,
    /// Give the guest a directory of this machine, to read only with `:ro`. Any number of times.
    #[arg(short, long, value_name = "HOST:GUEST[:ro]")]
    volume: Vec<Volume>,
    /// `require`: refuse to run without all of the second wall around the VM, which `bottle doctor` shows; `auto`: make do
    /// with what this kernel has of it
    #[arg(long, value_name = "HOW", default_value = "auto", hide_default_value = true)]
    confine: Confine,
    /// Print how long each step took.
    #[arg(long)]
    pub(super) timings: bool,
}

impl StdioArgs {
    /// The process that these flags make of a command.
    pub(super) fn process(self, args: Vec<OsString>) -> Process {
        let env = self.env.iter().filter_map(|setting| variable(setting)).collect();
        Process {
            entrypoint: None,
            args,
            env,
            user: self.user,
            cwd: self.workdir,
            interactive: self.interactive,
            tty: self.tty,
        }
    }
}

impl ProcessArgs {
    pub(super) fn process(&mut self) -> Process {
        let stdio = std::mem::take(&mut self.stdio);
        Process { entrypoint: self.entrypoint.take(), ..stdio.process(std::mem::take(&mut self.command)) }
    }
}

/// `KEY=VALUE`; or `KEY`, which is left out when it is not set here, as docker does.
fn variable(setting: &OsStr) -> Option<(OsString, OsString)> {
    let bytes = setting.as_bytes();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => {
            Some((OsStr::from_bytes(&bytes[..at]).to_owned(), OsStr::from_bytes(&bytes[at + 1..]).to_owned()))
        }
        None => std::env::var_os(setting).map(|value| (setting.to_owned(), value)),
    }
}

impl MachineArgs {
    pub(super) fn machine(&self) -> Machine {
        Machine {
            cpus: self.cpus,
            memory_mib: self.memory,
            disk_size: self.disk,
            volumes: self.volume.clone(),
            confine: self.confine,
        }
    }

    /// On stderr, like all that is not the command's.
    pub(super) fn print(&self, timings: &Timings) {
        if self.timings {
            for step in timings.steps() {
                eprintln!("{:>9.3} s  {}", step.took.as_secs_f64(), step.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_taken_as_docker_takes_them() {
        let pair = |name: &str, value: &str| Some((OsString::from(name), OsString::from(value)));
        assert_eq!(variable(OsStr::new("A=b=c")), pair("A", "b=c"));
        assert_eq!(variable(OsStr::new("A=")), pair("A", ""));
        assert_eq!(variable(OsStr::new("CARGO_PKG_NAME")), pair("CARGO_PKG_NAME", "bottle"));
        assert_eq!(variable(OsStr::new("NOT_SET_ANYWHERE_HERE")), None);
    }
}
