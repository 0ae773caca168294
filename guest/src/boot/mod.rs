//! From the kernel's first process to an agent that listens.
//!
//! ```text
//! virtual root (virtiofs, no host directory behind it): /init.krun /config.krun /dev /proc /sys /newroot
//!   config read ─► clock ─► /dev/vda mounted on /newroot ─► it becomes the root, the virtual one is let go,
//!   its file system grown ─► /dev /proc /sys /run ─► names ─► volumes ─► loopback ─► agent listens ─► host told on READY_PORT
//! ```

pub(crate) mod clock;
mod etc;
mod mounts;
mod network;

use std::fmt::Display;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use bottle_protocol::{
    AGENT_PORT, BootTimings, CONFIG_LIMIT_BYTES, CONFIG_PATH, GuestConfig, Message, READY_PORT, Ready,
    ReadyFrame, hello,
};

use crate::reaper::Reaper;
use crate::server::{Server, kernel_release, since_boot};
use crate::{power, sys};

/// Open files a process may have: docker's value.
const OPEN_FILES: u64 = 1024 * 1024;

/// A step of the boot that failed: one line that names the thing.
#[derive(Debug)]
struct BootError(String);

/// Puts `what` in front of an error.
fn named<T, E: Display>(result: Result<T, E>, what: impl Display) -> Result<T, BootError> {
    result.map_err(|error| BootError(format!("{what}: {error}")))
}

/// Boots, serves until the end, powers off.
pub fn run() -> ! {
    let mut timings = BootTimings { init_started_ns: nanoseconds_since_boot(), ..BootTimings::default() };
    let message = match boot(&mut timings) {
        Ok((server, listener)) => {
            let ready = Ready {
                agent_version: env!("CARGO_PKG_VERSION").to_owned(),
                kernel_release: kernel_release(),
                timings,
            };
            if let Some(host) = report(&ReadyFrame::Ready(ready)) {
                clock::take_from(host);
            }
            format!("cannot take connections any more: {}", server.serve(&listener))
        }
        Err(BootError(message)) => {
            drop(report(&ReadyFrame::BootFailed(message.clone())));
            message
        }
    };
    crate::log(&message);
    power::machine_off()
}

type Booted = (std::sync::Arc<Server>, OwnedFd);

fn boot(timings: &mut BootTimings) -> Result<Booted, BootError> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    mounts::virtual_root()?;
    let config = read_config()?;
    clock::set_from_host(config.wall_clock_unix_ns);
    mounts::enter_root(&config.root_device, &config.root_fstype)?;
    if let Some(bytes) = config.root_bytes {
        mounts::grow_root(bytes)?;
    }
    timings.root_mounted_ns = nanoseconds_since_boot();
    mounts::system()?;
    // Before the volumes, so that no directory of the host's is written to.
    etc::write(&config.hostname);
    for volume in &config.volumes {
        mounts::volume(volume)?;
    }
    warn(sys::allow_open_files(OPEN_FILES), "limit of open files");
    warn(rustix::system::sethostname(config.hostname.as_bytes()), "hostname");
    etc::make_directory(&config.default_cwd);
    warn(network::loopback(), "loopback interface");
    if config.network {
        warn(network::dummy(), "dummy interface");
    }
    clock::follow_host();
    let reaper = named(Reaper::start(), "cannot start the reaper")?;
    let listener = named(sys::vsock_listen(AGENT_PORT), "cannot listen on vsock")?;
    timings.agent_listening_ns = nanoseconds_since_boot();
    Ok((Server::new(config, reaper), listener))
}

/// For what the guest can do without.
fn warn<E: Display>(result: Result<(), E>, what: &str) {
    if let Err(error) = result {
        crate::log(&format!("{what}: {error}"));
    }
}

fn read_config() -> Result<GuestConfig, BootError> {
    let file = named(fs::File::open(CONFIG_PATH), CONFIG_PATH)?;
    let mut bytes = Vec::new();
    named(file.take(CONFIG_LIMIT_BYTES as u64 + 1).read_to_end(&mut bytes), CONFIG_PATH)?;
    named(GuestConfig::decode(&bytes), CONFIG_PATH)
}

/// Tells the host, which waits for it, and keeps the connection for its answer; without a connection there is only the console.
fn report(frame: &ReadyFrame) -> Option<OwnedFd> {
    let mut bytes = hello().to_vec();
    let sent = frame.encode(&mut bytes).map_err(|error| error.to_string()).and_then(|()| {
        let socket = sys::vsock_connect(READY_PORT).map_err(|error| error.to_string())?;
        let mut host = fs::File::from(socket);
        host.write_all(&bytes).map_err(|error| error.to_string())?;
        Ok(host.into())
    });
    sent.inspect_err(|error| crate::log(&format!("cannot report to the host: {error}"))).ok()
}

fn nanoseconds_since_boot() -> u64 {
    since_boot().as_nanos().try_into().unwrap_or(u64::MAX)
}
