//! Why a launch failed.

use std::io;

use super::provision::ProvisionError;
use crate::bundle::BundleError;
use crate::image::ImageError;
use crate::own_images::OwnImageError;
use crate::state::{NoRecord, StateError};
use crate::vm::agent::AgentError;
use crate::vm::{DiskError, VmError};

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The directories of bottles.
    #[error(transparent)]
    State(#[from] StateError),
    /// The image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// An image of ours, which docker is to build.
    #[error(transparent)]
    OwnImage(#[from] OwnImageError),
    /// The disk made from it.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Its container ended while the process ran, or docker does not say any more whether it runs.
    #[error("the bundle was lost, and the command was ended: {0}")]
    BundleLost(#[source] Box<BundleError>),
    /// The guest, between its boot and the process.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    /// The VM.
    #[error(transparent)]
    Vm(#[from] VmError),
    /// The guest, once it was up.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// A bottle that was to be resumed has no record of what it was.
    #[error(transparent)]
    NoRecord(#[from] NoRecord),
    /// It was not to be kept: what is left of it is what a crash left.
    #[error("the bottle {slug} was not to be kept, and can't be resumed")]
    NotKept {
        /// Its name.
        slug: String,
    },
    /// Its disk is of no use any more.
    #[error("the bottle {slug} can't be resumed: {why}")]
    NotResumable {
        /// Its name.
        slug: String,
        /// Why.
        why: String,
    },
    /// A plan without a bundle came to where bundles are started.
    #[error("there is no bundle to start")]
    NoBundle,
    /// Neither the user nor the image says what to run.
    #[error("the image {image} has no command of its own, and none was given")]
    NoCommand {
        /// The image.
        image: String,
    },
    /// `-t` without a terminal.
    #[error("a terminal was asked for, and stdin is not one")]
    NoTerminal,
    /// The terminal could not be switched or asked.
    #[error("the terminal: {0}")]
    Terminal(#[source] io::Error),
    /// What the process writes can't be passed on.
    #[error("cannot write to {stream}: {source}")]
    Output {
        /// `stdout` or `stderr`.
        stream: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A signal came before the process ran, or came too often.
    #[error("stopped by signal {signal}")]
    Interrupted {
        /// Its number.
        signal: i32,
    },
    /// A thread or runtime could not be had.
    #[error("{what}: {source}")]
    Host {
        /// What was to be started.
        what: &'static str,
        /// Why it could not.
        source: io::Error,
    },
}
