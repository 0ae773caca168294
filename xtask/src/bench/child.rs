//! Running a program and reading from the kernel what it took.
#![allow(unsafe_code)]

use std::{
    io::{self, Read},
    iter::Sum,
    os::unix::process::ExitStatusExt,
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use crate::{
    error::{Context, Error, Result},
    kvm,
};

/// What a program took, or several one after the other.
#[derive(Clone, Copy, Default)]
pub(super) struct Cost {
    pub(super) took: Duration,
    /// The largest resident set (`ru_maxrss`). The kernel counts what the child had before its exec, too: none is below
    /// this program's own heap and stack, some MiB.
    pub(super) peak_kib: u64,
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::default(), |all, one| Self {
            took: all.took + one.took,
            peak_kib: all.peak_kib.max(one.peak_kib),
        })
    }
}

/// Runs `command` to its end, with its stdout on /dev/null, and demands success.
pub(super) fn run(command: &mut Command) -> Result<Cost> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let program = command.get_program().to_string_lossy().into_owned();
    let start = Instant::now();
    // It forks: a child that shares this program's memory up to its exec is counted with all of it.
    let mut child = kvm::dying_with_us(command, &[])?;
    let mut stderr = String::new();
    if let Some(mut from) = child.stderr.take() {
        from.read_to_string(&mut stderr).doing("read what a program says")?;
    }
    let (status, peak_kib) = wait(child.id()).doing("wait for a program")?;
    let took = start.elapsed();
    if status.success() {
        Ok(Cost { took, peak_kib })
    } else {
        Err(Error::Program { program, status, stderr })
    }
}

/// Waits for a child's end; also returns its largest resident set, in KiB.
fn wait(pid: u32) -> io::Result<(ExitStatus, u64)> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    let mut status = 0;
    loop {
        // SAFETY: an rusage is numbers only, for which zero is a value.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are to live variables of the types that the call writes.
        if unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) } == pid {
            // Linux counts it in KiB.
            return Ok((ExitStatus::from_raw(status), u64::try_from(usage.ru_maxrss).unwrap_or(0)));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_failure_are_seen() {
        // dd touches all of its buffer. What is counted of this program is far less, whatever else it tests meanwhile.
        let peak_mib = |buffer: &str| {
            let cost =
                run(Command::new("dd").args(["if=/dev/zero", "of=/dev/null", "count=1", buffer])).unwrap();
            cost.peak_kib >> 10
        };
        let (large, small) = (peak_mib("bs=300M"), peak_mib("bs=1M"));
        assert!((300..320).contains(&large) && small < 200, "{large} MiB, {small} MiB");
        let failed = run(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).err().unwrap().to_string();
        assert!(failed.contains("exit status: 3") && failed.ends_with("why"), "{failed}");
    }
}
