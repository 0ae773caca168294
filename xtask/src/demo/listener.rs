//! Something on the host's loopback that a guest must not reach.

use std::{
    io::Write,
    net::{Ipv4Addr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::error::{Context, Result};

/// What it tells whoever connects.
pub(super) const SECRET: &str = "a secret of the host";

/// A listener on 127.0.0.1 that counts its visitors.
pub(super) struct Listener {
    pub(super) port: u16,
    visitors: Arc<AtomicUsize>,
}

impl Listener {
    /// Starts it, for as long as this process lives.
    pub(super) fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).doing("listen on 127.0.0.1")?;
        let port = listener.local_addr().doing("find the listener's port")?.port();
        let visitors = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&visitors);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                let mut stream = stream;
                // A visitor that has gone needs no answer.
                drop(writeln!(stream, "{SECRET}"));
            }
        });
        Ok(Self { port, visitors })
    }

    /// How many have come so far.
    pub(super) fn visitors(&self) -> usize {
        self.visitors.load(Ordering::SeqCst)
    }
}
