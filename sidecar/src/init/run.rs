//! The thread that decides.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use bottle_protocol::bundle::{Answer, InitConfig, Reload, Request, SECRETS_LIMIT_BYTES, Secrets, State};
use rustix::process::{WaitOptions, wait};
use signal_hook::consts::{SIGCHLD, SIGHUP};

use super::daemon::Daemon;
use super::{Event, config};
use crate::log;

/// Nothing is due: any time will do.
const IDLE: Duration = Duration::from_secs(3600);

/// See the module.
pub(super) struct Init {
    config: PathBuf,
    logs: PathBuf,
    events: Sender<Event>,
    daemons: Vec<Daemon>,
    /// Those that the configuration has no more, until they are gone.
    leaving: Vec<Daemon>,
    /// Who wants to know when all are ready, and until when.
    waiting: Vec<(Instant, Sender<Answer>)>,
    ending: bool,
}

impl Init {
    /// With no daemons yet.
    pub(super) fn new(config: PathBuf, logs: PathBuf, events: Sender<Event>) -> Self {
        let (daemons, leaving, waiting) = (Vec::new(), Vec::new(), Vec::new());
        Self { config, logs, events, daemons, leaving, waiting, ending: false }
    }

    /// Runs until it was told to end, and all daemons have.
    pub(super) fn run(mut self, first: InitConfig, inbox: &Receiver<Event>) {
        self.daemons = first.daemons.into_iter().map(|spec| Daemon::new(spec, &self.logs)).collect();
        loop {
            if !self.ending {
                self.daemons.iter_mut().for_each(|daemon| daemon.tend(&self.events));
            }
            self.leaving.iter_mut().for_each(|daemon| daemon.tend(&self.events));
            self.answer_waiting();
            if self.ending && self.leaving.is_empty() {
                return;
            }
            match inbox.recv_timeout(self.pause()) {
                Ok(event) => self.take(event),
                Err(RecvTimeoutError::Timeout) => {}
                // The sender is a field of this.
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Until something is due.
    fn pause(&self) -> Duration {
        let daemons = self.daemons.iter().chain(&self.leaving).filter_map(Daemon::due);
        let next = daemons.chain(self.waiting.iter().map(|(until, _)| *until)).min();
        next.map_or(IDLE, |next| next.saturating_duration_since(Instant::now()))
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Signal(SIGCHLD) => self.reap(),
            Event::Signal(SIGHUP) => self.reload(),
            Event::Signal(_) => self.end(),
            Event::Listens(pid) => {
                if let Some(daemon) = find(&mut self.daemons, pid) {
                    daemon.listens();
                }
            }
            Event::Asked { request: Request::Status { wait_ms }, reply, .. } => {
                let until = Instant::now().checked_add(Duration::from_millis(wait_ms));
                self.waiting.push((until.unwrap_or_else(Instant::now), reply));
            }
            Event::Asked { request: Request::Secrets(_), by_root: false, reply } => {
                // Who asked may be gone.
                drop(reply.send(Answer::Refused("only root may hand over secrets".to_owned())));
            }
            Event::Asked { request: Request::Secrets(all), by_root: true, reply } => {
                let answer = match self.set_secrets(all) {
                    Ok(()) => Answer::Done,
                    Err(why) => Answer::Refused(why),
                };
                drop(reply.send(answer));
            }
        }
    }

    /// Takes the exit status of every process that has ended: the daemons', and those of whatever they left behind.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let pid = pid.as_raw_nonzero().get();
            if let Some(daemon) = find(&mut self.daemons, pid) {
                daemon.ended(status);
            }
            self.leaving.retain(|daemon| daemon.pid().is_some_and(|it| it.as_raw_nonzero().get() != pid));
        }
    }

    /// Reads the configuration again. One that is malformed changes nothing.
    fn reload(&mut self) {
        if self.ending {
            return;
        }
        let wanted = match config::read(&self.config) {
            Ok(wanted) => wanted.daemons,
            Err(error) => return log(&format!("{}: {error}; nothing is changed", self.config.display())),
        };
        let mut old = std::mem::take(&mut self.daemons);
        for spec in wanted {
            let known = old.iter().position(|daemon| daemon.spec.name == spec.name);
            let daemon = match known.map(|at| old.remove(at)) {
                None => Daemon::new(spec, &self.logs),
                Some(mut daemon) => {
                    match (daemon.spec == spec, spec.reload) {
                        (true, Reload::Hangup) => daemon.hang_up(),
                        (true, Reload::Nothing) => {}
                        (true, Reload::Restart) | (false, _) => daemon.end(),
                    }
                    daemon.spec = spec;
                    daemon
                }
            };
            self.daemons.push(daemon);
        }
        self.leave(old);
        log("the configuration was read again");
    }

    fn end(&mut self) {
        self.ending = true;
        let daemons = std::mem::take(&mut self.daemons);
        self.leave(daemons);
    }

    fn leave(&mut self, daemons: Vec<Daemon>) {
        for mut daemon in daemons.into_iter().filter(|daemon| daemon.pid().is_some()) {
            daemon.end();
            self.leaving.push(daemon);
        }
    }

    fn set_secrets(&mut self, all: BTreeMap<String, Secrets>) -> Result<(), String> {
        for (name, secrets) in all {
            let daemon =
                self.daemons.iter_mut().find(|daemon| daemon.spec.name == name && daemon.spec.secrets);
            let daemon = daemon.ok_or_else(|| format!("there is no daemon {name} that takes secrets"))?;
            let mut line =
                serde_json::to_vec(&secrets).map_err(|_| format!("the secrets of {name} are malformed"))?;
            line.push(b'\n');
            if line.len() > SECRETS_LIMIT_BYTES {
                return Err(format!("the secrets of {name} have more than {SECRETS_LIMIT_BYTES} bytes"));
            }
            daemon.set_secrets(line)?;
        }
        Ok(())
    }

    /// Answers those who wait if all daemons are ready, or their time is up.
    fn answer_waiting(&mut self) {
        let status: Vec<_> = self.daemons.iter().map(Daemon::status).collect();
        let ready = status.iter().all(|one| one.state == State::Ready) && !self.ending;
        let now = Instant::now();
        self.waiting.retain(|(until, reply)| {
            let over = ready || *until <= now;
            if over {
                drop(reply.send(Answer::Status(status.clone())));
            }
            !over
        });
    }
}

fn find(daemons: &mut [Daemon], pid: i32) -> Option<&mut Daemon> {
    daemons.iter_mut().find(|daemon| daemon.pid().is_some_and(|it| it.as_raw_nonzero().get() == pid))
}
