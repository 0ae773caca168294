//! Our stdin, stdout and stderr, joined to a process's, byte for byte.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::detach_keys::{DetachKeys, KeyWatch};
use super::terminal::RawTerminal;
use super::{LaunchError, keys};
use crate::vm::agent::{Exec, ExecEvent, ExecStdin, ExitStatus};

/// One message of the protocol.
const PIECE_BYTES: usize = 64 * 1024;

/// How we parted from a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attached {
    /// It ended.
    Exited(ExitStatus),
    /// It goes on without us.
    Detached,
}

/// Passes everything on until the process ends or is detached. Stdin is passed on if the process was started with one; with
/// our terminal raw it is read key by key, and `detach` are the keys that detach. Tells when its first output has been passed on.
pub(super) fn attach(
    mut exec: Exec,
    raw: Option<&RawTerminal>,
    detach: Option<DetachKeys>,
    on_first_output: impl FnOnce(),
) -> Result<Attached, LaunchError> {
    let host = |what| move |source| LaunchError::Host { what, source };
    if let Some(stdin) = exec.take_stdin() {
        let ours = own(io::stdin()).map_err(host("cannot read from stdin"))?;
        let control = raw.map(|_| exec.control());
        // Nobody waits for this thread: it may hang in a read of a terminal, and ends with the process.
        thread::Builder::new()
            .name("stdin".to_owned())
            .spawn(move || match control {
                Some(control) => keys::pass(&ours.into(), stdin, &control, KeyWatch::new(detach)),
                None => pass_stdin(ours, stdin),
            })
            .map_err(host("cannot start a thread"))?;
    }
    let mut stdout = own(io::stdout()).map_err(host("cannot write to stdout"))?;
    let mut stderr = own(io::stderr()).map_err(host("cannot write to stderr"))?;
    let mut on_first_output = Some(on_first_output);
    loop {
        match exec.next_event()? {
            ExecEvent::Stdout(data) => write(&mut stdout, "stdout", &data)?,
            ExecEvent::Stderr(data) => write(&mut stderr, "stderr", &data)?,
            ExecEvent::Exited(status) => return Ok(Attached::Exited(status)),
            ExecEvent::Detached => return Ok(Attached::Detached),
        }
        if let Some(tell) = on_first_output.take() {
            tell();
        }
    }
}

/// Without the standard library's buffer: what a process writes is there when it has written it.
fn own(stream: impl AsFd) -> io::Result<File> {
    stream.as_fd().try_clone_to_owned().map(|fd: OwnedFd| File::from(fd))
}

fn write(to: &mut File, stream: &'static str, data: &[u8]) -> Result<(), LaunchError> {
    write_all(to, data).map_err(|source| LaunchError::Output { stream, source })
}

fn write_all(to: &mut File, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        match to.write(data) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => data = &data[count..],
            Err(error) => wait_or_fail(to, PollFlags::OUT, error)?,
        }
    }
    Ok(())
}

/// For a stream that somebody who shares it with us has made answer at once: waits until it has something to say.
fn wait_or_fail(stream: &File, what: PollFlags, error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::Interrupted => Ok(()),
        io::ErrorKind::WouldBlock => match poll(&mut [PollFd::new(stream, what)], None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        },
        _ => Err(error),
    }
}

fn pass_stdin(mut from: File, mut to: ExecStdin) {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match from.read(&mut piece) {
            Ok(0) => break,
            // A process that does not want more is its own affair.
            Ok(count) if to.write_all(&piece[..count]).is_err() => break,
            Ok(_) => {}
            Err(error) => {
                if let Err(error) = wait_or_fail(&from, PollFlags::IN, error) {
                    log::warn!("cannot read from stdin: {error}");
                    break;
                }
            }
        }
    }
    to.close().unwrap_or_default();
}
