//! The probe itself.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use bottle_protocol::probe::{ProbePlan, ProbeReport, read_probe, write_probe};

use super::canary::Canaries;
use super::judge::judge;
use super::plan::{Host, LISTENERS_LIMIT, Policy, Way, mountpoint, ways};
use super::report::{Finding, Report, Verdict};
use super::sys;
use crate::state::{self, Found, StateError};
use crate::vm::agent::{Agent, AgentError, ExecEvent, ExecRequest};

/// Init, whose program the prober is.
const PROBER: [&str; 2] = ["/proc/1/exe", "probe"];

/// The ordinary user: nobody, on every Linux.
const NOBODY: u32 = 65534;

/// The prober gives each batch of attempts six seconds, most of which go nowhere at once; an emulated machine takes its time.
const PROBER_LIMIT: Duration = Duration::from_secs(300);

/// A report of all attempts is some dozen KiB.
const REPORT_LIMIT_BYTES: usize = 4 * 1024 * 1024;

/// Of which no listener may come to be.
const FREE_PORTS: usize = 6;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// There is no such bottle, or it does not run.
    #[error(transparent)]
    State(#[from] StateError),
    /// It is not known what the guest may do.
    #[error("the record of the bottle {slug} does not say what its guest may connect to")]
    NoPolicy {
        /// The bottle.
        slug: String,
    },
    /// The prober can't be started, or went away.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// It said something else.
    #[error("the prober in the guest has not reported: {why}")]
    NoReport {
        /// What it did.
        why: String,
    },
    /// The host's side.
    #[error("cannot probe: {0}")]
    Host(#[from] io::Error),
}

impl ProbeError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::State(error) => error.hint(),
            Self::NoPolicy { .. } => {
                Some("it was started by an older bottle: stop it and start it again".to_owned())
            }
            Self::Agent(error) => AgentError::hint(error).map(str::to_owned),
            Self::NoReport { .. } => {
                Some("what runs in the guest keeps it from probing; `bottle logs --vm` has more".to_owned())
            }
            Self::Host(_) => None,
        }
    }
}

/// Has the bottle's guest try to get out.
///
/// # Errors
/// When nothing can be said: see [`ProbeError`]. A way out that was found is no error.
pub fn probe(slug: &str) -> Result<Report, ProbeError> {
    let bottle = state::find_running(slug)?;
    let no_policy = || ProbeError::NoPolicy { slug: slug.to_owned() };
    let record = bottle.record.as_ref().ok_or_else(no_policy)?;
    let policy = Policy::new(record.allowed.clone().ok_or_else(no_policy)?).map_err(|_| no_policy())?;
    let canaries = Canaries::start(&policy.allowed)?;
    let agent = Agent::new(bottle.agent_socket());
    let info = agent.info()?;
    let host = host(&bottle, &canaries)?;
    let ways = ways(&policy, &host);
    let plan = ProbePlan {
        attempts: ways.iter().map(|way| way.attempt.clone()).collect(),
        uid: NOBODY,
        gid: NOBODY,
        token: format!("bottle probe {slug}").into_bytes(),
    };
    let left_out = left_out(host.listeners.len());
    let ports = host.free_ports;
    let (report, listened) = run(agent.clone(), plan, move || new_listeners(&ports))?;
    let mut findings = judge(&ways, &report);
    findings.extend(left_out);
    findings.extend(of_host(&ways, "a listener on the host", listened?));
    findings.extend(of_host(&ways, "a call to the host", canaries.heard()?));
    // After all those requests, it still answers.
    agent.info()?;
    Ok(Report {
        bottle: slug.to_owned(),
        time: format!("{:.0}", jiff::Timestamp::now()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        libkrun: crate::vm::libkrun_version(),
        libkrun_patches: libkrun_sys::LIBKRUN_BUNDLED.then(|| libkrun_sys::LIBKRUN_PATCHES_SHA256.to_owned()),
        guest_kernel: crate::logs::without_controls(&info.kernel_release),
        policy: policy.rules.iter().map(ToString::to_string).collect(),
        findings: findings.into_iter().map(Finding::printable).collect(),
    })
}

fn host(bottle: &Found, canaries: &Canaries) -> io::Result<Host> {
    let own = canaries.tcp();
    let volumes = bottle.record.iter().flat_map(|record| &record.plan.machine.volumes);
    let mut listeners: Vec<SocketAddr> = sys::listeners()?.into_iter().map(reachable).collect();
    listeners.sort();
    listeners.dedup();
    listeners.retain(|address| !own.contains(address));
    // All at once, so that no two are the same; and free when this returns.
    let free = (0..FREE_PORTS).map(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)));
    let free = free.collect::<io::Result<Vec<_>>>()?;
    let free = free.iter().map(|listener| Ok(listener.local_addr()?.port()));
    Ok(Host {
        tcp: own,
        udp: canaries.udp(),
        unix: canaries.unix().into(),
        listeners,
        free_ports: free.collect::<io::Result<_>>()?,
        mountpoints: volumes.map(|volume| mountpoint(volume.guest().as_os_str())).collect(),
    })
}

