//! Finds out when a daemon listens.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Between two connects: a refused one costs microseconds, so begin at once, and go up to what nobody notices.
const RETRY_FIRST: Duration = Duration::from_millis(5);
const RETRY_MAX: Duration = Duration::from_millis(100);

/// A connect within one machine is taken or refused at once, unless the backlog is full.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// Waits until something listens on the port, or `over` is set; whether it listens.
pub(super) fn wait(port: u16, over: &Arc<AtomicBool>) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut pause = RETRY_FIRST;
    while !over.load(Ordering::Relaxed) {
        if TcpStream::connect_timeout(&address, CONNECT_LIMIT).is_ok() {
            return true;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(RETRY_MAX);
    }
    false
}
