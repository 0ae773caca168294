//! The VMM child, the wait for its guest, and the handle on a VM that runs.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::agent::{Agent, AgentError, Ready, accept_ready};
use super::config::{console_log, vmm_log};
use super::vmm::{VERB, VmmConfig};
use super::{KernelLibrary, VmConfig, VmError, find_kernel_library, krun, log_file, sys};

/// libkrunfw's kernel does not get to init with less.
const LEAST_MEMORY_MIB: u32 = 128;

/// For all of what init reports, once it has connected: one frame of some hundred bytes.
const READY_LIMIT: Duration = Duration::from_secs(10);

/// A VMM that ends takes its guest's connections with it. So long it may take from there to its own end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A VM that was started and whose guest has not answered yet. Dropping it ends it.
#[derive(Debug)]
pub struct Starting {
    vmm: Vmm,
    ready: UnixListener,
    agent_socket: PathBuf,
    limit: Duration,
    started: Instant,
}

/// A VM whose guest is up. Dropping it ends it at once, unless it was started detached.
#[derive(Debug)]
pub struct Vm {
    vmm: Vmm,
    agent: Agent,
    ready: Ready,
    boot: Duration,
}

/// Ends a VM, from any thread, whatever state it is in.
#[derive(Debug, Clone)]
pub struct VmKiller {
    child: Arc<Mutex<Child>>,
    killed: Arc<AtomicBool>,
}

/// The child process.
#[derive(Debug)]
struct Vmm {
    killer: VmKiller,
    /// Its stdout, on which nothing ever comes but the end.
    end: ChildStdout,
    /// Its stdin, whose end is its end.
    _lifeline: Option<ChildStdin>,
    state_dir: PathBuf,
    detached: bool,
}

impl Starting {
    /// Starts the VMM. Returns before the guest is up: [`Starting::wait`] waits for it.
    ///
    /// # Errors
    /// When this machine can't run the VM, or the child can't be started.
    pub fn spawn(config: &VmConfig) -> Result<Self, VmError> {
        let kernel = check(config)?;
        let ready_path = config.ready_socket();
        let ready = UnixListener::bind(&ready_path)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(VmError::host(format!("cannot listen on {}", ready_path.display())))?;
        let vmm = Vmm::spawn(config, kernel)?;
        Ok(Self {
            vmm,
            ready,
            agent_socket: config.agent_socket(),
            limit: config.boot_timeout,
            started: Instant::now(),
        })
    }

    /// Ends the VM from another thread; [`Starting::wait`] returns then.
    pub fn killer(&self) -> VmKiller {
        self.vmm.killer.clone()
    }

    /// Waits for the guest's agent.
    ///
    /// # Errors
    /// When the VMM ends, the guest can't boot, or the time is over; the end of the logs is quoted, and the VM is gone.
    pub fn wait(self) -> Result<Vm, VmError> {
        let stream = self.vmm.wait_for(&self.ready, self.started + self.limit, self.limit)?;
        let ready = accept_ready(stream, READY_LIMIT).map_err(|source| self.vmm.boot_error(source))?;
        let agent = Agent::new(self.agent_socket);
        Ok(Vm { vmm: self.vmm, agent, ready, boot: self.started.elapsed() })
    }
}

impl Vm {
    /// Runs commands in the guest.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// What the guest said when it was up.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// From the start of the VMM to the guest's answer.
    pub fn boot_time(&self) -> Duration {
        self.boot
    }

    /// Ends the VM from another thread.
    pub fn killer(&self) -> VmKiller {
        self.vmm.killer.clone()
    }

    /// Why the guest is lost, for an error that says only that it is: how the VMM ended, and its last words. Other
    /// errors come back as they are.
    ///
    /// # Errors
    /// The error that was given, unless it is [`AgentError::Lost`] and the VM has ended.
    pub fn explain(&self, error: AgentError) -> Result<VmError, AgentError> {
        match error {
            AgentError::Lost { what } if self.vmm.ended_by(Instant::now() + LAST_WORDS) => {
                Ok(self.vmm.ended(what))
            }
            error => Err(error),
        }
    }

    /// Asks the guest to end: its processes get SIGTERM, after `grace` SIGKILL, and its disk is written out. Then waits
    /// until it has; a guest that does not is ended by force.
    ///
    /// # Errors
    /// When it had to be ended by force.
    pub fn shutdown(self, grace: Duration) -> Result<(), AgentError> {
        // For the disk, behind the processes' time.
        const FLUSH: Duration = Duration::from_secs(30);
        self.agent.shutdown(grace)?;
        if self.vmm.ended_by(Instant::now() + grace + FLUSH) {
            return Ok(());
        }
        Err(AgentError::TimedOut { what: "it shut down".to_owned() })
    }

    /// Ends the VM at once, as a power cut would, and waits until it is gone.
    pub fn kill(self) {
        self.vmm.killer.kill();
    }
}

impl VmKiller {
    /// Ends the VM at once, as a power cut would, and waits until it is gone.
    pub fn kill(&self) {
        self.killed.store(true, Ordering::SeqCst);
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        // Both fail only on a child that is gone already.
        child.kill().unwrap_or_default();
        child.wait().map(drop).unwrap_or_default();
    }

    fn was_killed(&self) -> bool {
        self.killed.load(Ordering::SeqCst)
    }

    /// How the child ended, once it has.
    fn status(&self) -> io::Result<ExitStatus> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).wait()
    }
}

