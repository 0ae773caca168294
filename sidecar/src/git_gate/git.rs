//! Runs git against an upstream, for so long and no longer, and says in words what went wrong.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use bottle_gates::git_gate::{GitGateConfig, Upstream};
use bottle_gates::proposal::one_line;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::setup;

/// For a connection to a server that is up.
const CONNECT_SECONDS: u32 = 15;

/// What is kept of what a command prints: enough for an error, and for a list of some hundred refs.
const OUTPUT_BYTES: usize = 256 * 1024;

/// How much of what others print is quoted.
const QUOTE_CHARS: usize = 400;

/// How a command ended, and what it printed.
pub(super) struct Finished {
    pub(super) status: ExitStatus,
    pub(super) stdout: String,
    pub(super) stderr: String,
    /// It was killed after so long.
    pub(super) late: Option<Duration>,
}

impl Finished {
    /// An error unless it succeeded.
    pub(super) fn success(&self, what: &str) -> io::Result<()> {
        if self.status.success() {
            return Ok(());
        }
        let why = if self.late.is_some() { "it took too long".to_owned() } else { quote(&self.stderr) };
        Err(io::Error::other(format!("{what} failed ({}): {why}", self.status)))
    }
}

/// Runs a command to its end, or kills it with what it has started.
pub(super) fn finish(command: &mut Command, limit: Duration) -> io::Result<Finished> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn()?;
    let pid = Pid::from_child(&child);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        let stdout = scope.spawn(|| stdout.map(beginning).unwrap_or_default());
        let stderr = scope.spawn(|| stderr.map(beginning).unwrap_or_default());
        let in_time = await_end(pid, Some(limit)).unwrap_or(false);
        if !in_time {
            // It may have ended in this very moment.
            kill_process_group(pid, Signal::KILL).unwrap_or_default();
        }
        let status = child.wait()?;
        let text = |reader: thread::ScopedJoinHandle<'_, String>| reader.join().unwrap_or_default();
        Ok(Finished { status, stdout: text(stdout), stderr: text(stderr), late: (!in_time).then_some(limit) })
    })
}

/// Waits until a process has ended; says whether it has. One that is not there has ended.
pub(super) fn await_end(pid: Pid, limit: Option<Duration>) -> io::Result<bool> {
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => return Ok(true),
        process => process?,
    };
    let limit = limit.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
    let mut polled = [PollFd::new(&process, PollFlags::IN)];
    Ok(rustix::io::retry_on_intr(|| poll(&mut polled, limit.as_ref()))? > 0)
}

/// The beginning of what comes, and the rest to nowhere, so that nobody is held up.
fn beginning(mut from: impl Read) -> String {
    let mut bytes = Vec::new();
    // What could not be read is missing from a quotation.
    from.by_ref().take(OUTPUT_BYTES as u64).read_to_end(&mut bytes).unwrap_or_default();
    io::copy(&mut from, &mut io::sink()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `git` in a mirror, that reaches its upstream with its identity.
pub(super) fn in_mirror(config: &GitGateConfig, upstream: &Upstream, mirror: &Path) -> Command {
    let mut git = setup::git(config);
    git.current_dir(mirror).env("GIT_SSH_VARIANT", "ssh").env("GIT_SSH_COMMAND", ssh(config, upstream));
    git
}

/// The command by which git runs ssh. Git hands it to a shell.
fn ssh(config: &GitGateConfig, upstream: &Upstream) -> String {
    let agent = setup::agent_socket(config, upstream);
    let known_hosts = setup::known_hosts(config);
    let options = [
        "BatchMode=yes".to_owned(),
        "StrictHostKeyChecking=yes".to_owned(),
        format!("HostKeyAlias={}", upstream.name),
        format!("UserKnownHostsFile={}", known_hosts.display()),
        "GlobalKnownHostsFile=none".to_owned(),
        "UpdateHostKeys=no".to_owned(),
        "CheckHostIP=no".to_owned(),
        "IdentityFile=none".to_owned(),
        format!("IdentityAgent={}", agent.display()),
        "PreferredAuthentications=publickey".to_owned(),
        "ForwardAgent=no".to_owned(),
        format!("ConnectTimeout={CONNECT_SECONDS}"),
        // A server that falls silent is given up after a minute.
        "ServerAliveInterval=20".to_owned(),
        "ServerAliveCountMax=3".to_owned(),
        "LogLevel=ERROR".to_owned(),
    ];
    let words = options.iter().map(|option| format!(" -o {}", shell_word(option)));
    format!("ssh -F none -p {}{}", upstream.port, words.collect::<String>())
}

fn shell_word(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Why git could not talk to an upstream, on one line, for whoever fetches or pushes.
pub(super) fn why(upstream: &Upstream, finished: &Finished) -> String {
    let Upstream { host, port, .. } = upstream;
    let stderr = &finished.stderr;
    let line_with = |part: &str| stderr.lines().find(|line| line.contains(part));
    if let Some(limit) = finished.late {
        return format!("{host} took longer than {} s", limit.as_secs());
    }
    if line_with("Host key verification failed").is_some() {
        return format!("the host key of {host}:{port} is not the pinned one; nothing was sent");
    }
    if line_with("Permission denied (").is_some() {
        return format!("{host} does not accept the identity of {}", upstream.user);
    }
    let unreachable = [
        "ssh: connect to host",
        "Could not resolve hostname",
        "kex_exchange_identification",
        "Connection closed",
    ];
    if let Some(line) = unreachable.iter().find_map(|part| line_with(part)) {
        return format!("{host}:{port} can't be reached: {}", quote(line));
    }
    quote(stderr)
}

/// What others printed, on one short line that a terminal can show.
pub(super) fn quote(text: &str) -> String {
    let line = one_line(text);
    if line.chars().count() <= QUOTE_CHARS {
        return line;
    }
    line.chars().take(QUOTE_CHARS).chain(['…']).collect()
}
