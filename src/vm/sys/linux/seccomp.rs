//! seccomp: the system calls that libkrun makes, as measured (`docs/SECURITY.md` says how), and none else.
//!
//! Several filters, of which the kernel takes the strictest answer:
//!
//! ```text
//! allowed     what is on the lists below, arguments included; the rest ends the process, and vmm.log says which call it was
//! unknown     clone3: "no such call", since its flags can't be looked at; the C library takes clone, whose flags can
//! refused     removing files and the like, which libkrun tries and can do without
//! sealed      from when the guest is up: what only a boot needs
//! ```

#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::{io, mem, ptr};

use libc::{c_int, c_long, c_void};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter, apply_filter_all_threads,
};

use crate::vm::confine::{Sharing, WallPart};

/// A call, and what its arguments must be: all conditions of one of the lists. No list: whatever they are.
type Rules = BTreeMap<c_long, Vec<Vec<Condition>>>;

/// The number of an argument, how much of it counts, how it is compared, and with what.
type Condition = (u8, SeccompCmpArgLen, SeccompCmpOp, u64);

/// The calls that are harmless with any argument, on what the process has open already.
const ALLOWED: &[c_long] = &[
    // Files, pipes, sockets.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_lseek,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_fallocate,
    libc::SYS_ftruncate,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_pipe2,
    // Which files, Landlock says.
    libc::SYS_openat,
    // Whereto, Landlock says; of which family, `socket`.
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_shutdown,
    libc::SYS_recvfrom,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    // Waiting.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_ppoll,
    libc::SYS_eventfd2,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_futex,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_restart_syscall,
    // Memory; `mmap` and `mprotect` are below.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    // Threads, and their end.
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Facts.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_uname,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
];

/// Old names that this architecture alone has.
#[cfg(target_arch = "x86_64")]
const ALLOWED_OLD: &[c_long] = &[libc::SYS_epoll_wait, libc::SYS_poll];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_OLD: &[c_long] = &[];

/// What libkrun does with the files in volumes that the guest reads.
const VOLUMES_READ: &[c_long] = &[
    libc::SYS_capget,
    libc::SYS_fgetxattr,
    libc::SYS_flistxattr,
    libc::SYS_getdents64,
    libc::SYS_lgetxattr,
    libc::SYS_llistxattr,
    libc::SYS_readlinkat,
    libc::SYS_umask,
];

/// And in those that it writes to.
const VOLUMES_WRITE: &[c_long] = &[
    libc::SYS_capset,
    libc::SYS_copy_file_range,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchownat,
    libc::SYS_fremovexattr,
    libc::SYS_fsetxattr,
    libc::SYS_linkat,
    libc::SYS_lremovexattr,
    libc::SYS_lsetxattr,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_renameat2,
    libc::SYS_setresgid,
    libc::SYS_setresuid,
    libc::SYS_symlinkat,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
];

/// What is answered with EACCES.
#[cfg(target_arch = "x86_64")]
const REFUSED: &[c_long] = &[libc::SYS_unlink, libc::SYS_readlink];
/// What is answered with EACCES.
#[cfg(not(target_arch = "x86_64"))]
const REFUSED: &[c_long] = &[];

/// The same, of what only volumes take.
const REFUSED_WITHOUT_VOLUMES: &[c_long] = &[libc::SYS_unlinkat, libc::SYS_readlinkat];

/// Whether the kernel has filters, and the one answer that not every kernel with filters has.
pub(super) fn part() -> WallPart {
    let state = if is_available() {
        Ok("seccomp".to_owned())
    } else {
        Err("a kernel with CONFIG_SECCOMP_FILTER".to_owned())
    };
    WallPart::new("system calls", state)
}

fn is_available() -> bool {
    let action: u32 = libc::SECCOMP_RET_TRAP;
    // SAFETY: the kernel reads the one number that the pointer is to.
    let answer =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) };
    answer == 0
}

/// Lets this thread, and those that it starts, make only the calls of a VMM, one with or without a network and volumes.
pub(super) fn install(network: bool, sharing: Sharing) -> io::Result<()> {
    if !is_available() {
        return Ok(());
    }
    report_violations()?;
    let mut allowed = allowed(network, sharing);
    let without_volumes = REFUSED_WITHOUT_VOLUMES.iter().filter(|call| !allowed.contains_key(*call));
    let refused: Vec<c_long> = REFUSED.iter().chain(without_volumes).copied().collect();
    allowed.extend(of(&refused));
    allowed.extend(of(&[libc::SYS_clone3]));
    let filters = [
        filter(of(&refused), SeccompAction::Allow, SeccompAction::Errno(libc::EACCES.cast_unsigned()))?,
        filter(
            of(&[libc::SYS_clone3]),
            SeccompAction::Allow,
            SeccompAction::Errno(libc::ENOSYS.cast_unsigned()),
        )?,
        filter(allowed, SeccompAction::Trap, SeccompAction::Allow)?,
    ];
    // The last one allows no more filters but by `seal`.
    filters.iter().try_for_each(|filter| apply_filter(filter).map_err(io::Error::other))
}

