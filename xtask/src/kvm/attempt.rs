//! One attempt at running the command in an emulated host: what is to be waited for, and for how long.

use std::{
    io::{self, BufReader, Read, Write},
    os::unix::net::UnixStream,
    process::Child,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    Ending,
    emulator::Emulator,
    feed::Feed,
    wire::{self, Job, Order, Report},
};
use crate::error::{Context, Result};

/// To boot takes about 6 s on an idle machine; with five builds per processor beside it, it has taken 55 s.
const UP_LIMIT: Duration = Duration::from_secs(240);
/// To have docker running and its images loaded takes about 15 s plus 10 s for each 100 MB, and several times that on
/// a busy machine.
const START_LIMIT: Duration = Duration::from_secs(900);
/// Silence of a host that sends a beat a second. A busy machine has been seen to delay one by several seconds.
const BEAT_LIMIT: Duration = Duration::from_secs(120);
/// What a command that timed out may take to end by itself.
pub(crate) const GRACE: Duration = Duration::from_secs(5);
/// How often signals and deadlines are looked at when nothing else happens.
const POLL: Duration = Duration::from_millis(100);

/// What reaches the main thread from those that read the ports.
enum Event {
    /// The emulated host said something.
    Report(Report),
    /// It said something that cannot be understood.
    Garbled(String),
    /// A stream of the command's output has ended.
    OutputEnded,
    /// Our stdout or stderr takes no more.
    OutputRefused,
}

/// How an attempt ended.
pub(crate) enum Outcome {
    /// With the command's end, or something as final.
    Final(Ending),
    /// The emulation died or hung; the text says how.
    Dead(String),
}

/// Remembers the last signal that asked this process to end, of those that may be answered by cleaning up first.
#[derive(Clone)]
pub(crate) struct Signals(Arc<AtomicUsize>);

impl Signals {
    /// From here on these signals are remembered instead of ending this process.
    pub(crate) fn catch() -> Result<Self> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        let caught = Arc::new(AtomicUsize::new(0));
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            let number = usize::try_from(signal).unwrap_or(0);
            signal_hook::flag::register_usize(signal, Arc::clone(&caught), number).doing("catch signals")?;
        }
        Ok(Self(caught))
    }

    /// The signal that came, if one did.
    pub(crate) fn caught(&self) -> Option<i32> {
        i32::try_from(self.0.load(Ordering::SeqCst)).ok().filter(|&signal| signal != 0)
    }
}