/// Where somebody is reached who listens on all addresses.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Which of these ports cannot be had any more.
fn new_listeners(ports: &[u16]) -> io::Result<Vec<String>> {
    let mut taken = Vec::new();
    for port in ports {
        for ip in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        {
            match TcpListener::bind((ip, *port)) {
                Err(error) if error.kind() == ErrorKind::AddrInUse => taken.push(format!("{ip} port {port}")),
                // Bound and free again, or no such address on this host.
                _ => {}
            }
        }
    }
    Ok(taken)
}

/// What of the host's listeners was not tried. That it was not is not to pass for a refusal.
fn left_out(listeners: usize) -> Option<Finding> {
    let count = listeners.saturating_sub(LISTENERS_LIMIT);
    (count > 0).then(|| Finding {
        what: "somebody who listens on the host".to_owned(),
        who: None,
        verdict: Verdict::Untried,
        result: format!("{count} of {listeners} were left out"),
    })
}

fn of_host(ways: &[Way], what: &str, found: Vec<String>) -> Vec<Finding> {
    let finding = |verdict, result| Finding { what: what.to_owned(), who: None, verdict, result };
    if found.is_empty() {
        return vec![finding(Verdict::Refused, format!("none came of {} attempts", 2 * ways.len()))];
    }
    found.into_iter().map(|result| finding(Verdict::Found, result)).collect()
}

/// Runs the prober, and `look` while it holds what it got. On a thread: a guest can be silent for good.
fn run<T: Send + 'static>(
    agent: Agent,
    plan: ProbePlan,
    look: impl FnOnce() -> T + Send + 'static,
) -> Result<(ProbeReport, T), ProbeError> {
    let (sender, receiver) = mpsc::channel();
    std::thread::Builder::new().name("probe".to_owned()).spawn(move || {
        sender.send(converse(&agent, &plan, look)).unwrap_or_default();
    })?;
    let no_report = |why: String| ProbeError::NoReport { why };
    receiver.recv_timeout(PROBER_LIMIT).unwrap_or_else(|error| {
        Err(match error {
            RecvTimeoutError::Timeout => no_report(format!("not within {} s", PROBER_LIMIT.as_secs())),
            RecvTimeoutError::Disconnected => no_report("our own thread ended".to_owned()),
        })
    })
}

fn converse<T>(
    agent: &Agent,
    plan: &ProbePlan,
    look: impl FnOnce() -> T,
) -> Result<(ProbeReport, T), ProbeError> {
    let no_report = |why: String| ProbeError::NoReport { why };
    let mut exec = agent.exec(&ExecRequest::new(PROBER).user("0").cwd("/"))?;
    let mut stdin = exec.take_stdin().ok_or_else(|| no_report("it has no stdin".to_owned()))?;
    write_probe(&mut stdin, plan)?;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        match exec.next_event()? {
            ExecEvent::Stdout(bytes) => out.extend(bytes),
            ExecEvent::Stderr(bytes) => err.extend(bytes),
            ExecEvent::Exited(status) => {
                let said = crate::logs::without_controls(&String::from_utf8_lossy(&err));
                return Err(no_report(format!("it ended with {status}: {said}")));
            }
            ExecEvent::Detached => return Err(no_report("it was let go of".to_owned())),
        }
        if is_whole(&out) {
            let report = read_probe(&mut &out[..]).map_err(|error| no_report(error.to_string()))?;
            let looked = look();
            drop(stdin);
            return Ok((report, looked));
        }
        if out.len().max(err.len()) > REPORT_LIMIT_BYTES {
            return Err(no_report("it says too much".to_owned()));
        }
    }
}

/// Whether all of a report is there, by its own word for its length.
fn is_whole(bytes: &[u8]) -> bool {
    bytes.first_chunk().is_some_and(|len| bytes.len() - len.len() >= u32::from_le_bytes(*len) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_whole_when_its_last_byte_is_there() {
        let mut bytes = Vec::new();
        write_probe(&mut bytes, &ProbeReport { as_root: Vec::new(), as_user: Vec::new() }).unwrap();
        assert!(is_whole(&bytes));
        assert!((0..bytes.len()).all(|end| !is_whole(&bytes[..end])));
        assert!(!is_whole(&[0xff; 64]));
    }

    #[test]
    fn listeners_that_are_too_many_are_no_success() {
        assert_eq!(left_out(LISTENERS_LIMIT), None);
        assert!(left_out(LISTENERS_LIMIT + 1).is_some_and(|finding| !finding.verdict.is_good()));
    }

    #[test]
    fn a_port_that_somebody_took_is_seen() {
        let free = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        assert!(!new_listeners(&[port]).unwrap().is_empty());
        drop(free);
        assert_eq!(new_listeners(&[port]).unwrap(), [""; 0]);
    }
}
