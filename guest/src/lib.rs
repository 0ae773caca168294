//! The init of a bottle's guest: process 1, static, alone in a virtual root until it has found the disk.
//!
//! - [`boot`] makes the machine usable: mounts, names, loopback, clock.
//! - [`server`] takes the host's connections, one a request, and a thread for each.
//! - `exec/` runs a process for one: [`users`](exec) and environment, the fork, and the loop that carries its streams.
//! - `copy` takes files from the host, and gives it some.
//! - [`reaper`] is the only one that waits for processes.
//! - [`probe`] is another program in the same file: it tries to get out of the guest.
//! - [`relay`] is yet another one: git's way to git-gate.
//! - [`power`] ends everything in order.
//!
//! Nothing here may end the process: a kernel whose process 1 is gone panics. What fails is reported and, if the
//! guest is of no use without it, the guest powers off.

#[cfg(target_os = "linux")]
pub mod boot;
#[cfg(target_os = "linux")]
mod copy;
#[cfg(target_os = "linux")]
mod exec;
#[cfg(target_os = "linux")]
mod forward;
#[cfg(target_os = "linux")]
mod link;
#[cfg(target_os = "linux")]
pub mod power;
#[cfg(target_os = "linux")]
pub mod probe;
#[cfg(target_os = "linux")]
pub mod reaper;
#[cfg(target_os = "linux")]
pub mod relay;
#[cfg(target_os = "linux")]
pub mod server;
#[cfg(target_os = "linux")]
mod sys;

/// Writes a line to the console, which the host keeps as the guest's log. There is nobody to tell if that fails.
pub fn log(line: &str) {
    use std::io::Write;
    let mut stderr = std::io::stderr().lock();
    drop(stderr.write_all(format!("bottle-guest: {line}\n").as_bytes()));
}