/// Runs `job` in this emulated host, and ends it.
pub(crate) fn run(
    emulator: Emulator,
    job: Job,
    timeout: Duration,
    feed: &Feed,
    signals: &Signals,
    say: &dyn Fn(&str),
) -> Result<Outcome> {
    let (sender, events) = mpsc::channel();
    let mut process = Running(emulator.process);
    let mut control = emulator.control;
    let reports = control.try_clone().doing("duplicate a socket")?;
    listen(reports, sender.clone());
    copy(emulator.stdout, io::stdout(), sender.clone());
    copy(emulator.stderr, io::stderr(), sender);
    let started_at = Instant::now();
    let mut phase = Phase::Booting;
    let mut last_heard = Instant::now();
    let mut open_streams = 2;
    let mut exit_code = None;
    // Open until the end: QEMU drops what it has not yet passed on when its peer has gone.
    let stdin = emulator.stdin;
    let mut job = Some(job);
    let dead = |text: String| Ok(Outcome::Dead(text));
    loop {
        if let (Some(code), 0) = (exit_code, open_streams) {
            let code = if phase.timed_out() { super::TIMED_OUT } else { code };
            return Ok(Outcome::Final(Ending { code, line: phase.timed_out().then(|| timed_out(timeout)) }));
        }
        if let Some(signal) = signals.caught() {
            return Ok(Outcome::Final(Ending::signal(signal)));
        }
        match events.recv_timeout(POLL) {
            Ok(Event::OutputRefused) => return Ok(Outcome::Final(Ending::signal(libc::SIGPIPE))),
            Ok(Event::OutputEnded) => open_streams -= 1,
            Ok(Event::Garbled(what)) => {
                if process.ended() {
                    return dead("the emulator ended without a report".into());
                }
                return dead(format!("its reports cannot be understood: {what}"));
            }
            Ok(Event::Report(report)) => {
                last_heard = Instant::now();
                match report {
                    Report::Beat => {}
                    Report::Up => {
                        say(&format!(
                            "the emulated host is up after {:.1} s",
                            started_at.elapsed().as_secs_f32()
                        ));
                        phase = Phase::Preparing(Instant::now());
                        if let Some(job) = job.take()
                            && let Err(error) = wire::write_line(&mut control, &Order::Job(job))
                        {
                            return dead(format!("it did not take its job: {error}"));
                        }
                        if !feed.send(stdin.try_clone().doing("duplicate a socket")?) {
                            return dead("too much of stdin is used up to send it again".into());
                        }
                    }
                    Report::Started => {
                        say(&format!("the command starts after {:.1} s", started_at.elapsed().as_secs_f32()));
                        phase = Phase::Running(Instant::now());
                    }
                    Report::Exited(code) => exit_code = Some(code),
                    Report::Failed { code, message } => {
                        return Ok(Outcome::Final(Ending { code, line: Some(message) }));
                    }
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return dead("the emulator closed all its ports".into()),
        }
        let limit = match phase {
            Phase::Booting => (started_at, UP_LIMIT, "did not come up"),
            Phase::Preparing(since) => (since, START_LIMIT, "did not start the command"),
            Phase::Running(_) | Phase::Ending(_) => (last_heard, BEAT_LIMIT, "gave no sign of life"),
        };
        if limit.0.elapsed() > limit.1 {
            return dead(format!("the emulated host {} within {} s", limit.2, limit.1.as_secs()));
        }
        match phase {
            Phase::Running(since) if since.elapsed() > timeout && exit_code.is_none() => {
                phase = Phase::Ending(Instant::now());
                // If it can't be told, it is ended below all the same.
                drop(wire::write_line(&mut control, &Order::Signal(libc::SIGTERM)));
            }
            Phase::Ending(since) if since.elapsed() > GRACE => {
                return Ok(Outcome::Final(Ending { code: super::TIMED_OUT, line: Some(timed_out(timeout)) }));
            }
            _ => {}
        }
    }
}

/// The line that tells of a timeout.
pub(crate) fn timed_out(timeout: Duration) -> String {
    format!("the command did not end within {} s", timeout.as_secs())
}

enum Phase {
    Booting,
    Preparing(Instant),
    Running(Instant),
    /// It has timed out, and was asked to end.
    Ending(Instant),
}

impl Phase {
    fn timed_out(&self) -> bool {
        matches!(self, Self::Ending(_))
    }
}

/// QEMU; killed and reaped when dropped.
struct Running(Child);

impl Running {
    /// Whether it has ended by itself. It closes its sockets a moment before.
    fn ended(&mut self) -> bool {
        let until = Instant::now() + Duration::from_secs(1);
        loop {
            match self.0.try_wait() {
                Ok(None) if Instant::now() < until => thread::sleep(Duration::from_millis(10)),
                Ok(None) => return false,
                _ => return true,
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if it has been reaped already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn listen(control: UnixStream, to: Sender<Event>) {
    thread::spawn(move || {
        let mut control = BufReader::new(control);
        loop {
            let event = match wire::read_line(&mut control) {
                Ok(Some(report)) => Event::Report(report),
                Ok(None) => Event::Garbled("the control port was closed".into()),
                Err(error) => Event::Garbled(error.to_string()),
            };
            let last = matches!(event, Event::Garbled(_));
            if to.send(event).is_err() || last {
                return;
            }
        }
    });
}

fn copy(mut from: impl Read + Send + 'static, mut to: impl Write + Send + 'static, events: Sender<Event>) {
    thread::spawn(move || {
        let mut data = Vec::new();
        // A port that breaks off is the end of the emulation: the control port tells.
        while let Ok(more) = wire::read_frame(&mut from, &mut data) {
            let event = if !more {
                Event::OutputEnded
            } else if to.write_all(&data).and_then(|()| to.flush()).is_err() {
                Event::OutputRefused
            } else {
                continue;
            };
            // Without a receiver the attempt is over.
            drop(events.send(event));
            return;
        }
    });
}
