//! Asks the init of the same container.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bottle_protocol::bundle::{Answer, CONTROL_PATH, LINE_LIMIT_BYTES, Request};

/// The init answers from memory, at once, but for a wait that was asked for.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// The init listens within milliseconds of its start; on a machine that is busy, or emulated, a second.
const START_LIMIT: Duration = Duration::from_secs(10);
/// Between two looks whether it does.
const RETRY: Duration = Duration::from_millis(5);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("the init does not answer on {socket}: {source}", socket = socket(), source = .0)]
    Io(#[from] io::Error),
    #[error("the init's answer is malformed: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// The init's socket; elsewhere than in a container if `BOTTLE_SIDECAR_SOCKET` says so.
pub(crate) fn socket() -> String {
    std::env::var("BOTTLE_SIDECAR_SOCKET").unwrap_or_else(|_| CONTROL_PATH.to_owned())
}

/// Connects; within the time that the question may wait, an init that has only just been started gets round to listening.
fn connect(wait: Duration) -> io::Result<UnixStream> {
    let deadline = Instant::now().checked_add(wait).unwrap_or_else(Instant::now);
    loop {
        match UnixStream::connect(socket()) {
            Err(error) if Instant::now() < deadline => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => std::thread::sleep(RETRY),
                _ => return Err(error),
            },
            result => return result,
        }
    }
}

/// One question, one answer.
pub(crate) fn ask(request: &Request) -> Result<Answer, ClientError> {
    let wait = match request {
        Request::Status { wait_ms } => Duration::from_millis(*wait_ms),
        Request::Secrets(_) => START_LIMIT,
    };
    let mut stream = connect(wait)?;
    stream.set_read_timeout(Some(wait.saturating_add(ANSWER_LIMIT)))?;
    stream.set_write_timeout(Some(ANSWER_LIMIT))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = Vec::new();
    stream.take(LINE_LIMIT_BYTES as u64).read_to_end(&mut answer)?;
    Ok(serde_json::from_slice(&answer)?)
}
