//! `bottle doctor`.

use std::process::ExitCode;

use bottle::bundle::{BundleError, Docker};
use bottle::state;
use bottle::vm::{KernelLibrary, VmError, check_virtualisation, find_kernel_library, wall_parts};
use clap::Args;

use super::report::CliError;

/// Check what a launch needs of this machine, and say how to get what is missing.
///
/// Exits with 1 when something is missing; a part of the second wall that this kernel doesn't have is not, since VMs run
/// without it (unless they are told `--confine=require`).
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {}

impl DoctorArgs {
    pub(super) fn run(self) -> Result<ExitCode, CliError> {
        println!("ok       bottle {}, {}", env!("CARGO_PKG_VERSION"), bottle::vm::libkrun_version());
        println!(
            "ok       state in {}, images in {}",
            state::state_root()?.display(),
            state::cache_root()?.display()
        );
        let results = [virtualisation(), kernel(), docker()?];
        for result in &results {
            match result {
                Ok(text) => println!("ok       {text}"),
                Err((text, hint)) => {
                    println!("missing  {text}");
                    hint.iter().for_each(|hint| println!("         hint: {hint}"));
                }
            }
        }
        for part in wall_parts() {
            match part.state {
                Ok(how) => println!("ok       second wall: {}, by {how}", part.name),
                Err(lacking) => {
                    println!("weaker   second wall: {} are not confined: it takes {lacking}", part.name)
                }
            }
        }
        Ok(if results.iter().all(Result::is_ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

type Finding = Result<String, (String, Option<String>)>;

fn virtualisation() -> Finding {
    check_virtualisation().map(|()| "virtual machines can be run".to_owned()).map_err(vm_finding)
}

fn kernel() -> Finding {
    match find_kernel_library() {
        Ok(KernelLibrary::File(path)) => Ok(format!("guest kernel {}", path.display())),
        Ok(KernelLibrary::System) => Ok("guest kernel from the system's libraries".to_owned()),
        Err(error) => Err(vm_finding(error)),
    }
}

fn vm_finding(error: VmError) -> (String, Option<String>) {
    (error.to_string(), error.hint().map(str::to_owned))
}

fn docker() -> Result<Finding, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| CliError::Io { what: "cannot start the runtime", source })?;
    Ok(match runtime.block_on(Docker::connect()) {
        Ok(docker) => Ok(format!("docker on {}", docker.socket().display())),
        Err(error) => Err((error.to_string(), BundleError::hint(&error))),
    })
}
