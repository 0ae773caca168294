//! `bottle-sidecar supervise CONFIG`: an MCP server by which the agent asks the operator for more rights.
//!
//! ```text
//! agent ── tools/call request_host ──► tools ──► queue ── proposals/<id>.json ──► `bottle proposals`
//!                                        │         ▲
//!                 text, when answered ◄──┘         └─ SIGHUP: look at answers/<id>.json ◄── `bottle approve|deny`
//! ```
//!
//! A call waits; the proposal outlives it, and the server. Whoever asks for the same again joins those who wait, or gets the
//! answer that there is. HTTP is served without sessions: there is nothing to flood, and nothing to lose by a restart.

mod http;
mod queue;
mod tools;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use bottle_gates::file;
use bottle_gates::supervise::SuperviseConfig;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use queue::Queue;

/// A configuration names some directories and upstreams.
const CONFIG_BYTES: u64 = 1024 * 1024;

/// Serves until SIGTERM.
pub(crate) fn main(arguments: Vec<OsString>) -> ExitCode {
    let [config] = arguments.as_slice() else {
        eprintln!("supervise: give the path of the configuration");
        return ExitCode::from(2);
    };
    match run(&PathBuf::from(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("supervise: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(config_path: &Path) -> io::Result<()> {
    let config = read(config_path)?;
    // One thread: there is one agent, and a few calls that mostly wait.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Taken before anything can be asked, so that no answer is missed.
        let mut reload = signal(SignalKind::hangup())?;
        let mut end = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let queue = Arc::new(Queue::open(config.clone())?);
        let listener = TcpListener::bind(config.listen).await.map_err(|error| {
            io::Error::new(error.kind(), format!("cannot listen on {}: {error}", config.listen))
        })?;
        eprintln!("supervise: listening on {}", listener.local_addr()?);
        tokio::spawn(http::serve(listener, Arc::clone(&queue)));
        loop {
            tokio::select! {
                _ = reload.recv() => reconfigure(&queue, config_path),
                _ = end.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
            }
        }
    })
}

/// What is wrong with a new configuration leaves the old one in force.
fn reconfigure(queue: &Queue, config_path: &Path) {
    match read(config_path) {
        Ok(config) => queue.reconfigure(config),
        Err(error) => eprintln!("supervise: the old configuration stays: {error}"),
    }
    queue.look();
}

fn read(path: &Path) -> io::Result<SuperviseConfig> {
    file::read(path, CONFIG_BYTES)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}
