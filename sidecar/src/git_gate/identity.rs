//! The identities: private keys, each in the memory of an `ssh-agent` that has nothing else.
//!
//! The kernel hands an agent's memory to no other process of the same user (`PR_SET_DUMPABLE`), and the agent signs for nobody but
//! the server whose host key is pinned, as the upstream's user (`ssh-add -h`): so another daemon of the container that is in the
//! hands of an attacker can neither read an identity nor take it elsewhere.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::Sender;
use std::time::Duration;

use bottle_gates::git_gate::{GitGateConfig, Upstream};

use super::{Event, git, setup, watch};

/// All identities on one line: some keys of a few KiB each.
const LINE_BYTES: u64 = 256 * 1024;

/// `ssh-add` reads and hands on a key.
const ADD_LIMIT: Duration = Duration::from_secs(30);

/// Private keys, by the upstream's name.
pub(super) type Identities = BTreeMap<String, String>;

/// Reads lines of identities from stdin, for good.
pub(super) fn listen(events: &Sender<Event>) {
    let ended = read_lines(io::stdin().lock(), |identities| {
        events.send(Event::Identities(identities)).unwrap_or_default();
    });
    events.send(Event::NoMoreIdentities(ended)).unwrap_or_default();
}

fn read_lines(mut input: impl BufRead, mut take: impl FnMut(Identities)) -> io::Result<()> {
    loop {
        let mut line = Vec::new();
        if input.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        // Not the parser's own words: they may quote what it could not read.
        let malformed = || io::Error::new(io::ErrorKind::InvalidData, "the identities are malformed");
        take(serde_json::from_slice(&line).map_err(|_| malformed())?);
    }
}

/// Starts an agent for each upstream, without an identity yet. Each listens when this returns.
pub(super) fn start_agents(config: &GitGateConfig, events: &Sender<Event>) -> io::Result<()> {
    for upstream in &config.upstreams {
        let socket = setup::agent_socket(config, upstream);
        // Of an agent of an earlier start, which is gone with it.
        match std::fs::remove_file(&socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut agent = Command::new("ssh-agent");
        agent.args(["-D", "-a"]).arg(&socket).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut agent =
            agent.spawn().map_err(|error| io::Error::new(error.kind(), format!("ssh-agent: {error}")))?;
        let stdout = agent.stdout.take();
        // It says where it listens, once it does.
        let mut line = String::new();
        if let Some(stdout) = stdout {
            BufReader::new(stdout).take(LINE_BYTES).read_line(&mut line)?;
        }
        watch("ssh-agent", agent, events)?;
        if line.is_empty() {
            return Err(io::Error::other(format!("ssh-agent does not listen on {}", socket.display())));
        }
    }
    Ok(())
}

/// Gives each agent its upstream's identity, instead of what it had. An upstream without a usable one is said so, and the others
/// work.
pub(super) fn use_identities(config: &GitGateConfig, identities: &Identities) {
    for upstream in &config.upstreams {
        let name = &upstream.name;
        let Some(key) = identities.get(name) else {
            eprintln!("git-gate: there is no identity for {name}");
            continue;
        };
        match replace(config, upstream, key) {
            Ok(()) => eprintln!("git-gate: the identity for {name} is in use"),
            Err(error) => eprintln!("git-gate: the identity for {name} can't be used: {error}"),
        }
    }
    for name in identities.keys().filter(|name| config.upstream(name).is_none()) {
        eprintln!("git-gate: an identity came for {name}, which is no upstream");
    }
}

fn replace(config: &GitGateConfig, upstream: &Upstream, key: &str) -> io::Result<()> {
    let ssh_add = || {
        let mut command = Command::new("ssh-add");
        command
            .arg("-q")
            .env("SSH_AUTH_SOCK", setup::agent_socket(config, upstream))
            // A key with a passphrase: there is nobody to ask.
            .env("SSH_ASKPASS_REQUIRE", "never")
            .env_remove("DISPLAY");
        command
    };
    git::finish(ssh_add().arg("-D").stdin(Stdio::null()), ADD_LIMIT)?.success("ssh-add -D")?;
    let mut add = ssh_add();
    add.arg("-H").arg(setup::known_hosts(config));
    add.arg("-h").arg(format!("{}@{}", upstream.user, upstream.name)).arg("-");
    let (reader, mut writer) = io::pipe()?;
    add.stdin(reader);
    // A pipe takes more than a key at once, so this waits for nobody.
    writer.write_all(key.trim().as_bytes())?;
    writer.write_all(b"\n")?;
    drop(writer);
    git::finish(&mut add, ADD_LIMIT)?.success("ssh-add")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_come_line_by_line() {
        let mut got = Vec::new();
        read_lines(&b"{\"a\":\"key\"}\n{}\n"[..], |identities| got.push(identities)).unwrap();
        assert_eq!(got.len(), 2);
        assert_eq!(got[0]["a"], "key");
        for bad in ["{\"a\":\"SECRET\n", "[1]\n", "{\"a\":1}\n", "{\"a\":{\"SECRET\":1}}\n"] {
            let error = read_lines(bad.as_bytes(), |_| ()).unwrap_err().to_string();
            assert_eq!(error, "the identities are malformed", "{bad}");
        }
        let long = vec![b' '; 2 * usize::try_from(LINE_BYTES).unwrap()];
        assert!(read_lines(&long[..], |_| ()).is_err());
    }
}
