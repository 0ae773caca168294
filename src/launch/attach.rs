//! Our stdin, stdout and stderr, joined to a process's, byte for byte.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;

use super::LaunchError;
use crate::vm::agent::{AgentError, Exec, ExecEvent, ExecStdin, ExitStatus};

/// One message of the protocol.
const PIECE_BYTES: usize = 64 * 1024;

/// Passes everything on until the process ends.
pub(super) fn attach(mut exec: Exec) -> Result<ExitStatus, LaunchError> {
    let host = |what| move |source| LaunchError::Host { what, source };
    if let Some(stdin) = exec.take_stdin() {
        let ours = own(io::stdin()).map_err(host("cannot read from stdin"))?;
        // Nobody waits for this thread: it may hang in a read of a terminal, and ends with the process.
        thread::Builder::new()
            .name("stdin".to_owned())
            .spawn(move || pass_stdin(ours, stdin))
            .map_err(host("cannot start a thread"))?;
    }
    let mut stdout = own(io::stdout()).map_err(host("cannot write to stdout"))?;
    let mut stderr = own(io::stderr()).map_err(host("cannot write to stderr"))?;
    loop {
        match exec.next_event()? {
            ExecEvent::Stdout(data) => write(&mut stdout, "stdout", &data)?,
            ExecEvent::Stderr(data) => write(&mut stderr, "stderr", &data)?,
            ExecEvent::Exited(status) => return Ok(status),
            ExecEvent::Detached => {
                return Err(AgentError::Detached { what: "the command runs".to_owned() }.into());
            }
        }
    }
}

/// Without the standard library's buffer: what a process writes is there when it has written it.
fn own(stream: impl AsFd) -> io::Result<File> {
    stream.as_fd().try_clone_to_owned().map(|fd: OwnedFd| File::from(fd))
}

fn write(to: &mut File, stream: &'static str, data: &[u8]) -> Result<(), LaunchError> {
    to.write_all(data).map_err(|source| LaunchError::Output { stream, source })
}

fn pass_stdin(mut from: File, mut to: ExecStdin) {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match from.read(&mut piece) {
            Ok(0) => break,
            // A process that does not want more is its own affair.
            Ok(count) if to.write_all(&piece[..count]).is_err() => break,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                log::warn!("cannot read from stdin: {error}");
                break;
            }
        }
    }
    to.close().unwrap_or_default();
}
