//! A plan becomes a running guest, and then nothing again, or a bottle that is kept.
//!
//! ```text
//! run     directory, control socket
//!         image ─┬─────────────► disk ─► VM ─► provisions ─► process on our stdio, or logged ─► its exit status
//!         bundle ┘ (side by side, where there is one: its published ports are the VM's allowlist)
//!
//! teardown, in reverse, whatever happened: VM, bundle, directory; a kept bottle's VM shuts down, and its directory stays
//! ```
//!
//! - [`run`]: [`launch`] and [`resume`]; [`bundled`]: the part with a bundle; [`shared`]: who accompanies steps side by side.
//! - [`own_image`]: images of ours, which docker builds first.
//! - [`life`]: the bottle meanwhile, as others see it: record, control socket, and what becomes of the directory.
//! - [`provision`]: what is put into a guest before its process starts.
//! - [`guest`]: from an imported image to the process's end.
//! - [`worktree`]: the working tree of git's that it works on, into it and back.
//! - [`exec`]: one more process in a bottle that runs.
//! - [`attach`]: our stdin, stdout and stderr, joined to a process's; [`keys`] and [`detach_keys`]: our terminal, key by key;
//!   [`output`]: a process's output, logged.
//! - [`terminal`]: our terminal's modes and size; [`sys`]: what differs by OS.
//! - [`interrupt`]: what Ctrl-C and `bottle stop` hit, at each moment.
//! - [`control`], [`mod@stop`], [`follow`], [`mod@remove`]: how others speak to a launcher, and what they do when nobody answers.

mod attach;
mod background;
mod bundled;
mod control;
mod detach_keys;
mod error;
mod exec;
mod follow;
mod guest;
mod interrupt;
mod keys;
mod life;
mod output;
mod own_image;
mod process;
mod provision;
mod remove;
mod run;
mod shared;
mod stop;
mod sys;
mod terminal;
mod timings;
mod worktree;

pub use attach::Attached;
pub use background::{enter_background, own_program};
pub use detach_keys::{BadDetachKeys, DetachKeys};
pub use error::LaunchError;
pub use exec::{ExecRun, Executing, start_exec};
pub use follow::Follower;
pub use interrupt::Interrupt;
pub use output::Output;
pub use provision::ProvisionError;
pub use remove::remove;
pub use run::{Event, Observer, launch, resume};
pub use stop::{StopError, Stopped, stop};
pub use terminal::{restore as restore_terminal, resume as resume_terminal, size as terminal_size};
pub use timings::{Step, Timings};
