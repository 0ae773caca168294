//! What the child process does: it becomes the VM.
//!
//! ```text
//! stdin    length u32 LE, VmmConfig as JSON ─► one byte, SEAL, when the guest is up ─► its end is the parent's end, and so,
//!                                                                                unless it is detached then, the VMM's
//! stdout   one byte, STARTED, when libkrun takes over; another, SEALED, as the answer to SEAL; then held until the end: the
//!          parent sees the VMM end by it
//! stderr   vmm.log, which libkrun's log goes to as well; but what it refused goes to denials.log
//! another  the bottle's lock, open until the end
//! ```
//!
//! It confines itself ([`super::confine`]) before it has a second thread: whatever lives in its memory would else have the
//! rights of the thread that has most.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;
use std::thread;

use bottle_protocol::{AGENT_PORT, CONFIG_PATH, INIT_PATH, READY_PORT};
use serde::{Deserialize, Serialize};

use super::agent::Agent;
use super::clock;
use super::config::console_log;
use super::confine::{self, Confine, Limits, SharedDir};
use super::denial::Sieve;
use super::krun::{self, Krun, KrunError};
use super::log_file::{LogFile, Sink};
use super::{AllowRule, sys};

/// The hidden verb. Not a word anyone types by accident.
pub(super) const VERB: &str = "__bottle-vmm";

/// No configuration comes near this; more is not from us.
const CONFIG_LIMIT_BYTES: u32 = 16 * 1024 * 1024;

/// The guest's init. Static, so it needs nothing in the guest.
pub(crate) static INIT: &[u8] = include_bytes!(env!("BOTTLE_GUEST_INIT"));

/// What the VMM says when all is configured and the VM starts. A program that forgot to become a VMM says something else.
pub(super) const STARTED: u8 = 0x06;

/// What the parent says when the guest has booted: what only a boot needs can go.
pub(super) const SEAL: u8 = 0x0e;

/// The answer to that. Nothing of the image's is run before it.
pub(super) const SEALED: u8 = 0x0f;

/// Files and directories are for their owner alone, the agent's socket first of all.
const UMASK: u32 = 0o077;

/// What the parent tells the child.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct VmmConfig {
    pub(super) state_dir: PathBuf,
    pub(super) kernel: Option<PathBuf>,
    pub(super) disk: PathBuf,
    pub(super) base: Option<PathBuf>,
    pub(super) agent_socket: PathBuf,
    pub(super) ready_socket: PathBuf,
    pub(super) cpus: u8,
    pub(super) memory_mib: u32,
    pub(super) allow: Vec<String>,
    pub(super) volumes: Vec<VmmVolume>,
    /// Encoded, as the guest reads it.
    pub(super) guest: Vec<u8>,
    pub(super) detached: bool,
    /// A descriptor that the child was given, to hold.
    pub(super) lock: Option<RawFd>,
    pub(super) confine: Confine,
}

/// A directory of the host's, links resolved.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct VmmVolume {
    pub(super) tag: String,
    pub(super) host: PathBuf,
    pub(super) read_only: bool,
}

impl VmmConfig {
    /// Writes it to the child's stdin.
    pub(super) fn send(&self, mut to: impl Write) -> io::Result<()> {
        let json = serde_json::to_vec(self)?;
        let len = u32::try_from(json.len()).ok().filter(|len| *len <= CONFIG_LIMIT_BYTES);
        let len = len.ok_or_else(|| io::Error::other("the configuration is too large"))?;
        to.write_all(&len.to_le_bytes())?;
        to.write_all(&json)
    }

    fn receive(mut from: impl Read) -> io::Result<Self> {
        let mut len = [0; 4];
        from.read_exact(&mut len)?;
        let len = u32::from_le_bytes(len);
        if len > CONFIG_LIMIT_BYTES {
            return Err(io::Error::other("the configuration is too large"));
        }
        let mut json = vec![0; len as usize];
        from.read_exact(&mut json)?;
        Ok(serde_json::from_slice(&json)?)
    }

    /// What the VMM may touch.
    fn limits(&self) -> io::Result<Limits<'_>> {
        let rules: Result<Vec<AllowRule>, _> = self.allow.iter().map(|rule| rule.parse()).collect();
        Ok(Limits {
            state_dir: &self.state_dir,
            sockets: vec![&self.agent_socket, &self.ready_socket],
            disk: &self.disk,
            base: self.base.as_deref(),
            volumes: self.volumes(),
            ports: rules.map_err(io::Error::other)?.iter().map(AllowRule::ports).collect(),
        })
    }

    /// The host's directories that the guest gets.
    fn volumes(&self) -> Vec<SharedDir> {
        let shared =
            |volume: &VmmVolume| SharedDir { path: volume.host.clone(), read_only: volume.read_only };
        self.volumes.iter().map(shared).collect()
    }
}

