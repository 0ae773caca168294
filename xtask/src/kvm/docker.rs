//! A docker daemon of our own: in the emulated host, or on this machine in a network namespace of its own.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{emulator::tail, mounts};
use crate::{
    command,
    error::{Context, Error, Result},
    paths,
};

/// It answers after a second on an idle machine, after about 10 s in the emulated host, and some times that on a busy one.
const READY_LIMIT: Duration = Duration::from_secs(240);

/// What it may take to end by itself; it waits up to 10 s for its containers.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// A running docker daemon; stopped when dropped.
pub(crate) struct Dockerd {
    process: Option<Child>,
    socket: PathBuf,
    dir: PathBuf,
}

impl Dockerd {
    /// Starts one that keeps everything below `dir` (not on an overlay), and waits until it answers on `socket`.
    pub(crate) fn start(dir: &Path, socket: &Path) -> Result<Self> {
        Self::start_with(dir, socket, &[])
    }

    /// Starts one with further options.
    pub(crate) fn start_with(dir: &Path, socket: &Path, options: &[&str]) -> Result<Self> {
        paths::make_dir(dir)?;
        let log = dir.join("dockerd.log");
        let output = File::create(&log).file("create", &log)?;
        let mut dockerd = Command::new("/usr/sbin/dockerd");
        dockerd
            .arg("--data-root")
            .arg(dir.join("data"))
            .arg("--exec-root")
            .arg(dir.join("exec"))
            .arg("--pidfile")
            .arg(dir.join("pid"))
            .args(["--log-level", "warn", "--host"])
            .arg(format!("unix://{}", socket.display()))
            .args(options)
            .stdin(Stdio::null())
            .stdout(output.try_clone().doing("duplicate a descriptor")?)
            .stderr(output);
        let process = super::spawn::dying_with_us(&mut dockerd, &[])?;
        let mut started =
            Self { process: Some(process), socket: socket.to_path_buf(), dir: dir.to_path_buf() };
        started.wait_until_ready(&log)?;
        fs::set_permissions(socket, fs::Permissions::from_mode(0o666)).file("open up", socket)?;
        Ok(started)
    }

    /// A docker command line for this daemon.
    pub(crate) fn docker(&self) -> Command {
        let mut docker = Command::new("docker");
        docker.env("DOCKER_HOST", self.address());
        docker
    }

    /// The value of `DOCKER_HOST` for it.
    pub(crate) fn address(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Loads a `docker save` archive.
    pub(crate) fn load(&self, archive: &Path) -> Result<()> {
        command::output(self.docker().args(["load", "--quiet", "--input"]).arg(archive)).map(drop)
    }

    /// Lets it run on; it then ends with whatever ends this process.
    pub(crate) fn into_socket(mut self) -> PathBuf {
        self.process = None;
        self.socket.clone()
    }

    fn wait_until_ready(&mut self, log: &Path) -> Result<()> {
        let deadline = Instant::now() + READY_LIMIT;
        let fail = |what: String| Err(Error::other(format!("{what}\n{}", tail(log, 10).trim_end())));
        // Not `docker version`: to start that program takes a second in the emulated host.
        while std::os::unix::net::UnixStream::connect(&self.socket).is_err() || !answers(&self.socket) {
            if let Some(process) = &mut self.process
                && let Some(status) = process.try_wait().doing("wait for dockerd")?
            {
                return fail(format!("dockerd ended at once ({status})"));
            }
            if Instant::now() > deadline {
                return fail(format!("dockerd did not answer within {} s", READY_LIMIT.as_secs()));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let pid = rustix::process::Pid::from_child(&process);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let deadline = Instant::now() + STOP_LIMIT;
        while let Ok(None) = process.try_wait() {
            if Instant::now() > deadline {
                eprintln!("xtask: dockerd did not stop within {} s, killed", STOP_LIMIT.as_secs());
                drop(process.kill());
                drop(process.wait());
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        // Always its network namespaces; of one that did not end by itself, its containers' file systems, too.
        if let Err(error) = mounts::unmount_below(&self.dir) {
            eprintln!("xtask: {error}");
        }
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Asks for `/_ping`, which docker's API answers without being set up further.
fn answers(socket: &Path) -> bool {
    use std::io::{Read, Write};
    let ask = || -> std::io::Result<bool> {
        let mut stream = std::os::unix::net::UnixStream::connect(socket)?;
        // It listens a moment before it answers.
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"GET /_ping HTTP/1.0\r\n\r\n")?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer)?;
        Ok(&answer[9..] == b"200")
    };
    ask().unwrap_or(false)
}
