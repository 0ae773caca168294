//! One daemon, over all its starts.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use bottle_protocol::bundle::{self as protocol, State, Status};
use rustix::process::{Pid, Signal, WaitStatus, kill_process_group};

use super::logs::Log;
use super::{Event, probe};
use crate::log;

/// Before a daemon that died is started again: at once, nearly, when it had run for a while, later each time when it had not.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A daemon that ran so long did not die of how it was started.
const SETTLED: Duration = Duration::from_secs(10);
/// How long a daemon that is told to end may take: docker gives the whole container 10 s.
pub(super) const END_LIMIT: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct Daemon {
    pub(super) spec: protocol::Daemon,
    log: Log,
    phase: Phase,
    restarts: u64,
    last_end: Option<String>,
    backoff: Duration,
    /// The line of secrets that it is to have.
    secrets: Option<Vec<u8>>,
    /// It was told to end. Its process's end is no death then.
    told_to_end: bool,
}

enum Phase {
    Up {
        pid: Pid,
        since: Instant,
        /// How long it took until it was ready, when it is.
        ready: Option<Duration>,
        stdin: Option<File>,
        /// Set when the process is gone, for the thread that waits until it listens.
        over: Arc<AtomicBool>,
        /// When it is killed, once it was told to end.
        kill_at: Option<Instant>,
    },
    Down {
        start_at: Instant,
    },
}

impl Daemon {
    /// One that is to be started at once.
    pub(super) fn new(spec: protocol::Daemon, logs: &Path) -> Self {
        let log = Log::open(logs, &spec.name);
        let phase = Phase::Down { start_at: Instant::now() };
        let (restarts, last_end, secrets) = (0, None, None);
        Self { spec, log, phase, restarts, last_end, backoff: BACKOFF_FIRST, secrets, told_to_end: false }
    }

    /// Its process.
    pub(super) fn pid(&self) -> Option<Pid> {
        match &self.phase {
            Phase::Up { pid, .. } => Some(*pid),
            Phase::Down { .. } => None,
        }
    }