/// Why the child gives up. The parent quotes it from the log.
#[derive(Debug, thiserror::Error)]
enum VmmError {
    #[error("{0}: {1}")]
    Io(&'static str, io::Error),
    #[error("the VMM can't be confined: {0}")]
    Confine(io::Error),
    #[error("libkrun: {0}")]
    Krun(#[from] KrunError),
}

/// Turns this process into a VM if [`Starting`](super::Starting) started it to be one, and returns otherwise. A
/// program that starts VMs calls this first thing in `main`, before it starts a thread or opens a file.
pub fn become_vmm_if_asked() {
    if is_asked() {
        let Err(error) = run();
        eprintln!("{error}");
        std::process::exit(1);
    }
}

/// Whether this process was started to be a VM.
pub(super) fn is_asked() -> bool {
    let mut args = std::env::args_os().skip(1);
    args.next().is_some_and(|verb| verb == VERB) && args.next().is_none()
}

fn run() -> Result<Infallible, VmmError> {
    sys::allow_many_files().map_err(|error| VmmError::Io("the limit of open files", error))?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(UMASK as rustix::fs::RawMode));
    let mut stdin = io::stdin().lock();
    let config = VmmConfig::receive(&mut stdin).map_err(|error| VmmError::Io("the configuration", error))?;
    drop(stdin);
    // Whatever else the parent's own parent left open is none of a VM's business.
    sys::close_inherited(config.lock);
    if let Some(kernel) = &config.kernel {
        sys::load_for_good(kernel).map_err(|error| VmmError::Io("the guest kernel", error))?;
    }
    let mut log = BoundedLog::open(Sieve::open(&config.state_dir))?;
    krun::init_log(log.writer()?)?;
    let Err(error) = start(&config, &mut log);
    // What libkrun itself said about it may still be in the pipe. It ends here.
    log.finish();
    Err(error)
}

fn start(config: &VmmConfig, log: &mut BoundedLog<Sieve>) -> Result<Infallible, VmmError> {
    // Finds the guest kernel, by the system's rules if need be.
    let krun = Krun::new()?;
    let mut console = BoundedLog::open(LogFile::append_to(&console_log(&config.state_dir)))?;
    let no_input = File::open("/dev/null").map_err(|error| VmmError::Io("/dev/null", error))?;

    let limits = config.limits().map_err(VmmError::Confine)?;
    let wall = confine::erect(&limits, config.confine).map_err(VmmError::Confine)?;
    // Straight into the log: what libkrun says comes from a guest's doings, and may have an end.
    eprintln!("{}", confine::summary(&wall));
    log.pump()?;
    console.pump()?;
    watch_parent(config)?;

    krun.set_size(config.cpus, config.memory_mib)?;
    krun.add_virtual_root()?;
    krun.add_root_file(INIT_PATH, INIT, 0o755)?;
    // The guest reads it whenever it likes, so it lives as long as the process.
    krun.add_root_file(CONFIG_PATH, config.guest.clone().leak(), 0o600)?;
    for dir in ["/dev", "/proc", "/sys", "/newroot"] {
        krun.add_root_dir(dir)?;
    }
    for volume in &config.volumes {
        krun.add_volume(&volume.tag, &volume.host, volume.read_only)?;
    }
    // As if libkrun let every name through that a guest with volumes sends: for the test that only the second wall stands in.
    #[cfg(feature = "no-first-wall")]
    if !config.volumes.is_empty() {
        krun.add_volume("host", std::path::Path::new("/"), false)?;
    }
    krun.add_qcow2_disk("root", &config.disk)?;
    if config.allow.is_empty() {
        krun.add_no_network()?;
    } else {
        krun.add_network(&config.allow)?;
    }
    krun.add_vsock_port(AGENT_PORT, &config.agent_socket, true)?;
    krun.add_vsock_port(READY_PORT, &config.ready_socket, false)?;
    krun.add_console(no_input.into(), console.writer()?, console.writer()?)?;
    say(STARTED);
    Ok(krun.start_enter()?)
}

/// A pipe into a log that ends at a limit, and the way to wait for its last line.
struct BoundedLog<S> {
    writer: io::PipeWriter,
    /// What the thread gets when it starts.
    ends: Option<(S, PipeReader)>,
    thread: Option<thread::JoinHandle<()>>,
}

impl<S: Sink + Send + 'static> BoundedLog<S> {
    /// Opens all that there is to open.
    fn open(log: io::Result<S>) -> Result<Self, VmmError> {
        let log = log.map_err(|error| VmmError::Io("a log file", error))?;
        let (reader, writer) = io::pipe().map_err(|error| VmmError::Io("a pipe", error))?;
        Ok(Self { writer, ends: Some((log, reader)), thread: None })
    }

    /// An end for somebody to write to.
    fn writer(&self) -> Result<OwnedFd, VmmError> {
        self.writer.try_clone().map(OwnedFd::from).map_err(|error| VmmError::Io("a pipe", error))
    }

