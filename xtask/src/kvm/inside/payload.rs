//! The command: started, fed, copied out, waited for.

use std::{
    ffi::OsString,
    fs::File,
    io::{BufReader, Read, Write},
    os::unix::ffi::OsStringExt,
    path::PathBuf,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
};

use rustix::process::{Pid, Signal, WaitOptions};

use super::{Reports, path, ports};
use crate::{
    error::{Context, Error, FAILED},
    kvm::{
        spawn,
        wire::{self, Job, Order, Report},
    },
};

/// Why there is no exit code of the command's.
pub(super) struct Failed {
    pub(super) code: u8,
    pub(super) message: String,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { code: FAILED, message: error.to_string() }
    }
}

/// Runs the command to its end, and returns its exit code when all its output has been sent.
pub(super) fn run(
    job: Job,
    docker: Option<PathBuf>,
    reports: &Reports,
    orders: BufReader<File>,
) -> Result<u8, Failed> {
    let mut words = job.command.iter().cloned().map(OsString::from_vec);
    let program = words.next().unwrap_or_default();
    let environment = job.environment.iter().cloned();
    let mut command = Command::new(&program);
    command
        .args(words)
        .env_clear()
        .envs(environment.map(|(name, value)| (OsString::from_vec(name), OsString::from_vec(value))))
        .current_dir(path(&job.directory))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(socket) = docker {
        command.env("DOCKER_HOST", format!("unix://{}", socket.display()));
    }
    spawn::as_user(&mut command, job.user, job.group, job.groups);
    let ports = (ports::open(wire::STDIN)?, ports::open(wire::STDOUT)?, ports::open(wire::STDERR)?);
    let mut child = command.spawn().map_err(|error| {
        let code = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
        Failed { code, message: format!("start {}: {error}", program.display()) }
    })?;
    reports.send(&Report::Started)?;
    let pid = Pid::from_child(&child);
    let (done, streams) = mpsc::channel();
    if let Some(stdin) = child.stdin.take() {
        thread::spawn(move || copy_in(ports.0, stdin));
    }
    if let Some(stdout) = child.stdout.take() {
        let done = done.clone();
        thread::spawn(move || done.send(copy_out(stdout, ports.1)));
    }
    if let Some(stderr) = child.stderr.take() {
        thread::spawn(move || done.send(copy_out(stderr, ports.2)));
    }
    thread::spawn(move || pass_signals(orders, pid));
    let code = reap_until(pid)?;
    // The rest of what it started goes with it. So the pipes come to an end, with all that was written to them.
    if let Err(error) = spawn::kill_all_others() {
        eprintln!("emulated host: end what is left: {error}");
    }
    for result in streams {
        result.doing("send the command's output")?;
    }
    Ok(code)
}

/// Copies frames to the command's stdin until their end. A command that does not read is not an error, so what it does
/// not take is read all the same and dropped.
fn copy_in(mut port: File, stdin: impl Write) {
    let mut stdin = Some(stdin);
    let mut data = Vec::new();
    while let Ok(true) = wire::read_frame(&mut port, &mut data) {
        if stdin.as_mut().is_some_and(|stdin| stdin.write_all(&data).is_err()) {
            stdin = None;
        }
    }
}

fn copy_out(mut from: impl Read, mut port: File) -> std::io::Result<()> {
    let mut buffer = vec![0; wire::MAX_FRAME_BYTES / 4];
    loop {
        match from.read(&mut buffer) {
            Ok(count) => {
                wire::write_frame(&mut port, &buffer[..count])?;
                if count == 0 {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn pass_signals(mut orders: BufReader<File>, to: Pid) {
    while let Ok(Some(order)) = wire::read_line(&mut orders) {
        if let Order::Signal(number) = order
            && let Some(signal) = Signal::from_named_raw(number)
        {
            // Fails if it has just ended, and then it has nothing to be told.
            let _ = rustix::process::kill_process_group(to, signal);
        }
    }
}

/// Waits for all that end, as PID 1 has to, until the command does.
fn reap_until(command: Pid) -> Result<u8, Failed> {
    loop {
        let ended = match rustix::process::wait(WaitOptions::empty()) {
            Err(rustix::io::Errno::INTR) => continue,
            ended => ended.doing("wait for the command")?,
        };
        if let Some((pid, status)) = ended
            && pid == command
        {
            let code =
                status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
            return Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED));
        }
    }
}