    /// When something is to be done by [`Daemon::tend`].
    pub(super) fn due(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Up { kill_at, .. } => *kill_at,
            Phase::Down { start_at } => Some(*start_at),
        }
    }

    /// Does what is due: starts it, or kills it.
    pub(super) fn tend(&mut self, events: &Sender<Event>) {
        if self.due().is_none_or(|due| due > Instant::now()) {
            return;
        }
        match &mut self.phase {
            Phase::Up { pid, kill_at, .. } => {
                *kill_at = None;
                log(&format!("{} does not end: killed", self.spec.name));
                signal(*pid, Signal::KILL);
            }
            Phase::Down { .. } => {
                self.told_to_end = false;
                if let Err(error) = self.start(events) {
                    self.abandon();
                    self.died(&format!("cannot be started: {error}"));
                }
            }
        }
    }

    fn start(&mut self, events: &Sender<Event>) -> Result<(), String> {
        let words = |error: io::Error| error.to_string();
        let Some((program, arguments)) = self.spec.argv.split_first() else { return Ok(()) };
        let mut command = Command::new(program);
        // Not this process's environment: what docker put there is not meant for every daemon.
        command.args(arguments).env_clear();
        command
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", protocol::RUN_DIR)
            .envs(&self.spec.env);
        let (output, to) = io::pipe().map_err(words)?;
        command.stdout(to.try_clone().map_err(words)?).stderr(to).process_group(0);
        command.stdin(if self.spec.secrets { Stdio::piped() } else { Stdio::null() });
        let mut child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
        // It holds our copies of the pipe's end, which must not outlive the daemon's.
        drop(command);
        let pid = Pid::from_child(&child);
        let stdin = child.stdin.take().map(|stdin| File::from(std::os::fd::OwnedFd::from(stdin)));
        if let Some(stdin) = &stdin {
            rustix::io::ioctl_fionbio(stdin, true).map_err(|error| error.to_string())?;
        }
        let over = Arc::new(AtomicBool::new(false));
        self.phase = Phase::Up {
            pid,
            since: Instant::now(),
            ready: self.spec.port.is_none().then_some(Duration::ZERO),
            stdin,
            over: Arc::clone(&over),
            kill_at: None,
        };
        let log = self.log.clone();
        super::spawn("log", move || log.pump(output))?;
        if let Some(port) = self.spec.port {
            let events = events.clone();
            super::spawn("probe", move || {
                if probe::wait(port, &over) {
                    // When nobody takes it, all is over.
                    drop(events.send(Event::Listens(pid.as_raw_nonzero().get())));
                }
            })?;
        }
        self.write_secrets().map_err(|()| "it does not take its secrets".to_owned())
    }

    /// Its process listens.
    pub(super) fn listens(&mut self) {
        if let Phase::Up { ready, since, .. } = &mut self.phase {
            *ready = Some(since.elapsed());
        }
    }

    /// Its process has ended.
    pub(super) fn ended(&mut self, status: WaitStatus) {
        // What it has started goes with it: the next start wants the same ports.
        self.abandon();
        let Phase::Up { since, .. } = &self.phase else { return };
        if since.elapsed() >= SETTLED {
            self.backoff = BACKOFF_FIRST;
        }
        let how = words(status);
        if self.told_to_end {
            self.last_end = Some(how);
            self.phase = Phase::Down { start_at: Instant::now() };
        } else {
            self.died(&how);
        }
    }

    /// Ends what there is of its process group, and the wait for it.
    fn abandon(&self) {
        if let Phase::Up { pid, over, .. } = &self.phase {
            over.store(true, Ordering::Relaxed);
            signal(*pid, Signal::KILL);
        }
    }

    fn died(&mut self, how: &str) {
        let line = format!(
            "bottle-sidecar: {} {how}; started again in {} ms",
            self.spec.name,
            self.backoff.as_millis()
        );
        self.log.line(line.as_bytes());
        self.last_end = Some(how.to_owned());
        self.restarts += 1;
        self.phase = Phase::Down { start_at: Instant::now() + self.backoff };
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
    }

    /// Tells it to end, and has it killed if it does not. Afterwards it is started again, unless nobody tends it.
    pub(super) fn end(&mut self) {
        self.told_to_end = true;
        if let Phase::Up { pid, kill_at, .. } = &mut self.phase {
            *kill_at = Some(Instant::now() + END_LIMIT);
            signal(*pid, Signal::TERM);
        }
    }

    /// Tells it to read its configuration.
    pub(super) fn hang_up(&self) {
        if let Phase::Up { pid, .. } = &self.phase {
            // Not its group: what it has started need not know what that means.
            if let Err(error) = rustix::process::kill_process(*pid, Signal::HUP) {
                log(&format!("{}: {error}", self.spec.name));
            }
        }
    }

    /// Hands it secrets instead of those it has, now and at each start.
    pub(super) fn set_secrets(&mut self, line: Vec<u8>) -> Result<(), String> {
        self.secrets = Some(line);
        self.write_secrets().map_err(|()| {
            // It has part of a line now. The next start begins with a whole one.
            self.end();
            format!("{} does not read its secrets: it is started anew", self.spec.name)
        })
    }

    /// A pipe that is empty takes the whole line at once.
    fn write_secrets(&mut self) -> Result<(), ()> {
        match (&mut self.phase, &self.secrets) {
            (Phase::Up { stdin: Some(stdin), .. }, Some(line)) => match stdin.write(line) {
                Ok(count) if count == line.len() => Ok(()),
                // It is gone, and gets them at its next start.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                _ => Err(()),
            },
            _ => Ok(()),
        }
    }

    /// How it is.
    pub(super) fn status(&self) -> Status {
        let (state, ready) = match &self.phase {
            Phase::Up { ready: Some(after), .. } => (State::Ready, Some(*after)),
            Phase::Up { ready: None, .. } => (State::Starting, None),
            Phase::Down { .. } => (State::Waiting, None),
        };
        Status {
            name: self.spec.name.clone(),
            state,
            pid: self.pid().map(|pid| pid.as_raw_nonzero().get()),
            restarts: self.restarts,
            last_end: self.last_end.clone(),
            ready_ms: ready.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

/// To the whole group of a daemon. That there is none any more is all right.
fn signal(group: Pid, signal: Signal) {
    match kill_process_group(group, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => log(&format!("cannot signal {group:?}: {error}")),
    }
}

fn words(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (_, Some(number)) => format!("was ended by signal {number}"),
        _ => "ended".to_owned(),
    }
}
