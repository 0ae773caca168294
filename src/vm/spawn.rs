//! The VMM child, the wait for its guest, and the handle on a VM that runs.

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::agent::{Agent, AgentError, BootTimings, Ready, accept_ready};
use super::clock;
use super::config::{console_log, vmm_log};
use super::vmm::{SEAL, SEALED, STARTED, VERB, VmmConfig, VmmVolume, is_asked};
use super::volume::{self, Volume, check_volumes};
use super::{
    Confine, KernelLibrary, VmConfig, VmError, confine, disk, find_kernel_library, krun, log_file, sys,
};
use crate::image::Image;

/// libkrunfw's kernel does not get to init with less.
const LEAST_MEMORY_MIB: u32 = 128;

/// For all of what init reports, once it has connected: one frame of some hundred bytes.
const READY_LIMIT: Duration = Duration::from_secs(10);

/// For the VMM's answer to the order to seal itself: some system calls.
const SEAL_LIMIT: Duration = Duration::from_secs(30);

/// A VMM that ends takes its guest's connections with it. So long it may take from there to its own end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A VM that was started and whose guest has not answered yet. Dropping it ends it, also one that was to be detached.
#[derive(Debug)]
pub struct Starting {
    vmm: Vmm,
    ready: UnixListener,
    agent_socket: PathBuf,
    limit: Duration,
    started: Instant,
    detached: bool,
}

/// A VM whose guest is up.
///
/// Dropping it ends the VM at once, as a power cut would, and waits until the VMM is gone; one that was started
/// [detached](VmConfig::detached) goes on. [`Vm::shutdown`] is the end that loses nothing. What was made for the VM, its
/// directory and its disk, stays in any case. The handle can be shared; what outlives it are clones of its [`Agent`], which
/// then answer that the guest can't be reached, and of its [`VmKiller`], which then do nothing.
#[derive(Debug)]
pub struct Vm {
    vmm: Vmm,
    agent: Agent,
    ready: Ready,
    boot: BootSteps,
}

/// What a boot spent its time on, from the start of the VMM to the guest's answer. What the guest says of itself is only as
/// true as the guest: nothing should hang on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BootSteps {
    /// The child process, until it hands over to libkrun.
    pub vmm: Duration,
    /// libkrun makes the machine, and the kernel starts its clock; also the way of the guest's answer.
    pub machine: Duration,
    /// The guest's kernel, until it runs init.
    pub kernel: Duration,
    /// Init mounts the disk.
    pub root: Duration,
    /// Init does all else and listens.
    pub agent: Duration,
}

impl BootSteps {
    fn new(whole: Duration, vmm: Duration, guest: BootTimings) -> Self {
        let [init, root, agent] = [guest.init_started_ns, guest.root_mounted_ns, guest.agent_listening_ns]
            .map(Duration::from_nanos);
        Self {
            vmm,
            machine: whole.saturating_sub(vmm).saturating_sub(agent),
            kernel: init,
            root: root.saturating_sub(init),
            agent: agent.saturating_sub(root),
        }
    }
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
    /// Its stdout, on which nothing ever comes but two bytes and the end.
    end: ChildStdout,
    /// When the first came.
    configured: Option<Instant>,
    /// The second came.
    sealed: bool,
    /// Its stdin, whose end is its end, unless it is detached and sealed.
    lifeline: ChildStdin,
    state_dir: PathBuf,
    /// What it runs, if that is not this program.
    program: Option<PathBuf>,
    /// It is not ended with the handle.
    detached: bool,
    /// What its disk lies over stays where it is.
    _image: Option<Image>,
}