    /// Starts the thread that writes the file.
    fn pump(&mut self) -> Result<(), VmmError> {
        let Some((mut log, reader)) = self.ends.take() else { return Ok(()) };
        let thread = thread::Builder::new().name("log".to_owned());
        let thread = thread.spawn(move || log.pump(UntilNul::new(reader)));
        self.thread = Some(thread.map_err(|error| VmmError::Io("a thread", error))?);
        Ok(())
    }

    /// Waits until all that was written before is in the file.
    fn finish(mut self) {
        // Something failed before there was a thread; it fits into the pipe, and so does this thread's work.
        if let Some((mut log, reader)) = self.ends.take() {
            self.writer.write_all(&[0]).unwrap_or_default();
            log.pump(UntilNul::new(reader));
        } else if let Some(thread) = self.thread.take()
            // libkrun never closes its end, so the end is a byte that no log has.
            && self.writer.write_all(&[0]).is_ok()
        {
            thread.join().unwrap_or_default();
        }
    }
}

/// A pipe that ends at a NUL.
struct UntilNul {
    pipe: PipeReader,
    ended: bool,
}

impl UntilNul {
    fn new(pipe: PipeReader) -> Self {
        Self { pipe, ended: false }
    }
}

impl Read for UntilNul {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        let count = self.pipe.read(buffer)?;
        match buffer[..count].iter().position(|byte| *byte == 0) {
            Some(at) => {
                self.ended = true;
                Ok(at)
            }
            None => Ok(count),
        }
    }
}

/// Tells the parent, whether or not it still listens.
fn say(byte: u8) {
    rustix::io::write(rustix::stdio::stdout(), &[byte]).map(drop).unwrap_or_default();
}

/// Ends the process when the parent is gone, however that came about, and seals the wall when the parent says so.
fn watch_parent(config: &VmmConfig) -> Result<(), VmmError> {
    let (detached, volumes) = (config.detached, !config.volumes.is_empty());
    let agent = Agent::new(&config.agent_socket);
    let watch = move || {
        let mut sealed = false;
        loop {
            let mut byte = [0];
            match rustix::io::read(rustix::stdio::stdin(), &mut byte) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(1) if byte == [SEAL] && !sealed => {
                    if let Err(error) = seal(&agent, volumes) {
                        eprintln!("{error}");
                        sys::exit_at_once();
                    }
                    sealed = true;
                    say(SEALED);
                }
                Ok(0) if detached && sealed => return,
                // Nothing else comes but the end.
                _ => sys::exit_at_once(),
            }
        }
    };
    let thread = thread::Builder::new().name("parent".to_owned()).spawn(watch);
    thread.map(drop).map_err(|error| VmmError::Io("a thread", error))
}

/// The guest is up: the connection for its clock is the last that the VMM makes to a UNIX socket.
fn seal(agent: &Agent, volumes: bool) -> Result<(), VmmError> {
    let clock = clock::Keeper::new(agent).map_err(|error| VmmError::Io("the clock", error))?;
    confine::seal(volumes).map_err(VmmError::Confine)?;
    clock.start().map_err(|error| VmmError::Io("a thread", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> VmmConfig {
        VmmConfig {
            state_dir: "/s".into(),
            kernel: None,
            disk: "/s/disk.qcow2".into(),
            base: None,
            agent_socket: "/s/agent.sock".into(),
            ready_socket: "/s/ready.sock".into(),
            cpus: 1,
            memory_mib: 512,
            allow: vec!["tcp:127.0.0.16/32:1".to_owned()],
            volumes: Vec::new(),
            guest: vec![1, 2, 3],
            detached: false,
            lock: None,
            confine: Confine::Auto,
        }
    }

    #[test]
    fn the_configuration_arrives_and_a_cut_one_does_not() {
        let mut bytes = Vec::new();
        config().send(&mut bytes).unwrap();
        assert_eq!(VmmConfig::receive(&bytes[..]).unwrap().guest, [1, 2, 3]);
        for end in 0..bytes.len() {
            assert!(VmmConfig::receive(&bytes[..end]).is_err(), "cut at {end}");
        }
        assert!(VmmConfig::receive(&[0xff; 64][..]).is_err());
    }

    #[test]
    fn a_log_ends_with_all_that_was_written() {
        for with_a_thread in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("vmm.log");
            let mut log = BoundedLog::open(LogFile::append_to(&path)).unwrap();
            if with_a_thread {
                log.pump().unwrap();
            }
            File::from(log.writer().unwrap()).write_all(b"the last words").unwrap();
            log.finish();
            assert_eq!(std::fs::read(&path).unwrap(), b"the last words");
        }
    }

    #[test]
    fn the_ports_are_those_of_the_rules() {
        let config =
            VmmConfig { allow: vec!["tcp:10.0.0.0/8:1-1024".into(), "tcp:[::1]:443".into()], ..config() };
        assert_eq!(config.limits().unwrap().ports, [1..=1024, 443..=443]);
        assert!(VmmConfig { allow: vec!["tcp".into()], ..config }.limits().is_err());
    }
}
