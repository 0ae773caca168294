//! `bottle-sidecar git-gate CONFIG`: mirrors of the declared upstreams, served by `git daemon`.
//!
//! ```text
//! guest ── git fetch, git push ──► git daemon ── access hook ──► access: fetches from upstream, under the mirror's lock
//!                                     │
//!                                     ├─► git upload-pack ──► the mirror
//!                                     └─► git receive-pack ── pre-receive ──► receive: rules, then a push to upstream, under the
//!                                            │                                mirror's lock, which is held until
//!                                            └─► the mirror follows           receive-pack has ended
//! ```
//!
//! What is in the mirror, upstream has: a push changes it only after upstream took it. The push upstream names what it expects
//! there, so nothing is overwritten that nobody has looked at. Hooks read the configuration each time, so an operator's approval
//! holds from the next push on.
//!
//! The identities come on stdin, a line of JSON: upstream's name to private key, now and after each change. Each goes into an
//! `ssh-agent` of its own ([`identity`]), and is in no file and in no environment.

mod access;
mod git;
mod hold;
mod identity;
mod receive;
mod setup;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{self, Sender};

use bottle_gates::file;
use bottle_gates::git_gate::GitGateConfig;

pub(crate) use access::main as access;
pub(crate) use hold::main as hold;
pub(crate) use receive::main as pre_receive;

/// Tells the hooks where the configuration is.
const CONFIG_VARIABLE: &str = "BOTTLE_GIT_GATE";

/// A configuration names some repositories.
const CONFIG_BYTES: u64 = 1024 * 1024;

/// What ends this daemon, and what goes on.
enum Event {
    /// Other identities are to be used.
    Identities(identity::Identities),
    /// No more will come.
    NoMoreIdentities(io::Result<()>),
    /// Something that it can't be without has ended.
    Ended(String),
}

/// Serves for good. When one of its parts ends, so does it; who started it starts it again, and has the identities.
pub(crate) fn main(arguments: Vec<OsString>) -> ExitCode {
    let [config] = arguments.as_slice() else {
        eprintln!("git-gate: give the path of the configuration");
        return ExitCode::from(2);
    };
    match run(&PathBuf::from(config)) {
        Ok(why) => eprintln!("git-gate: {why}"),
        Err(error) => eprintln!("git-gate: {error}"),
    }
    ExitCode::FAILURE
}

fn run(config_path: &Path) -> io::Result<String> {
    // The identities pass through this process: no other of the same user may look into its memory.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    let config = read(config_path)?;
    if config.upstreams.is_empty() {
        return Err(io::Error::other("there are no upstreams"));
    }
    setup::prepare(&config)?;
    let (events, inbox) = mpsc::channel();
    identity::start_agents(&config, &events)?;
    let to = events.clone();
    std::thread::Builder::new().name("identities".to_owned()).spawn(move || identity::listen(&to))?;
    let mut serving = false;
    while let Ok(event) = inbox.recv() {
        match event {
            Event::Identities(identities) => {
                identity::use_identities(&config, &identities);
                if !serving {
                    watch("git daemon", setup::daemon(&config, config_path)?.spawn()?, &events)?;
                    serving = true;
                }
            }
            Event::NoMoreIdentities(Ok(())) if serving => {}
            Event::NoMoreIdentities(Ok(())) => return Ok("no identities came".to_owned()),
            Event::NoMoreIdentities(Err(error)) => return Err(error),
            Event::Ended(why) => return Ok(why),
        }
    }
    Ok("nobody is left to speak to".to_owned())
}

/// Tells when a process has ended.
fn watch(what: &'static str, mut child: std::process::Child, events: &Sender<Event>) -> io::Result<()> {
    let events = events.clone();
    let waiting = std::thread::Builder::new().name("child".to_owned()).spawn(move || {
        let how = match child.wait() {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        // When nobody listens any more, all is over.
        events.send(Event::Ended(format!("{what} has ended ({how})"))).unwrap_or_default();
    });
    waiting.map(drop)
}

fn read(path: &Path) -> io::Result<GitGateConfig> {
    file::read(path, CONFIG_BYTES)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// The configuration, for a hook.
fn read_in_hook() -> io::Result<GitGateConfig> {
    let path = std::env::var_os(CONFIG_VARIABLE)
        .ok_or_else(|| io::Error::other(format!("{CONFIG_VARIABLE} is not set")))?;
    read(Path::new(&path))
}
