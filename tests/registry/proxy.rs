//! Stands between `bottle` and a registry, and breaks the downloads of blobs.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};

use crate::http::{Request, Server};

/// What becomes of one download.
#[derive(Clone, Copy, Default)]
pub(crate) struct Fault {
    /// The connection ends after so many bytes of the answer, its head included.
    pub(crate) cut: Option<usize>,
    /// It stays open then, and nothing comes.
    pub(crate) stays_open: bool,
    /// The byte at this place of the answer is changed.
    pub(crate) flip: Option<usize>,
    /// The registry is not told that only a part is wanted.
    pub(crate) no_ranges: bool,
}

pub(crate) struct Proxy {
    pub(crate) server: Server,
    /// Ranges that were asked for, one for each download.
    pub(crate) ranges: Arc<Mutex<Vec<Option<String>>>>,
}

impl Proxy {
    /// `fault` is asked for each download of a blob of which the path contains `blob`: the first one is number 0.
    pub(crate) fn start(
        registry: &str,
        blob: &str,
        fault: impl Fn(usize) -> Fault + Send + Sync + 'static,
    ) -> Self {
        let (registry, blob) = (registry.to_owned(), format!("/blobs/sha256:{blob}"));
        let ranges = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&ranges);
        let server = Server::serve(move |stream, _| {
            let Some(request) = Request::read(stream) else { return };
            let fault = if request.path.contains(&blob) {
                let mut seen = seen.lock().unwrap();
                seen.push(request.header("range").map(str::to_owned));
                fault(seen.len() - 1)
            } else {
                Fault::default()
            };
            pass(&request, &registry, stream, fault);
        });
        Self { server, ranges }
    }
}

/// Errors end it: `bottle` may have gone.
fn pass(request: &Request, registry: &str, mut to: &TcpStream, fault: Fault) {
    let mut from = TcpStream::connect(registry).unwrap();
    let left_out = if fault.no_ranges { "range" } else { "" };
    from.write_all(request.head(left_out).as_bytes()).unwrap();
    let mut buffer = vec![0; 16 << 10];
    let mut at = 0;
    loop {
        let left = fault.cut.map_or(buffer.len(), |cut| buffer.len().min(cut - at));
        let n = from.read(&mut buffer[..left]).unwrap_or_default();
        if n == 0 {
            break;
        }
        if let Some(place) = fault.flip.filter(|place| (at..at + n).contains(place)) {
            buffer[place - at] ^= 1;
        }
        if to.write_all(&buffer[..n]).is_err() {
            return;
        }
        at += n;
    }
    if fault.stays_open {
        // Until the other side has had enough.
        to.read(&mut buffer).map(drop).unwrap_or_default();
    }
    to.shutdown(Shutdown::Both).unwrap_or_default();
}
