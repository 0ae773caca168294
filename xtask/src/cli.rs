//! The command line. Its doc comments are the manual.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::{bench, demo, error::Result, fuzz, images, kvm, setup, test};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "The developer commands of bottle")]
struct Cli {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Install what this machine lacks: Debian packages, libkrunfw, the emulated host's kernel
    Setup,
    /// Run a command where KVM works: here, or in an emulated host
    Kvm(Kvm),
    /// Make the images of tests, demo and bench, if they are not in the cache, and print their paths
    Images {
        /// client, debian, fidelity, node-user, proxy, upstream (all of these if none is named), bench-debian,
        /// bench-node, sidecars, agent
        names: Vec<String>,
    },
    /// Show what bottle does, on real images, and how long it takes
    Demo {
        /// Run the script itself, with these images
        #[arg(long, hide = true, num_args = 4, value_names = ["DEBIAN", "CLIENT", "UPSTREAM", "BUNDLE"])]
        inside: Option<Vec<String>>,
    },
    /// Measure what bottle costs, each as a ratio to a reference that is measured beside it
    Bench {
        /// The parts; all of them if none is named
        parts: Vec<bench::Part>,
        /// How large the file is that is copied in the part `exec`; 0: none is
        // Three minutes of copies in the emulated host, which moves some 5 MiB a second; where KVM works, 1024 is right.
        #[arg(long, value_name = "MIB", default_value_t = 64)]
        size: u64,
        /// A `docker save` archive of the bundle's image, instead of the one that is made here, which may be without pipelock
        #[arg(long, value_name = "TAR")]
        bundle_image: Option<PathBuf>,
        /// Measure bundles here, where docker has this image of theirs
        #[arg(long, hide = true, value_name = "REFERENCE")]
        inside_docker: Option<String>,
        /// Measure agents here, where docker has these images of a bundle and of agents
        #[arg(long, hide = true, num_args = 3, value_names = ["BUNDLE", "AGENT", "ARCHIVE"])]
        inside_run: Option<Vec<String>>,
        /// Measure here, with this image and the inits in this directory
        #[arg(long, hide = true, num_args = 2, value_names = ["ARCHIVE", "INITS"])]
        inside: Option<Vec<PathBuf>>,
    },
    /// Run every test, those that need KVM in the emulated host if need be
    Test {
        /// Run the long ones, too: minutes of imports that are killed. CI does not
        #[arg(long)]
        long: bool,
        /// Run only the tests whose names contain one of these
        filters: Vec<String>,
    },
    /// Feed the parsers of images, and the device behind the allowlist, with made-up input, for ten minutes each
    Fuzz {
        /// Only this one
        #[arg(value_parser = ["layers", "manifest", "vsock"])]
        target: Option<String>,
        /// How long each runs
        #[arg(long, value_name = "N", default_value_t = 600)]
        seconds: u32,
    },
    /// What runs inside the emulated host as its PID 1
    #[command(hide = true, name = kvm::INSIDE_VERB)]
    Inside,
}

