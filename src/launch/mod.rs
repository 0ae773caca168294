//! An image, perhaps a bundle, and a command become a running guest, and then nothing again.
//!
//! ```text
//! bare    image ─────────────────────► disk ─► VM ─► process on our stdio ─► its exit status
//! bottle  image ─┬───────────────────► disk ─► VM ─► ...
//!         bundle ┘ (side by side)       its endpoint is the VM's allowlist
//!
//! teardown, in reverse, whatever happened: VM, bundle, state directory
//! ```
//!
//! - [`bare`]: `bottle vm run`; [`bottle`]: `bottle run`.
//! - [`guest`]: the part that both share, from an imported image to the process's end.
//! - [`exec`]: one more process in a bottle that runs.
//! - [`attach`]: our stdin, stdout and stderr, joined to a process's; [`keys`] and [`detach_keys`]: our terminal, key by key.
//! - [`terminal`]: our terminal's modes and size; [`sys`]: what differs by OS.
//! - [`interrupt`]: what Ctrl-C hits, at each moment.

mod attach;
mod bare;
mod bottle;
mod detach_keys;
mod error;
mod exec;
mod guest;
mod interrupt;
mod keys;
mod process;
mod sys;
mod terminal;
mod timings;

pub use attach::Attached;
pub use bare::{BareRun, run_bare};
pub use bottle::{BottleRun, BundleRequest, run_bottle};
pub use detach_keys::{BadDetachKeys, DetachKeys};
pub use error::LaunchError;
pub use exec::{ExecRun, Executing, start_exec};
pub use guest::Machine;
pub use interrupt::Interrupt;
pub use process::Process;
pub use terminal::{restore as restore_terminal, resume as resume_terminal, size as terminal_size};
pub use timings::{Step, Timings};
