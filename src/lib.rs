//! `bottle`: a coding agent in a libkrun microVM whose only way out is a sidecar bundle made for it.
//!
//! Data passes from [`image`] (a docker image becomes `base.ext4`) to [`vm`] (a disk becomes a running guest);
//! [`bundle`] is the container that the guest may reach, and [`launch`] puts the three together and takes them
//! apart again. [`own_images`] has docker build the images of our own. [`proposals`] is how an agent gets more rights. [`state`] says
//! where all that lies on disk. [`probe`] looks for ways out of a guest. [`worktree`] takes a git working tree into a guest and
//! brings back what became of it.
//!
//! # As a library
//!
//! A launcher of its own needs two of these: [`image`] and [`vm`]. They print nothing, read no flags, take no signals, and
//! keep nothing in global variables; what blocks can be run on a thread and stopped from another. A VM is a child process,
//! this same program again, so one line has to stand at the top of `main`:
//!
//! ```no_run
//! use std::ops::ControlFlow;
//!
//! use bottle::image::{ImportOptions, Source, Store};
//! use bottle::vm::agent::ExecRequest;
//! use bottle::vm::{Vm, VmConfig, create_overlay};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     bottle::vm::become_vmm_if_asked();
//!
//!     // An image becomes a disk that is never written to, once for all VMs.
//!     let store = Store::open("/var/cache/launcher".as_ref())?;
//!     let source: Source = "docker://debian:12".parse()?;
//!     let image = store.import(&source, &ImportOptions::default(), &mut |_| ControlFlow::Continue(()))?;
//!
//!     // Each VM has a directory and a disk over the image's.
//!     let directory = std::path::Path::new("/run/launcher/one");
//!     let disk = directory.join("disk.qcow2");
//!     create_overlay(&image.base, &disk, None)?;
//!     let mut config = VmConfig::new(directory, disk).image(&image);
//!     config.memory_mib = 512;
//!     let vm = Vm::start(&config)?;
//!
//!     let output = vm.agent().exec(&ExecRequest::new(["uname", "-a"]))?.output()?;
//!     println!("{}: {}", output.status, String::from_utf8_lossy(&output.stdout));
//!     vm.shutdown(std::time::Duration::from_secs(10))?;
//!     Ok(())
//! }
//! ```
//!
//! `examples/` has more of them: servers that are reached in the guest, files that are copied in and out, many VMs at once.
//!
//! Errors say what could not be done, and each has a `hint()`: what can be done about it, in the words of `bottle`'s own
//! command line.

pub mod bundle;
pub mod image;
pub mod launch;
pub mod logs;
pub mod manifest;
pub mod own_images;
pub mod plan;
pub mod probe;
pub mod proposals;
pub mod state;
pub mod vm;
pub mod worktree;
