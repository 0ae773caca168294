//! `bottle-sidecar init [CONFIG]`: process 1 of the container.
//!
//! ```text
//! signals ──┐
//! control ──┼─► events ─► run: one thread, all decisions ─► daemon: start, signal, end
//! probes  ──┘                                                  └─► stdout, stderr ─► logs
//! ```
//!
//! It starts the daemons of its configuration in order, keeps their logs, starts again what dies, later each time, hands on
//! SIGTERM, reads the configuration again at SIGHUP, reaps whatever ends in the container, and answers on its socket. With no
//! daemons it idles. No failure of a daemon ends it: the launcher sees that in its answers.

mod config;
mod control;
mod daemon;
mod logs;
mod probe;
mod run;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{self, Sender};

use bottle_protocol::bundle::{Answer, CONFIG_PATH, LOG_DIR, Request};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::{client, log};

/// What the deciding thread is told.
enum Event {
    /// A signal came.
    Signal(i32),
    /// The daemon that is this process listens.
    Listens(i32),
    /// Somebody asks.
    Asked {
        request: Request,
        /// The asking process is root's.
        by_root: bool,
        reply: Sender<Answer>,
    },
}

/// See the module.
pub(crate) fn main(arguments: Vec<OsString>) -> ExitCode {
    let config = arguments.first().map_or_else(|| PathBuf::from(CONFIG_PATH), PathBuf::from);
    let logs = std::env::var_os("BOTTLE_SIDECAR_LOGS").map_or_else(|| PathBuf::from(LOG_DIR), PathBuf::from);
    match start(config, logs) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            log(&why);
            ExitCode::FAILURE
        }
    }
}

fn start(config: PathBuf, logs: PathBuf) -> Result<(), String> {
    // What this process knows is no other's to look at: the kernel hands its memory to nobody then.
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .map_err(|error| format!("cannot shut the memory off: {error}"))?;
    let (events, inbox) = mpsc::channel();
    let mut signals = Signals::new([SIGCHLD, SIGHUP, SIGINT, SIGTERM])
        .map_err(|error| format!("cannot take signals: {error}"))?;
    let to = events.clone();
    spawn("signals", move || {
        for signal in signals.forever() {
            if to.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    })?;
    let path = PathBuf::from(client::socket());
    let listener =
        control::listen(&path).map_err(|error| format!("cannot listen on {}: {error}", path.display()))?;
    let to = events.clone();
    spawn("control", move || control::serve(&listener, &to))?;
    let first = config::read(&config).map_err(|error| format!("{}: {error}", config.display()))?;
    run::Init::new(config, logs, events).run(first, &inbox);
    Ok(())
}

/// A thread that nobody waits for.
fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let thread = std::thread::Builder::new().name(name.to_owned()).stack_size(256 * 1024).spawn(work);
    thread.map(drop).map_err(|error| format!("cannot start the thread {name}: {error}"))
}