/// Takes away from all threads what only a boot needs: connections to the user's other programs, of which UNIX sockets
/// would be the way (a docker daemon, an agent with keys: no Landlock before version 9 keeps them), listeners, what of KVM
/// sets a machine up, and, where there are no volumes, files.
pub(super) fn seal(volumes: bool) -> io::Result<()> {
    if !is_available() {
        return Ok(());
    }
    let mut sealed = of(&[libc::SYS_bind, libc::SYS_listen]);
    sealed.insert(libc::SYS_socket, vec![vec![arg(0, SeccompCmpOp::Eq, bits(libc::AF_UNIX))]]);
    let mut kvm = vec![arg(1, SeccompCmpOp::MaskedEq(0xff00), KVM_REQUESTS << 8)];
    kvm.extend(KVM_OF_A_RUNNING_MACHINE.map(|request| arg(1, SeccompCmpOp::Ne, request)));
    sealed.insert(libc::SYS_ioctl, vec![kvm]);
    if !volumes {
        sealed.insert(libc::SYS_openat, Vec::new());
    }
    // The last filter of all.
    sealed.insert(libc::SYS_seccomp, Vec::new());
    let filter = filter(sealed, SeccompAction::Allow, SeccompAction::Errno(libc::EACCES.cast_unsigned()))?;
    apply_filter_all_threads(&filter).map_err(io::Error::other)
}

/// What a VMM may call.
fn allowed(network: bool, sharing: Sharing) -> Rules {
    use SeccompCmpOp::{Eq, MaskedEq, Ne};
    let mut rules = of(ALLOWED);
    rules.extend(of(ALLOWED_OLD));
    if sharing >= Sharing::ToRead {
        rules.extend(of(VOLUMES_READ));
    }
    if sharing >= Sharing::ToWrite {
        rules.extend(of(VOLUMES_WRITE));
    }
    let any_of = |index, values: &[u64]| values.iter().map(|value| vec![arg(index, Eq, *value)]).collect();
    let mut only = |call, lists: Vec<Vec<Condition>>| rules.insert(call, lists);

    // Threads of this process, in its namespaces.
    let thread = bits(libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD);
    let namespaces = libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWUTS;
    only(libc::SYS_clone, vec![vec![arg(0, MaskedEq(thread | bits(namespaces)), thread)]]);
    // Nothing that could be run gets into memory.
    let no_code = || vec![vec![arg(2, MaskedEq(bits(libc::PROT_EXEC)), 0)]];
    only(libc::SYS_mmap, no_code());
    only(libc::SYS_mprotect, no_code());
    // KVM's own requests; whether something is a terminal, and of which size; not to wait.
    let mut requests: Vec<Vec<Condition>> = any_of(1, &[libc::TCGETS, libc::TIOCGWINSZ, libc::FIONBIO]);
    requests.push(vec![arg(1, MaskedEq(0xff00), KVM_REQUESTS << 8)]);
    only(libc::SYS_ioctl, requests);
    let commands = [libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_SETFL];
    only(libc::SYS_fcntl, any_of(1, &commands.map(bits)));
    // Threads are given names, memory perhaps, too; the processor's abilities are read; and `seal`'s first call.
    let about = [libc::PR_SET_NAME, libc::PR_SET_VMA, PR_GET_AUXV, libc::PR_SET_NO_NEW_PRIVS];
    only(libc::SYS_prctl, any_of(0, &about.map(bits)));
    // Plain TCP: what Landlock does not look at, as MPTCP and SCTP, is not to be had.
    let families: &[c_int] =
        if network { &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6] } else { &[libc::AF_UNIX] };
    let stream = |family: &c_int| {
        let kind = MaskedEq(bits(!(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK)));
        vec![arg(0, Eq, bits(*family)), arg(1, kind, bits(libc::SOCK_STREAM)), arg(2, Eq, 0)]
    };
    only(libc::SYS_socket, families.iter().map(stream).collect());
    let option = |level, name| vec![arg(1, Eq, bits(level)), arg(2, Eq, bits(name))];
    // Time limits have a number for each size of a time.
    let options =
        [libc::SO_REUSEPORT, libc::SO_RCVTIMEO, libc::SO_SNDTIMEO, SO_RCVTIMEO_NEW, SO_SNDTIMEO_NEW];
    let mut options: Vec<_> = options.map(|name| option(libc::SOL_SOCKET, name)).into();
    options.push(option(libc::IPPROTO_TCP, libc::TCP_NODELAY));
    only(libc::SYS_setsockopt, options);
    // To where the socket is connected; and not connecting it on the way, which Landlock would not see.
    let nowhere_else = (4, SeccompCmpArgLen::Qword, Eq, 0);
    only(libc::SYS_sendto, vec![vec![arg(3, MaskedEq(bits(libc::MSG_FASTOPEN)), 0), nowhere_else]]);
    // Threads of its own, and the handler of forbidden calls stays.
    only(libc::SYS_tgkill, vec![vec![arg(0, Eq, u64::from(std::process::id()))]]);
    only(libc::SYS_rt_sigaction, vec![vec![arg(0, Ne, bits(libc::SIGSYS))]]);
    // For `seal`, which is for all threads, and asks first.
    let ask = vec![arg(0, Eq, u64::from(libc::SECCOMP_GET_ACTION_AVAIL))];
    only(libc::SYS_seccomp, vec![ask, vec![arg(1, Eq, libc::SECCOMP_FILTER_FLAG_TSYNC)]]);
    rules
}

