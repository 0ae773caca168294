//! Where things lie on disk, and which bottles there are.
//!
//! ```text
//! $BOTTLE_STATE_DIR, or $XDG_STATE_HOME/bottle, or ~/.local/state/bottle        0700
//! ├── .lock                       held while bottles come and go, see `lock`
//! ├── .trust/                     one file a trusted manifest, see `trust`              0700, files 0600
//! └── <slug>/                     one bottle                                       0700
//!     ├── lock                    held (flock) by the process that runs the bottle and by its VMM, so that
//!     │                           a lock that is free is a bottle that does not live, whatever crashed
//!     ├── bottle.json             what was launched and how it stands, see `record`   0600
//!     ├── disk.qcow2              what the guest changed, over the image's base.ext4
//!     ├── pin-<token>             keeps that image in the store, see `image::pin`; kept bottles only
//!     ├── agent.sock              the guest agent (the VMM listens)                0600
//!     ├── ready.sock              where the guest says, once, that it is up        0600
//!     ├── control.sock            the launcher takes orders, see `launch::control`     0600
//!     ├── output.log              what the process of a bottle in the background printed, see `logs`
//!     ├── launcher.log            what the launcher of such a bottle has to say
//!     ├── console.log             what the guest's kernel and init print
//!     ├── denials.log             what libkrun refused
//!     └── vmm.log                 what else it prints
//!
//! $BOTTLE_CACHE_DIR, or $XDG_CACHE_HOME/bottle, or ~/.cache/bottle
//! ├── builds/<image>              locked while docker builds that image, see `own_images`
//! └── images/                     see `image`
//!
//! $XDG_DATA_HOME/bottle, or ~/.local/share/bottle
//! └── lib/libkrunfw.so.5          the guest kernel, see `vm::kernel`
//! ```
//!
//! - [`places`]: the three roots; [`slug`]: what a bottle may be called.
//! - [`record`]: what was launched, and how it stands.
//! - [`dir`]: a bottle's directory in the hands of who runs or removes it; [`mod@find`]: in those of who only looks.
//! - [`mod@trust`]: which manifests of projects the user has said yes to.
//! - [`lock`]: how the two don't get in each other's way.

mod dir;
mod error;
mod find;
mod lock;
mod places;
mod record;
mod slug;
mod trust;

pub use dir::{Dead, StateDir, dead};
pub use error::StateError;
pub use find::{Found, await_free, find, find_running, is_alive, list};
pub use places::{cache_root, config_root, data_root, state_root};
pub use record::{Base, Life, NoRecord, Outcome, Record, Status, now};
pub use slug::check_slug;
pub use trust::{distrust, is_trusted, trust};