/// Run COMMAND where KVM works: on this machine if a probe boots a kernel here, otherwise in an emulated host that
/// shares this machine's root file system (changes to it are lost).
///
/// Output, exit code, working directory, user and environment are COMMAND's own. Standard input is passed on; like ssh,
/// this reads it even if COMMAND does not. What COMMAND writes to the directory in $BOTTLE_OUT (./out if that is not
/// set) comes back. 124 is the exit code of a timeout, 125 that of a failure which is not COMMAND's.
#[derive(Debug, Args)]
pub(crate) struct Kvm {
    /// Have a docker daemon running for COMMAND, and DOCKER_HOST set
    #[arg(long)]
    docker: bool,
    /// A `docker save` archive to load before COMMAND starts (implies --docker)
    #[arg(long = "image", value_name = "TAR")]
    images: Vec<PathBuf>,
    /// Stop COMMAND after this many seconds
    // The whole end-to-end suite takes some minutes in the emulated host; this bounds what hangs.
    #[arg(long, value_name = "SECS", default_value_t = 1200)]
    timeout: u64,
    /// The emulated host's memory
    #[arg(long, value_name = "MIB", default_value_t = kvm::MEMORY_MIB)]
    memory: u32,
    /// The emulated host's processors
    #[arg(long, value_name = "N", default_value_t = kvm::CPUS)]
    cpus: u32,
    /// Use the emulated host even if KVM works here
    #[arg(long)]
    emulate: bool,
    /// COMMAND needs no KVM, only docker perhaps: run it here in any case
    #[arg(long, conflicts_with = "emulate")]
    here: bool,
    /// Say on stderr what happens, the emulated kernel's console included
    #[arg(short, long)]
    verbose: bool,
    /// What to run, and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Parses the command line and does what it says.
pub(crate) fn run() -> Result<ExitCode> {
    match Cli::parse().command {
        Verb::Setup => setup::run(setup::Voice::Full).map(|()| ExitCode::SUCCESS),
        Verb::Kvm(asked) => kvm::run(asked.into()).map(ExitCode::from),
        Verb::Images { names } => {
            setup::run(setup::Voice::Changes)?;
            for (name, archive) in images::named(names)? {
                println!("{name}\t{}", archive.display());
            }
            Ok(ExitCode::SUCCESS)
        }
        Verb::Demo { inside: None } => demo::run().map(ExitCode::from),
        Verb::Demo { inside: Some(words) } => {
            let [debian, client, upstream, bundle] = words.as_slice() else {
                return Ok(ExitCode::from(crate::error::FAILED));
            };
            demo::run_inside(&demo::Images {
                debian: debian.as_ref(),
                client: client.as_ref(),
                upstream,
                bundle,
            })
        }
        Verb::Bench { inside_docker: Some(image), .. } => bench::run_inside_docker(&image),
        Verb::Bench { inside_run: Some(words), .. } => {
            let [bundle, agent, archive] = words.as_slice() else {
                return Ok(ExitCode::from(crate::error::FAILED));
            };
            bench::run_agents_inside(bundle, agent, archive.as_ref())
        }
        Verb::Bench { parts, size, inside: None, bundle_image, .. } => {
            bench::run(&parts, size, bundle_image.as_deref()).map(ExitCode::from)
        }
        Verb::Bench { parts, size, inside: Some(words), .. } => {
            let [archive, inits] = words.as_slice() else { return Ok(ExitCode::from(crate::error::FAILED)) };
            bench::run_inside(&parts, size, archive, inits)
        }
        Verb::Test { long, filters } => test::run(long, &filters).map(ExitCode::from),
        Verb::Fuzz { target, seconds } => fuzz::run(target.as_deref(), seconds).map(ExitCode::from),
        Verb::Inside => kvm::inside(),
    }
}

impl From<Kvm> for kvm::Request {
    fn from(asked: Kvm) -> Self {
        Self {
            docker: asked.docker || !asked.images.is_empty(),
            images: asked.images,
            timeout_seconds: asked.timeout,
            memory_mib: asked.memory,
            cpus: asked.cpus,
            place: match (asked.emulate, asked.here) {
                (true, _) => kvm::Place::Emulated,
                (_, true) => kvm::Place::Here,
                _ => kvm::Place::WhereKvmWorks,
            },
            verbose: asked.verbose,
            command: asked.command,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kvm(arguments: &[&str]) -> kvm::Request {
        let line = ["xtask", "kvm"].iter().chain(arguments);
        match Cli::try_parse_from(line).unwrap().command {
            Verb::Kvm(asked) => asked.into(),
            other => panic!("parsed as {other:?}"),
        }
    }

    #[test]
    fn the_command_keeps_its_own_options() {
        let request = kvm(&["--timeout", "5", "--", "ls", "--image", "-l", "--", "x"]);
        assert_eq!(request.command, ["ls", "--image", "-l", "--", "x"]);
        assert_eq!(request.timeout_seconds, 5);
        assert!(!request.docker);
    }

    #[test]
    fn an_image_asks_for_docker() {
        let request = kvm(&["--image", "a.tar", "--image", "b.tar", "--", "true"]);
        assert!(request.docker);
        assert_eq!(request.images, [PathBuf::from("a.tar"), PathBuf::from("b.tar")]);
    }

    #[test]
    fn a_command_is_needed() {
        assert!(Cli::try_parse_from(["xtask", "kvm", "--docker", "--"]).is_err());
    }
}
