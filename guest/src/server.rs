//! Takes the host's connections: a thread for each, which reads one request and carries it out.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bottle_protocol::{ClientFrame, EXEC_LIMIT, ExecRequest, GuestConfig, GuestFrame, Info, Request};
use rustix::net::{SocketFlags, accept_with};

use crate::boot::clock;
use crate::link::{Link, Lost};
use crate::reaper::Reaper;
use crate::{copy, exec, forward};
use crate::{power, sys};

/// The host sends its request at once; only one that was stopped in between needs longer.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);

/// Connections beyond the execs, for other requests and those that have not said what they want.
const SPARE_CONNECTIONS: usize = 64;

/// For one thread; the loop of an exec needs a few KiB.
const STACK_BYTES: usize = 256 * 1024;

/// What the threads share.
#[derive(Debug)]
pub struct Server {
    config: GuestConfig,
    reaper: Arc<Reaper>,
    connections: AtomicUsize,
    execs: AtomicUsize,
}

impl Server {
    /// A server for the bottle that `config` describes.
    pub fn new(config: GuestConfig, reaper: Arc<Reaper>) -> Arc<Self> {
        Arc::new(Self { config, reaper, connections: AtomicUsize::new(0), execs: AtomicUsize::new(0) })
    }

    /// Takes connections from a listening socket for good. It returns only when the socket is of no use any more.
    pub fn serve(self: &Arc<Self>, listener: &OwnedFd) -> io::Error {
        loop {
            match accept_with(listener, SocketFlags::CLOEXEC) {
                Ok(socket) => self.dispatch(socket),
                Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => {}
                Err(
                    error @ (rustix::io::Errno::MFILE | rustix::io::Errno::NFILE | rustix::io::Errno::NOMEM),
                ) => {
                    // Not for long, and not to be told by any event: some connection has to end first.
                    crate::log(&format!("cannot take a connection: {error}"));
                    std::thread::sleep(Duration::from_millis(100));
                }
                Err(error) => return error.into(),
            }
        }
    }

    fn dispatch(self: &Arc<Self>, socket: OwnedFd) {
        let Some(slot) = Slot::take(self, |server| &server.connections, EXEC_LIMIT + SPARE_CONNECTIONS)
        else {
            refuse(socket, "the guest has too many connections");
            return;
        };
        let server = Arc::clone(self);
        let thread = std::thread::Builder::new().name("request".into()).stack_size(STACK_BYTES);
        let spawned = thread.spawn(move || {
            // A host that went away needs no answer.
            drop(server.answer(socket));
            drop(slot);
        });
        if let Err(error) = spawned {
            crate::log(&format!("cannot start a thread: {error}"));
        }
    }

    fn answer(self: &Arc<Self>, socket: OwnedFd) -> Result<(), Lost> {
        let mut link = Link::new(socket).map_err(|_| Lost)?;
        let mut scratch = vec![0; 64 * 1024];
        match link.first_frame(&mut scratch, Instant::now() + REQUEST_DEADLINE)? {
            ClientFrame::Request(Request::Exec(request)) => self.exec(link, &mut scratch, &request),
            ClientFrame::Request(Request::Info) => {
                link.put(&GuestFrame::Info(self.info()))?;
                link.drain(&mut scratch)
            }
            ClientFrame::Request(Request::Put(request)) => {
                copy::put(link, &mut scratch, &request, &self.config)
            }
            ClientFrame::Request(Request::Get(request)) => {
                copy::get(link, &mut scratch, &request, &self.config)
            }
            ClientFrame::Request(Request::Shutdown { grace_ms }) => {
                // Also if nobody is there any more to be told.
                let _ = link.put(&GuestFrame::ShuttingDown).and_then(|()| link.drain(&mut scratch));
                drop(link);
                power::off(&self.reaper, Duration::from_millis(grace_ms.into()))
            }
            ClientFrame::Request(Request::Connect { port }) => {
                forward::run(link, &mut scratch, port, self.config.network)
            }
            ClientFrame::Request(Request::SetClock { unix_ns }) => {
                let mut unix_ns = unix_ns;
                // Once, or from time to time: who tells the time may not be able to connect anew.
                loop {
                    clock::follow(unix_ns);
                    link.put(&GuestFrame::ClockTaken)?;
                    match link.next_frame(&mut scratch)? {
                        ClientFrame::Request(Request::SetClock { unix_ns: next }) => unix_ns = next,
                        _ => return Err(Lost),
                    }
                }
            }
            _ => {
                crate::log("connection dropped: it did not begin with a request");
                Err(Lost)
            }
        }
    }

    fn exec(self: &Arc<Self>, mut link: Link, scratch: &mut [u8], request: &ExecRequest) -> Result<(), Lost> {
        let Some(slot) = Slot::take(self, |server| &server.execs, EXEC_LIMIT) else {
            let message = format!("the guest runs {EXEC_LIMIT} commands already, its limit");
            link.put(&GuestFrame::Failed(exec::other(message)))?;
            return link.drain(scratch);
        };
        let result = exec::run(link, scratch, request, &self.config, &self.reaper);
        drop(slot);
        result
    }

    fn info(&self) -> Info {
        let meminfo = fs::read("/proc/meminfo").unwrap_or_default();
        Info {
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel_release: kernel_release(),
            uptime_ms: since_boot().as_millis().try_into().unwrap_or(u64::MAX),
            execs: self.execs.load(Ordering::Relaxed).try_into().unwrap_or(u32::MAX),
            memory_total_kib: meminfo_kib(&meminfo, "MemTotal:"),
            memory_available_kib: meminfo_kib(&meminfo, "MemAvailable:"),
        }
    }
}

/// A place in one of the server's counts, given back when dropped.
struct Slot {
    server: Arc<Server>,
    count: fn(&Server) -> &AtomicUsize,
}

impl Slot {
    fn take(server: &Arc<Server>, count: fn(&Server) -> &AtomicUsize, limit: usize) -> Option<Self> {
        let slot = Self { server: Arc::clone(server), count };
        (count(server).fetch_add(1, Ordering::Relaxed) < limit).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        (self.count)(&self.server).fetch_sub(1, Ordering::Relaxed);
    }
}

/// Says why, if the socket takes that at once, and closes.
fn refuse(socket: OwnedFd, reason: &str) {
    if let Ok(mut link) = Link::new(socket) {
        drop(link.put(&GuestFrame::Failed(exec::other(reason))).and_then(|()| link.flush()));
    }
}

fn meminfo_kib(meminfo: &[u8], key: &str) -> u64 {
    String::from_utf8_lossy(meminfo)
        .lines()
        .find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// Since the kernel started, sleep included.
pub(crate) fn since_boot() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

pub(crate) fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Serves on a new UNIX socket, on an ordinary machine, with the environment of an encoded [`GuestConfig`] if one is
/// given. Ends after a shutdown request.
///
/// # Errors
/// One line that says what could not be done.
pub fn serve_unix(socket: &Path, config: Option<&OsStr>) -> Result<(), String> {
    let config = match config {
        Some(path) => {
            let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
            GuestConfig::decode(&bytes).map_err(|error| error.to_string())?
        }
        None => GuestConfig::default(),
    };
    sys::become_subreaper().map_err(|error| format!("cannot become a reaper: {error}"))?;
    let reaper = Reaper::start().map_err(|error| format!("cannot start the reaper: {error}"))?;
    let listener = UnixListener::bind(socket).map_err(|error| format!("{}: {error}", socket.display()))?;
    let error = Server::new(config, reaper).serve(&listener.into());
    Err(format!("cannot take connections any more: {error}"))
}
