//! The command on this machine, where KVM works; with the same limits as in the emulated host.

use std::{
    os::unix::process::ExitStatusExt,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use super::{Ending, OUT_VARIABLE, Request, attempt, docker::Dockerd, rundir::RunDir, spawn};
use crate::{
    command,
    error::{Context, Result},
};

/// Whether a request can be met here, KVM aside: a docker daemon needs root.
pub(crate) fn can(docker: bool) -> bool {
    !docker || rustix::process::geteuid().is_root()
}

/// Runs the command.
pub(crate) fn run(request: &Request, out: &Path) -> Result<Ending> {
    let signals = attempt::Signals::catch()?;
    let Some((program, arguments)) = request.command.split_first() else {
        return Err(crate::error::Error::other("no command"));
    };
    let mut command = Command::new(program);
    command.args(arguments).env(OUT_VARIABLE, out);
    let run = RunDir::new()?;
    let docker = if request.docker { Some(private_docker(&run, &request.images)?) } else { None };
    if let Some(docker) = &docker {
        command.env("DOCKER_HOST", docker.address());
    }
    let mut child = match spawn::dying_with_us(&mut command, &[]) {
        Ok(child) => child,
        Err(crate::error::Error::Start { program, source }) => {
            let code = if source.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
            return Ok(Ending { code, line: Some(format!("start {program}: {source}")) });
        }
        Err(error) => return Err(error),
    };
    let pid = rustix::process::Pid::from_child(&child);
    let timeout = Duration::from_secs(request.timeout_seconds);
    let started = Instant::now();
    let mut asked_to_end: Option<(Instant, Ending)> = None;
    loop {
        if let Some(status) = child.try_wait().doing("wait for the command")? {
            if let Some((_, ending)) = asked_to_end {
                return Ok(ending);
            }
            let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
            let code = code.and_then(|code| u8::try_from(code).ok()).unwrap_or(crate::error::FAILED);
            return Ok(Ending { code, line: None });
        }
        match &asked_to_end {
            None => {
                let ending = if let Some(signal) = signals.caught() {
                    Some(Ending::signal(signal))
                } else if started.elapsed() > timeout {
                    Some(Ending { code: super::TIMED_OUT, line: Some(attempt::timed_out(timeout)) })
                } else {
                    None
                };
                if let Some(ending) = ending {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
                    asked_to_end = Some((Instant::now(), ending));
                }
            }
            Some((since, _)) if since.elapsed() > attempt::GRACE => drop(child.kill()),
            Some(_) => {}
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// A docker daemon in a network namespace that this process enters first, so that neither its addresses nor its packet
/// filter meet those of this machine, and so that it and the command share one loopback interface.
fn private_docker(run: &RunDir, images: &[std::path::PathBuf]) -> Result<Dockerd> {
    spawn::enter_private_network()?;
    command::output(Command::new("/sbin/ip").args(["link", "set", "lo", "up"]))?;
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").doing("switch on IPv4 forwarding")?;
    let docker = Dockerd::start(&run.join("docker"), &run.join("docker.sock"))?;
    for image in images {
        docker.load(image)?;
    }
    Ok(docker)
}
