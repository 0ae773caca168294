//! `-d`: the launch goes on in the background, in this program started again.
//!
//! ```text
//! the user's bottle ── Handed as JSON on stdin ──► the launcher: a session of its own, stdio /dev/null,
//!        ▲                                            its words go to launcher.log once there is a bottle
//!        └── a Message a line, on its stdout ─────────┘
//! ```
//!
//! The user's waits until the command runs, or for the error, which it prints as its own. Signals that it gets until then go to
//! the launcher, which takes them as any launcher does.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{ChildStdin, Command, ExitCode, Stdio};

use bottle::image::Progress;
use bottle::launch::{self, Event, LaunchError, Observer, Output, Timings};
use bottle::own_images::BuildProgress;
use bottle::plan::Plan;
use bottle::vm::agent::ExitStatus;
use serde::{Deserialize, Serialize};

use super::progress::ProgressLine;
use super::report::{self, CliError, Failure};
use super::{Verbosity, signals};

/// The hidden verb. Not a word anyone types by accident.
const VERB: &str = "__bottle-launcher";

/// What to launch.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    Launch(Box<Plan>),
    Resume { slug: String },
}

/// What the launcher is handed.
#[derive(Serialize, Deserialize)]
struct Handed {
    order: Order,
    verbosity: Verbosity,
}

/// What the launcher says.
#[derive(Serialize, Deserialize)]
enum Message {
    Build(BuildProgress),
    Import(Progress),
    Runs { slug: String },
    Failed(Failure),
}

impl Order {
    /// Carries it out in this process.
    pub(super) fn carry_out(
        &self,
        output: Output,
        observer: Observer<'_>,
    ) -> Result<ExitStatus, LaunchError> {
        match self {
            Self::Launch(plan) => launch::launch(plan, output, observer),
            Self::Resume { slug } => launch::resume(slug, output, observer),
        }
    }

    /// Has it carried out in the background. Returns when the command runs.
    pub(super) fn start(self, verbosity: Verbosity) -> Result<ExitCode, CliError> {
        let io = |source| CliError::Io { what: "cannot start the launcher", source };
        let mut child = Command::new(launch::own_program().map_err(io)?)
            .arg(VERB)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(io)?;
        signals::forward(&child)?;
        let mut line = ProgressLine::before_a_command(verbosity.quiet);
        let handed = Handed { order: self, verbosity };
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (stdin, stdout) = pipes.ok_or(io::ErrorKind::BrokenPipe).map_err(|kind| io(kind.into()))?;
        // A launcher that does not read it is about to say why.
        hand_over(stdin, &handed).unwrap_or_default();
        for message in BufReader::new(stdout).lines() {
            match serde_json::from_str(&message.map_err(io)?).map_err(|error| io(error.into()))? {
                Message::Build(progress) => line.show_build(&progress),
                Message::Import(progress) => line.show(progress),
                Message::Runs { slug } => {
                    drop(line);
                    writeln!(io::stdout(), "{slug}").map_err(super::image::unwritten)?;
                    return Ok(ExitCode::SUCCESS);
                }
                Message::Failed(failure) => {
                    // It takes away what it has made, and then ends.
                    child.wait().map_err(io)?;
                    return Err(CliError::Background(failure));
                }
            }
        }
        let status = child.wait().map_err(io)?;
        Err(CliError::LauncherDied { status: status.to_string() })
    }
}

fn hand_over(mut to: ChildStdin, handed: &Handed) -> io::Result<()> {
    serde_json::to_writer(&mut to, handed)?;
    to.flush()
}

/// Turns this process into a launcher if [`Order::start`] started it to be one.
pub(super) fn become_launcher_if_asked() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    (args.next()? == VERB && args.next().is_none()).then(run)
}

fn run() -> ExitCode {
    let start = || -> io::Result<(Handed, Teller)> {
        launch::enter_background()?;
        let handed = serde_json::from_reader(io::stdin().lock())?;
        let teller =
            Teller { to: Some(File::from(io::stdout().as_fd().try_clone_to_owned()?)), logged: false };
        let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        Ok((handed, teller))
    };
    let (Handed { order, verbosity }, mut teller) = match start() {
        Ok(started) => started,
        Err(source) => {
            return report::failure(&CliError::Io { what: "cannot run in the background", source });
        }
    };
    super::start_log(verbosity);
    let result = signals::watch().and_then(|interrupt| {
        let observer = Observer {
            interrupt: &interrupt,
            on_event: &mut |event| teller.hear(event),
            timings: &mut Timings::default(),
        };
        Ok(order.carry_out(Output::Logged, observer)?)
    });
    match result {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => teller.fail(&error),
    }
}

/// Tells the user's `bottle`, for as long as that waits.
struct Teller {
    to: Option<File>,
    /// Our stderr is the bottle's launcher.log.
    logged: bool,
}

impl Teller {
    fn hear(&mut self, event: Event<'_>) {
        match event {
            Event::Made { dir } => match log_to(dir) {
                Ok(()) => self.logged = true,
                Err(error) => log::warn!("cannot write {}/launcher.log: {error}", dir.display()),
            },
            Event::Build(progress) => self.tell(&Message::Build(progress.clone())),
            Event::Import(progress) => self.tell(&Message::Import(progress)),
            Event::Runs { slug } => {
                self.tell(&Message::Runs { slug: slug.to_owned() });
                self.to = None;
            }
            Event::Pulled(pulled) => log::info!("the working tree is back: branch {}", pulled.branch),
            _ => {}
        }
    }

    fn tell(&mut self, message: &Message) {
        let Some(to) = &mut self.to else { return };
        let told = serde_json::to_string(message).map_err(io::Error::from);
        // A user's bottle that was killed is told nothing any more; the launch goes on.
        if told.and_then(|line| to.write_all(format!("{line}\n").as_bytes())).is_err() {
            self.to = None;
        }
    }

    fn fail(&mut self, error: &CliError) -> ExitCode {
        let failure = Failure::of(error);
        let code = failure.code.into();
        if self.logged {
            failure.print();
        }
        self.tell(&Message::Failed(failure));
        code
    }
}

/// From now on, what this process writes to stderr goes to the bottle's log of its launcher.
fn log_to(bottle: &Path) -> io::Result<()> {
    let path = bottle.join("launcher.log");
    let log = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    Ok(rustix::stdio::dup2_stderr(log)?)
}