impl Starting {
    /// Starts the VMM. Returns before the guest is up: [`Starting::wait`] waits for it.
    ///
    /// # Errors
    /// When this machine can't run the VM, or the child can't be started.
    pub fn spawn(config: &VmConfig) -> Result<Self, VmError> {
        let kernel = check(config)?;
        let volumes = check_volumes(&config.volumes, &walls(config, &kernel))?;
        let ready_path = config.ready_socket();
        let ready = UnixListener::bind(&ready_path)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(VmError::host(format!("cannot listen on {}", ready_path.display())))?;
        let started = Instant::now();
        let vmm = Vmm::spawn(config, kernel, &volumes)?;
        Ok(Self {
            vmm,
            ready,
            agent_socket: config.agent_socket(),
            limit: config.boot_timeout,
            started,
            detached: config.detached,
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
    pub fn wait(mut self) -> Result<Vm, VmError> {
        let stream = self.vmm.wait_for(&self.ready, self.started + self.limit, self.limit)?;
        let ready = accept_ready(stream, READY_LIMIT).map_err(|source| self.vmm.boot_error(source))?;
        self.vmm.seal()?;
        let vmm_took = self.vmm.configured.map_or(Duration::ZERO, |at| at.duration_since(self.started));
        let boot = BootSteps::new(self.started.elapsed(), vmm_took, ready.timings);
        self.vmm.detached = self.detached;
        Ok(Vm { vmm: self.vmm, agent: Agent::new(self.agent_socket), ready, boot })
    }
}

impl Vm {
    /// Starts a VM and waits for its guest: [`Starting::spawn`] and [`Starting::wait`] in one.
    ///
    /// # Errors
    /// Those of both.
    pub fn start(config: &VmConfig) -> Result<Self, VmError> {
        Starting::spawn(config)?.wait()
    }

    /// Runs commands in the guest.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// What the guest said when it was up.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// How long the boot took, in its steps.
    pub fn boot(&self) -> BootSteps {
        self.boot
    }

    /// The process that is the VM, for looking at what it uses.
    pub fn vmm_pid(&self) -> u32 {
        self.vmm.killer.child.lock().unwrap_or_else(PoisonError::into_inner).id()
    }

    /// Ends the VM from another thread.
    pub fn killer(&self) -> VmKiller {
        self.vmm.killer.clone()
    }

    /// Waits until the VM has ended by itself, or was ended by another thread, but no longer than `limit`. `false` says that
    /// it has not.
    pub fn ends_within(&self, limit: Duration) -> bool {
        self.vmm.ended_by(Instant::now() + limit)
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
    fn spawn(config: &VmConfig, kernel: KernelLibrary, volumes: &[Volume]) -> Result<Self, VmError> {
        let guest = config.guest_config(volumes, clock::unix_ns());
        let program = config.vmm_program.clone().map_or_else(sys::own_program, Ok);
        let mut command = Command::new(program.map_err(VmError::host("cannot find this program"))?);
        // Nothing of the environment, which is where people keep tokens, gets into the process that a guest attacks first.
        command.env_clear();
        // Ctrl-C on our terminal is ours to handle.
        sys::give_own_session(&mut command);
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
            base: config.base.clone().or_else(|| disk::base_of(&config.disk)),
            agent_socket: config.agent_socket(),
            ready_socket: config.ready_socket(),
            cpus: config.cpus,
            memory_mib: config.memory_mib,
            allow: config.allow.iter().map(ToString::to_string).collect(),
            volumes: volumes.iter().enumerate().map(vmm_volume).collect(),
            guest: guest.encode()?,
            detached: config.detached,
            lock: config.lock.as_ref().map(AsRawFd::as_raw_fd),
            confine: config.confine,
        };
        if let Some(lock) = &config.lock {
            sys::hand_over(&mut command, Arc::clone(lock));
        }
        let log_path = vmm_log(&config.state_dir);
        let log = log_file::open(&log_path)
            .map_err(VmError::host(format!("cannot write {}", log_path.display())))?;
        // But where its libraries are.
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
            configured: None,
            sealed: false,
            lifeline: stdin,
            state_dir: config.state_dir.clone(),
            program: config.vmm_program.clone(),
            detached: false,
            _image: config.image.clone(),
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
        &mut self,
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
            match poll(&mut fds, until(deadline).as_ref()) {
                Ok(0) => return Err(VmError::TimedOut { limit, log: self.log_tail() }),
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(failed()(error.into())),
            }
            let speaks = !fds[1].revents().is_empty();
            let ended = speaks && self.hear()?;
            // A guest that reported something and then ended is heard first.
            match listener.accept() {
                Ok((stream, _)) => return Ok(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(failed()(error)),
            }
            if ended {
                return Err(self.death());
            }
        }
    }

    /// Takes what the child says: that all is configured (`false`), or that it has ended (`true`).
    fn hear(&mut self) -> Result<bool, VmError> {
        let mut byte = [0];
        match rustix::io::read(&self.end, &mut byte) {
            Ok(1) if byte == [STARTED] && self.configured.is_none() => {
                self.configured = Some(Instant::now());
                Ok(false)
            }
            Ok(1) if byte == [SEALED] && !self.sealed => {
                self.sealed = true;
                Ok(false)
            }
            Ok(0) => Ok(true),
            Err(rustix::io::Errno::INTR) => Ok(false),
            _ => Err(not_vmm(self.program.as_deref())),
        }
    }

    /// Has the child take away from itself what it needs no more, before anything of the image's runs.
    fn seal(&mut self) -> Result<(), VmError> {
        // If it is gone, that shows below.
        self.lifeline.write_all(&[SEAL]).unwrap_or_default();
        let deadline = Instant::now() + SEAL_LIMIT;
        while !self.sealed {
            if !self.ended_by(deadline) {
                return Err(VmError::TimedOut { limit: SEAL_LIMIT, log: self.log_tail() });
            }
            if self.hear()? {
                return Err(self.death());
            }
        }
        Ok(())
    }

    /// Has the child ended, or said something, by then?
    fn ended_by(&self, deadline: Instant) -> bool {
        loop {
            let mut fds = [PollFd::from_borrowed_fd(self.end.as_fd(), PollFlags::IN)];
            match poll(&mut fds, until(deadline).as_ref()) {
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
        match self.killer.status() {
            // Of all processes, this one alone has a filter that ends it so.
            Ok(status) if status.signal() == Some(libc::SIGSYS) => {
                "killed by its seccomp filter, for a system call that no VMM makes".to_owned()
            }
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
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

fn not_vmm(program: Option<&Path>) -> VmError {
    let program = program.map_or_else(|| "this program".to_owned(), |path| path.display().to_string());
    VmError::NotVmm { program }
}

/// Refuses what would only show as an obscure failure of the VMM.
fn check(config: &VmConfig) -> Result<KernelLibrary, VmError> {
    // It would start itself without end.
    if is_asked() && config.vmm_program.is_none() {
        return Err(not_vmm(None));
    }
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
    if let (Confine::Require, Some(missing)) = (config.confine, confine::missing(&confine::wall_parts())) {
        return Err(VmError::NoWall { missing });
    }
    config.kernel.clone().map_or_else(find_kernel_library, Ok)
}

/// What the VM is made of, and no guest may write to.
fn walls(config: &VmConfig, kernel: &KernelLibrary) -> Vec<PathBuf> {
    let kernel = match kernel {
        KernelLibrary::File(path) => Some(path.clone()),
        KernelLibrary::System => None,
    };
    [config.state_dir.clone(), config.disk.clone()].into_iter().chain(kernel).collect()
}

fn vmm_volume((number, volume): (usize, &Volume)) -> VmmVolume {
    let host = volume.host().to_owned();
    VmmVolume { tag: volume::tag(number), host, read_only: volume.read_only() }
}

fn check_socket_path(path: &Path) -> Result<(), VmError> {
    let limit = sys::SOCKET_PATH_LIMIT_BYTES;
    if path.as_os_str().len() > limit {
        return Err(VmError::LongPath { path: path.to_owned(), limit });
    }
    Ok(())
}

/// What is left until then. What no `Timespec` can hold has no end.
fn until(deadline: Instant) -> Option<Timespec> {
    Timespec::try_from(deadline.saturating_duration_since(Instant::now())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_of_a_boot_add_up_and_a_guest_that_lies_does_no_harm() {
        let ms = Duration::from_millis;
        let guest = BootTimings {
            init_started_ns: 40_000_000,
            root_mounted_ns: 50_000_000,
            agent_listening_ns: 55_000_000,
        };
        let steps = BootSteps::new(ms(200), ms(30), guest);
        assert_eq!(steps.vmm + steps.machine + steps.kernel + steps.root + steps.agent, ms(200));
        assert_eq!((steps.machine, steps.root, steps.agent), (ms(115), ms(10), ms(5)));
        let liar =
            BootTimings { init_started_ns: u64::MAX, root_mounted_ns: 0, agent_listening_ns: u64::MAX };
        assert_eq!(BootSteps::new(ms(200), ms(30), liar).machine, Duration::ZERO);
    }
}
