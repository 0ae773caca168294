//! The fork and what happens up to the exec. The child reports over a close-on-exec pipe what stopped it; end of file
//! on that pipe means that the program runs.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char, c_int};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;

use bottle_protocol::{ExecFailure, FailureKind, TtySize};
use rustix::fs::{Mode, OFlags, open};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{InputModes, OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use super::command::{Command, other};
use crate::reaper::{Child, Reaper};
use crate::sys;

/// What a process's streams are to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) tty: Option<TtySize>,
    pub(crate) null_stdin: bool,
    pub(crate) null_output: bool,
}

/// Our ends of a process's streams, none of which blocks. What is `/dev/null` has none.
#[derive(Debug)]
pub(crate) enum Streams {
    Pipes { stdin: Option<OwnedFd>, output: Option<(OwnedFd, OwnedFd)> },
    Terminal(OwnedFd),
}

/// The steps that can fail in the child.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
enum Step {
    Session = 1,
    Streams,
    Directory,
    Identity,
    Exec,
}

/// Starts a prepared process.
pub(crate) fn start(
    command: &Command,
    wanted: Wanted,
    reaper: &Reaper,
) -> Result<(Child, Streams), ExecFailure> {
    let failed = |what: &str, error: io::Error| other(format!("{what}: {error}"));
    let (streams, theirs) =
        open_streams(command, wanted).map_err(|error| failed("cannot open streams", error))?;
    let (report, reporter) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed("cannot open a pipe", error.into()))?;

    let argv = pointers(&command.argv);
    let env = pointers(&command.env);
    let groups = &command.identity.groups;
    let prepared = Prepared {
        programs: &command.programs,
        argv: &argv,
        env: &env,
        cwd: &command.cwd,
        stdio: theirs.each_ref().map(AsRawFd::as_raw_fd),
        terminal: wanted.tty.is_some(),
        identity: needs_identity(command).then_some((
            command.identity.uid,
            command.identity.gid,
            &groups[..],
        )),
        report: reporter.as_raw_fd(),
    };
    // SAFETY: the child runs `prepared.run`, which makes system calls only: it neither allocates nor takes a lock.
    let child = reaper.spawn(|| match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => prepared.run(),
        pid => Ok(pid),
    });
    drop((reporter, theirs));
    let child = child.map_err(|error| failed("cannot start a process", error))?;
    match read_report(&report) {
        None => Ok((child, streams)),
        Some((step, errno)) => Err(explain(command, step, io::Error::from_raw_os_error(errno))),
    }
}

/// Our ends, and the process's stdin, stdout and stderr.
fn open_streams(command: &Command, wanted: Wanted) -> io::Result<(Streams, [OwnedFd; 3])> {
    if let Some(size) = wanted.tty {
        let (master, slave) = open_terminal(command, size)?;
        return Ok((Streams::Terminal(master), [slave.try_clone()?, slave.try_clone()?, slave]));
    }
    let (their_stdin, stdin) = if wanted.null_stdin {
        (open_null()?, None)
    } else {
        let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
        (share(theirs, &ours, command)?, Some(ours))
    };
    if wanted.null_output {
        let null = open_null()?;
        return Ok((Streams::Pipes { stdin, output: None }, [their_stdin, null.try_clone()?, null]));
    }
    let (stdout, their_stdout) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, their_stderr) = pipe_with(PipeFlags::CLOEXEC)?;
    let theirs =
        [their_stdin, share(their_stdout, &stdout, command)?, share(their_stderr, &stderr, command)?];
    Ok((Streams::Pipes { stdin, output: Some((stdout, stderr)) }, theirs))
}

/// Makes a pipe ready: our end never blocks, and theirs can be opened by the user under `/dev/stdout` and the like.
fn share(theirs: OwnedFd, ours: &OwnedFd, command: &Command) -> io::Result<OwnedFd> {
    sys::set_nonblocking(ours)?;
    give_to_user(&theirs, command)?;
    Ok(theirs)
}

fn open_null() -> io::Result<OwnedFd> {
    Ok(open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
}

/// A terminal of this size: our end, which does not block, and the process's.
fn open_terminal(command: &Command, size: TtySize) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    unlockpt(&master)?;
    let slave = ioctl_tiocgptpeer(&master, flags)?;
    resize(&master, size)?;
    // The kernel's own settings are for single bytes: backspace would take half a character.
    let mut modes = tcgetattr(&slave)?;
    modes.input_modes |= InputModes::IUTF8;
    tcsetattr(&slave, OptionalActions::Now, &modes)?;
    // So that the user can open their terminal by name. The file system decides the group.
    give_to_user(&slave, command)?;
    sys::set_nonblocking(&master)?;
    Ok((master, slave))
}

fn give_to_user(theirs: &OwnedFd, command: &Command) -> io::Result<()> {
    if needs_identity(command) {
        let owner = rustix::fs::Uid::from_raw(command.identity.uid);
        rustix::fs::fchown(theirs, Some(owner), None)?;
    }
    Ok(())
}

/// Sets a terminal's size; its foreground processes get SIGWINCH.
pub(crate) fn resize(terminal: &OwnedFd, size: TtySize) -> io::Result<()> {
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(tcsetwinsize(terminal, size)?)
}

/// An agent that is not root (on a developer's machine) can run processes as itself.
fn needs_identity(command: &Command) -> bool {
    let identity = &command.identity;
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    uid.is_root() || uid.as_raw() != identity.uid || gid.as_raw() != identity.gid
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}