/// Linux 5.1 (asm-generic/socket.h).
const SO_RCVTIMEO_NEW: c_int = 66;
const SO_SNDTIMEO_NEW: c_int = 67;

/// Linux 6.4.
const PR_GET_AUXV: c_int = 0x4155_5856;

/// A condition on an argument that is an int.
fn arg(index: u8, op: SeccompCmpOp, value: u64) -> Condition {
    (index, SeccompCmpArgLen::Dword, op, value)
}

/// The group of request numbers that is KVM's (ioctl-number.rst).
const KVM_REQUESTS: u64 = 0xae;

/// What libkrun asks of a machine that runs: to run on (KVM_RUN), and on x86_64 that its interrupts go where the guest wants
/// them (KVM_IRQ_LINE, KVM_SET_GSI_ROUTING).
const KVM_OF_A_RUNNING_MACHINE: [u64; 3] = [0xae80, 0x4008_ae61, 0x4008_ae6a];

/// Of flags, as the kernel compares them.
fn bits(flags: c_int) -> u64 {
    u64::from(flags.cast_unsigned())
}

/// These calls, with any arguments.
fn of(calls: &[c_long]) -> Rules {
    calls.iter().map(|call| (*call, Vec::new())).collect()
}

fn filter(rules: Rules, otherwise: SeccompAction, matching: SeccompAction) -> io::Result<BpfProgram> {
    let compiled = || -> Result<BpfProgram, seccompiler::BackendError> {
        let condition = |(index, len, op, value)| SeccompCondition::new(index, len, op, value);
        let rule = |list: Vec<Condition>| {
            SeccompRule::new(list.into_iter().map(condition).collect::<Result<_, _>>()?)
        };
        let rules = rules.into_iter().map(|(call, lists)| {
            Ok::<_, seccompiler::BackendError>((call, lists.into_iter().map(rule).collect::<Result<_, _>>()?))
        });
        let arch = std::env::consts::ARCH.try_into()?;
        SeccompFilter::new(rules.collect::<Result<_, _>>()?, otherwise, matching, arch)?.try_into()
    };
    compiled().map_err(io::Error::other)
}

/// Has the process end by SIGSYS on a forbidden call, after a line on stderr about it.
fn report_violations() -> io::Result<()> {
    // SAFETY: all zeros is a sigaction.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_violation;
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER | libc::SA_RESETHAND | libc::SA_ONSTACK;
    // SAFETY: the action is complete, and its handler does only what a handler may.
    let answer = unsafe { libc::sigaction(libc::SIGSYS, &raw const action, ptr::null_mut()) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The default action is back already: the signal, sent again, is the end.
extern "C" fn on_violation(signal: c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    // siginfo_t for SIGSYS: three numbers and padding, the caller's address, the call (sigaction(2)).
    const CALL_AT: usize = 24;
    const WORDS: &[u8] = b"a system call is not allowed to the VMM: its seccomp filter ends it at number ";
    // SAFETY: the kernel gave a whole siginfo_t, which is larger than that; every number there is an int.
    let call = unsafe { info.cast::<u8>().add(CALL_AT).cast::<c_int>().read_unaligned() };
    let mut digits = *b"          \n";
    let mut at = digits.len() - 1;
    let mut rest = call.unsigned_abs();
    while at > 0 {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    // SAFETY: both may be called in a handler; the text lives through the call.
    unsafe {
        for text in [WORDS, &digits[at..]] {
            libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len());
        }
        libc::raise(signal);
    }
}
