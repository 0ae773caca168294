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
//! - [`attach`]: our stdin, stdout, stderr and terminal, joined to a process's.
//! - [`interrupt`]: what Ctrl-C hits, at each moment.

mod attach;
mod bare;
mod bottle;
mod error;
mod guest;
mod interrupt;
mod process;
mod terminal;
mod timings;

pub use bare::{BareRun, run_bare};
pub use bottle::{BottleRun, BundleRequest, run_bottle};
pub use error::LaunchError;
pub use guest::Machine;
pub use interrupt::Interrupt;
pub use process::Process;
pub use timings::{Step, Timings};