fn read_report(report: &OwnedFd) -> Option<(u8, i32)> {
    let mut bytes = [0; 5];
    let mut have = 0;
    while have < bytes.len() {
        match rustix::io::read(report, &mut bytes[have..]) {
            Ok(0) => return None,
            Ok(count) => have += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
    let [step, a, b, c, d] = bytes;
    Some((step, i32::from_ne_bytes([a, b, c, d])))
}

fn explain(command: &Command, step: u8, error: io::Error) -> ExecFailure {
    let text = |string: &CString| String::from_utf8_lossy(string.as_bytes()).into_owned();
    let program = command.argv.first().map(text).unwrap_or_default();
    let reason = match error.raw_os_error() {
        Some(libc::ENOENT) => "no such file or directory".to_owned(),
        Some(libc::EACCES) => "permission denied".to_owned(),
        Some(libc::ENOTDIR) => "not a directory".to_owned(),
        Some(libc::ENOEXEC) => {
            "not a program of this machine's kind, nor a script with a `#!` line".to_owned()
        }
        _ => error.to_string(),
    };
    if step == Step::Directory as u8 {
        let message = format!("working directory `{}`: {reason}", text(&command.cwd));
        return ExecFailure { kind: FailureKind::BadDirectory, message };
    }
    if step == Step::Identity as u8 {
        let message = format!("cannot become uid {}: {reason}", command.identity.uid);
        return ExecFailure { kind: FailureKind::NoSuchUser, message };
    }
    if step != Step::Exec as u8 {
        return other(format!("`{program}` could not be started: {reason}"));
    }
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) if program.contains('/') => {
            ExecFailure { kind: FailureKind::NotFound, message: format!("`{program}`: {reason}") }
        }
        Some(libc::ENOENT | libc::ENOTDIR) => ExecFailure {
            kind: FailureKind::NotFound,
            message: format!("`{program}`: not found in the guest's PATH"),
        },
        _ => ExecFailure { kind: FailureKind::NotExecutable, message: format!("`{program}`: {reason}") },
    }
}

/// Everything the child touches.
struct Prepared<'a> {
    programs: &'a [CString],
    argv: &'a [*const c_char],
    env: &'a [*const c_char],
    cwd: &'a CString,
    stdio: [RawFd; 3],
    terminal: bool,
    identity: Option<(u32, u32, &'a [u32])>,
    report: RawFd,
}

impl Prepared<'_> {
    /// Runs in the child, after the fork, and never returns.
    fn run(&self) -> ! {
        let step = self.become_program();
        // SAFETY: `errno` is this thread's own; the report is written from an array that lives through the call.
        unsafe {
            let errno = (*libc::__errno_location()).to_ne_bytes();
            let bytes = [step as u8, errno[0], errno[1], errno[2], errno[3]];
            libc::write(self.report, bytes.as_ptr().cast(), bytes.len());
            libc::_exit(127)
        }
    }

    /// Returns the step that failed, with `errno` set.
    fn become_program(&self) -> Step {
        // SAFETY: plain system calls on descriptors, pointers and lengths that the parent prepared and that outlive
        // this function: it ends in an exec or an exit. The arrays of pointers end in null.
        unsafe {
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
            for signal in
                [libc::SIGPIPE, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGHUP, libc::SIGCHLD]
            {
                libc::signal(signal, libc::SIG_DFL);
            }
            libc::umask(0o022);
            if libc::setsid() < 0 {
                return Step::Session;
            }
            if self.terminal && libc::ioctl(self.stdio[0], libc::TIOCSCTTY as _, 0) < 0 {
                return Step::Streams;
            }
            if !self.place_stdio() {
                return Step::Streams;
            }
            // As root, before becoming the user: that is how docker enters the working directory.
            if libc::chdir(self.cwd.as_ptr()) < 0 {
                return Step::Directory;
            }
            if let Some((uid, gid, groups)) = self.identity
                && (libc::setgroups(groups.len(), groups.as_ptr()) < 0
                    || libc::setresgid(gid, gid, gid) < 0
                    || libc::setresuid(uid, uid, uid) < 0)
            {
                return Step::Identity;
            }
            let errno = libc::__errno_location();
            let mut refused = false;
            *errno = libc::ENOENT;
            for program in self.programs {
                libc::execve(program.as_ptr(), self.argv.as_ptr(), self.env.as_ptr());
                match *errno {
                    libc::ENOENT | libc::ENOTDIR => {}
                    libc::EACCES => refused = true,
                    _ => return Step::Exec,
                }
            }
            if refused {
                *errno = libc::EACCES;
            }
            Step::Exec
        }
    }

    /// Puts the three streams at 0, 1 and 2. Where the parent itself runs without those, the streams may have got
    /// these numbers: so they are first moved out of the way.
    unsafe fn place_stdio(&self) -> bool {
        let mut moved = [-1; 3];
        for (from, to) in self.stdio.iter().zip(&mut moved) {
            // SAFETY: no memory is involved.
            *to = unsafe { libc::fcntl(*from, libc::F_DUPFD_CLOEXEC, 3 as c_int) };
            if *to < 0 {
                return false;
            }
        }
        // SAFETY: no memory is involved. The copies at 0 to 2 are kept across the exec.
        moved.iter().zip(0..).all(|(from, to)| unsafe { libc::dup2(*from, to) } >= 0)
    }
}
