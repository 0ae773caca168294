//! What git finds when it starts.
//!
//! ```text
//! <mirrors>/<name>.git         a bare repository
//! <run>/gitconfig              git's only configuration
//!       hooks/pre-receive      this program
//!       access                 this program
//!       known-hosts            each upstream's host key, by the upstream's name
//!       <name>.sock            its ssh-agent
//!       <name>.lock            held by who changes the mirror
//! ```

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bottle_gates::file;
use bottle_gates::git_gate::{GitGateConfig, Upstream};

use super::CONFIG_VARIABLE;

/// Of one guest. Each is a process.
const CONNECTIONS_MAX: u32 = 32;

/// For the first line of a connection: who connects has it ready.
const FIRST_LINE_SECONDS: u32 = 30;

/// Without a sign of life from a client that fetches.
const SILENCE_SECONDS: u32 = 600;

/// What comes in with one push.
const PUSH_BYTES: u64 = 1024 * 1024 * 1024;

pub(super) fn agent_socket(config: &GitGateConfig, upstream: &Upstream) -> PathBuf {
    config.run.join(format!("{}.sock", upstream.name))
}

pub(super) fn lock(config: &GitGateConfig, upstream: &Upstream) -> PathBuf {
    config.run.join(format!("{}.lock", upstream.name))
}

pub(super) fn known_hosts(config: &GitGateConfig) -> PathBuf {
    config.run.join("known-hosts")
}

fn git_config(config: &GitGateConfig) -> PathBuf {
    config.run.join("gitconfig")
}

fn hooks(config: &GitGateConfig) -> PathBuf {
    config.run.join("hooks")
}

fn access_hook(config: &GitGateConfig) -> PathBuf {
    config.run.join("access")
}

/// Puts all of it in place. What is there from another start stays as far as it is right.
pub(super) fn prepare(config: &GitGateConfig) -> io::Result<()> {
    for dir in [&config.run, &config.mirrors, &hooks(config)] {
        file::private_dir(dir)?;
    }
    let program = std::env::current_exe()?;
    link(&program, &hooks(config).join("pre-receive"))?;
    link(&program, &access_hook(config))?;
    fs::write(git_config(config), git_config_text(config))?;
    fs::write(known_hosts(config), known_hosts_text(config))?;
    for upstream in &config.upstreams {
        let mirror = config.mirror(&upstream.name);
        if !mirror.join("HEAD").exists() {
            let status = git(config)
                .args(["init", "--quiet", "--bare", "--template=", "--initial-branch=main", "--"])
                .arg(&mirror)
                .status()?;
            if !status.success() {
                return Err(io::Error::other(format!("git init {} failed ({status})", mirror.display())));
            }
        }
    }
    Ok(())
}

fn link(program: &Path, link: &Path) -> io::Result<()> {
    match fs::remove_file(link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::os::unix::fs::symlink(program, link)
}

fn git_config_text(config: &GitGateConfig) -> String {
    let hooks = hooks(config);
    format!(
        "[core]\n\thooksPath = {hooks}\n\
         [gc]\n\tauto = 0\n\
         [maintenance]\n\tauto = false\n\
         [protocol]\n\tallow = never\n\
         [protocol \"ssh\"]\n\tallow = always\n\
         [receive]\n\tmaxInputSize = {PUSH_BYTES}\n\tfsckObjects = true\n\tautogc = false\n\
         \tdenyCurrentBranch = ignore\n\tdenyDeleteCurrent = ignore\n\
         [uploadpack]\n\tallowFilter = true\n",
        hooks = hooks.display(),
    )
}

fn known_hosts_text(config: &GitGateConfig) -> String {
    let mut text = String::new();
    for upstream in &config.upstreams {
        // Writing to a string does not fail.
        writeln!(text, "{} {}", upstream.name, upstream.host_key).unwrap_or_default();
    }
    text
}

/// `git`, with our configuration and nothing of whoever's environment this is.
pub(super) fn git(config: &GitGateConfig) -> Command {
    let mut git = Command::new("git");
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    git.env_clear()
        .env("PATH", path)
        .env("HOME", &config.run)
        .env("LC_ALL", "C")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", git_config(config))
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null());
    git
}

/// The server, not yet started.
pub(super) fn daemon(config: &GitGateConfig, config_path: &Path) -> io::Result<Command> {
    let mut daemon = git(config);
    daemon
        .env(CONFIG_VARIABLE, std::path::absolute(config_path)?)
        .args(["daemon", "--reuseaddr", "--log-destination=stderr", "--informative-errors"])
        .arg(format!("--listen={}", config.listen.ip()))
        .arg(format!("--port={}", config.listen.port()))
        .args(["--export-all", "--strict-paths", "--enable=receive-pack"])
        .arg(format!("--max-connections={CONNECTIONS_MAX}"))
        .arg(format!("--init-timeout={FIRST_LINE_SECONDS}"))
        .arg(format!("--timeout={SILENCE_SECONDS}"))
        .arg(prefixed("--access-hook=", &access_hook(config)))
        .arg(prefixed("--base-path=", &config.mirrors))
        .arg("--")
        // Strictly these; with none it would be all.
        .args(config.upstreams.iter().map(|upstream| config.mirror(&upstream.name)));
    Ok(daemon)
}

fn prefixed(option: &str, path: &Path) -> std::ffi::OsString {
    let mut word = std::ffi::OsString::from(option);
    word.push(path);
    word
}
