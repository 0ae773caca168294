//! The init's socket: one connection, one question, one answer.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use bottle_protocol::bundle::{Answer, LINE_LIMIT_BYTES, Request};

use super::Event;
use crate::log;

/// Who asks has the question at hand.
const QUESTION_LIMIT: Duration = Duration::from_secs(5);
/// At a time. A daemon that runs wild gets no more threads than these.
const CONNECTIONS_MAX: usize = 32;

static CONNECTIONS: AtomicUsize = AtomicUsize::new(0);

/// Makes the socket, for all users: what only root may ask is told from its credentials, which the kernel vouches for.
pub(super) fn listen(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

/// Takes connections for good.
pub(super) fn serve(listener: &UnixListener, events: &Sender<Event>) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        if CONNECTIONS.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
            CONNECTIONS.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let events = events.clone();
        let answering = super::spawn("question", move || {
            if let Err(error) = answer(stream, &events) {
                log(&format!("a question on the socket: {error}"));
            }
            CONNECTIONS.fetch_sub(1, Ordering::Relaxed);
        });
        if let Err(why) = answering {
            log(&why);
            CONNECTIONS.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn answer(mut stream: UnixStream, events: &Sender<Event>) -> io::Result<()> {
    stream.set_read_timeout(Some(QUESTION_LIMIT))?;
    stream.set_write_timeout(Some(QUESTION_LIMIT))?;
    let by_root = is_root(&stream)?;
    let mut line = Vec::new();
    BufReader::new(&stream).take(LINE_LIMIT_BYTES as u64).read_until(b'\n', &mut line)?;
    let (reply, answers) = mpsc::channel();
    let answer = match serde_json::from_slice::<Request>(&line) {
        Ok(request) => {
            if events.send(Event::Asked { request, by_root, reply }).is_err() {
                return Ok(());
            }
            // The deciding thread answers each question, or drops it when it ends.
            answers.recv().unwrap_or_else(|_| Answer::Refused("the init is ending".to_owned()))
        }
        // Not serde_json's words, which may quote a secret.
        Err(_) => Answer::Refused("the question is malformed".to_owned()),
    };
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    stream.write_all(&text)
}

#[cfg(target_os = "linux")]
fn is_root(stream: &UnixStream) -> io::Result<bool> {
    Ok(rustix::net::sockopt::socket_peercred(stream)?.uid.is_root())
}

/// Containers are Linux; elsewhere this only has to compile.
#[cfg(not(target_os = "linux"))]
fn is_root(_stream: &UnixStream) -> io::Result<bool> {
    Ok(false)
}