impl Vmm {
    fn spawn(config: &VmConfig, kernel: KernelLibrary) -> Result<Self, VmError> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let guest = config.guest_config(u64::try_from(now.as_nanos()).unwrap_or_default());
        let mut command =
            Command::new(sys::own_program().map_err(VmError::host("cannot find this program"))?);
        let kernel = match kernel {
            KernelLibrary::File(path) => {
                path.parent().into_iter().for_each(|dir| sys::add_loader_path(&mut command, dir));
                Some(path)
            }
            KernelLibrary::System => None,
        };
        let child_config = VmmConfig {
            state_dir: config.state_dir.clone(),
            kernel,
            disk: config.disk.clone(),
            agent_socket: config.agent_socket(),
            ready_socket: config.ready_socket(),
            cpus: config.cpus,
            memory_mib: config.memory_mib,
            allow: config.allow.iter().map(ToString::to_string).collect(),
            guest: guest.encode()?,
            detached: config.detached,
        };
        let log_path = vmm_log(&config.state_dir);
        let log = log_file::open(&log_path)
            .map_err(VmError::host(format!("cannot write {}", log_path.display())))?;
        // Nothing of the environment, which is where people keep tokens, gets into the process that a guest attacks first.
        let loader_path = std::env::var_os("LD_LIBRARY_PATH").map(|path| ("LD_LIBRARY_PATH", path));
        let mut child = command
            .arg(VERB)
            .envs(loader_path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(VmError::host("cannot start the VMM process"))?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let killer = VmKiller { child: Arc::new(Mutex::new(child)), killed: Arc::default() };
        let Some((mut stdin, end)) = pipes else {
            killer.kill();
            return Err(VmError::host("cannot start the VMM process")(io::ErrorKind::BrokenPipe.into()));
        };
        let sent = child_config.send(&mut stdin);
        let vmm = Self {
            killer,
            end,
            _lifeline: (!config.detached).then_some(stdin),
            state_dir: config.state_dir.clone(),
            detached: config.detached,
        };
        match sent {
            Ok(()) => Ok(vmm),
            // It ended before it had read everything, and has said why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(vmm.death()),
            Err(error) => Err(VmError::host("cannot configure the VMM process")(error)),
        }
    }

    /// Waits for a connection, for the child's end, or for the deadline, whichever comes first.
    fn wait_for(
        &self,
        listener: &UnixListener,
        deadline: Instant,
        limit: Duration,
    ) -> Result<UnixStream, VmError> {
        let failed = || VmError::host("cannot wait for the guest");
        loop {
            let mut fds = [
                PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.end.as_fd(), PollFlags::IN),
            ];
            match poll(&mut fds, Some(&timespec(deadline.saturating_duration_since(Instant::now())))) {
                Ok(0) => return Err(VmError::TimedOut { limit, log: self.log_tail() }),
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(failed()(error.into())),
            }
            // A guest that reported something and then ended is heard first.
            match listener.accept() {
                Ok((stream, _)) => return Ok(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(failed()(error)),
            }
            if !fds[1].revents().is_empty() {
                return Err(self.death());
            }
        }
    }

    /// Has the child ended by then?
    fn ended_by(&self, deadline: Instant) -> bool {
        loop {
            let mut fds = [PollFd::from_borrowed_fd(self.end.as_fd(), PollFlags::IN)];
            match poll(&mut fds, Some(&timespec(deadline.saturating_duration_since(Instant::now())))) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(count) => return count > 0,
                Err(_) => return false,
            }
        }
    }

    /// The error for a child that ended too early.
    fn death(&self) -> VmError {
        if self.killer.was_killed() {
            return VmError::Stopped;
        }
        VmError::Died { status: self.status(), log: self.log_tail() }
    }

    /// The error for a child that ended under `what`.
    fn ended(&self, what: String) -> VmError {
        if self.killer.was_killed() {
            return VmError::Stopped;
        }
        VmError::Ended { what, status: self.status(), log: self.log_tail() }
    }

    fn status(&self) -> String {
        self.killer.status().map_or_else(|error| error.to_string(), |status| status.to_string())
    }

    fn boot_error(&self, source: AgentError) -> VmError {
        if self.killer.was_killed() {
            return VmError::Stopped;
        }
        match source {
            AgentError::Lost { .. } if self.ended_by(Instant::now() + LAST_WORDS) => self.death(),
            source => VmError::Boot { source, log: self.log_tail() },
        }
    }

    fn log_tail(&self) -> String {
        let tails =
            [vmm_log(&self.state_dir), console_log(&self.state_dir)].map(|path| log_file::tail(&path));
        tails.into_iter().filter(|tail| !tail.is_empty()).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Vmm {
    fn drop(&mut self) {
        if !self.detached {
            self.killer.kill();
        }
    }
}

/// Refuses what would only show as an obscure failure of the VMM.
fn check(config: &VmConfig) -> Result<KernelLibrary, VmError> {
    for socket in [config.agent_socket(), config.ready_socket()] {
        check_socket_path(&socket)?;
    }
    let most = krun::most_cpus();
    if config.cpus == 0 || config.cpus > most {
        return Err(VmError::BadCpus { cpus: config.cpus, most });
    }
    let total_mib = sys::total_memory_mib();
    if config.memory_mib < LEAST_MEMORY_MIB || u64::from(config.memory_mib) > total_mib {
        let least_mib = LEAST_MEMORY_MIB;
        return Err(VmError::BadMemory { memory_mib: config.memory_mib, total_mib, least_mib });
    }
    sys::check_virtualisation()?;
    find_kernel_library()
}

fn check_socket_path(path: &Path) -> Result<(), VmError> {
    let limit = sys::SOCKET_PATH_LIMIT_BYTES;
    if path.as_os_str().len() > limit {
        return Err(VmError::LongPath { path: path.to_owned(), limit });
    }
    Ok(())
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}
