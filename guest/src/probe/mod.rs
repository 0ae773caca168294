//! Tries to get out of the guest, by every way that [`Attempt`] knows, first as root and then as an ordinary user, and
//! reports what came of it. What that means is for the host to judge, which also knows what arrived there.
//!
//! It is this program's file because that one is in every guest, out of the image's reach: `/proc/1/exe probe`.

mod look;
mod network;
mod tsi;

use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bottle_protocol::probe::{Attempt, ProbeOutcome, ProbePlan, ProbeReport, read_probe, write_probe};

use crate::sys;

/// So many at the same time.
const BATCH: usize = 16;

/// For a batch. Whatever is refused is so at once; what is not, may wait for somebody at the end of the world.
const BATCH_LIMIT: Duration = Duration::from_secs(6);

/// For an answer, where one is waited for.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// Whose rights an attempt is made with.
#[derive(Debug, Clone, Copy)]
enum Who {
    Root,
    User { uid: u32, gid: u32 },
}

/// What an attempt leaves open until the host has looked.
type Held = Arc<Mutex<Vec<Box<dyn Send>>>>;

/// Reads the plan from stdin, writes the report to stdout, and waits for the end of stdin.
///
/// # Errors
/// When either can't be done.
pub fn run() -> io::Result<()> {
    let plan: ProbePlan = read_probe(&mut io::stdin().lock())?;
    let held = Held::default();
    let user = Who::User { uid: plan.uid, gid: plan.gid };
    let report =
        ProbeReport { as_root: round(&plan, Who::Root, &held)?, as_user: round(&plan, user, &held)? };
    write_probe(&mut io::stdout().lock(), &report)?;
    io::copy(&mut io::stdin().lock(), &mut io::sink()).map(drop)
}

/// All attempts, each on a thread of its own: one that is stuck holds up nobody, and goes with the process.
fn round(plan: &ProbePlan, who: Who, held: &Held) -> io::Result<Vec<ProbeOutcome>> {
    let token: Arc<[u8]> = plan.token.clone().into();
    let mut outcomes = Vec::new();
    for batch in plan.attempts.chunks(BATCH) {
        let (sender, receiver) = mpsc::channel();
        for (index, attempt) in batch.iter().cloned().enumerate() {
            let (sender, held, token) = (sender.clone(), Arc::clone(held), Arc::clone(&token));
            thread::Builder::new().stack_size(256 * 1024).spawn(move || {
                let outcome = make(&attempt, who, &token, &held);
                sender.send((index, outcome)).unwrap_or_default();
            })?;
        }
        drop(sender);
        let mut done = vec![ProbeOutcome::Silence; batch.len()];
        let deadline = Instant::now() + BATCH_LIMIT;
        while let Ok((index, outcome)) =
            receiver.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            done[index] = outcome;
        }
        outcomes.extend(done);
    }
    Ok(outcomes)
}

fn make(attempt: &Attempt, who: Who, token: &[u8], held: &Held) -> ProbeOutcome {
    if let Who::User { uid, gid } = who
        && let Err(error) = sys::become_user_on_this_thread(uid, gid)
    {
        return ProbeOutcome::Failed(format!("cannot become user {uid}: {error}"));
    }
    let is_root = matches!(who, Who::Root);
    let result = match attempt {
        Attempt::Connect(transport, to) => network::connect(*transport, *to, token),
        Attempt::SendTo(to) => network::send_to(*to, token),
        Attempt::Listen(at) => network::listen(*at, held),
        Attempt::Tsi(request) => tsi::ask(request, token, held),
        Attempt::Vsock { cid, port } => network::vsock(*cid, *port),
        Attempt::Icmp { raw, to } => network::ping(*raw, *to),
        Attempt::Interfaces => look::interfaces(),
        Attempt::Devices => look::devices(),
        Attempt::Open(path) => look::open(path, is_root),
        Attempt::Mounts(expected) => look::mounts(expected),
        Attempt::Mount(tag) => look::mount(tag),
    };
    result.unwrap_or_else(|error| match error.raw_os_error() {
        Some(number) => ProbeOutcome::Refused(number),
        None if error.kind() == io::ErrorKind::TimedOut => ProbeOutcome::Silence,
        None => ProbeOutcome::Failed(error.to_string()),
    })
}

fn hold(held: &Held, what: impl Send + 'static) {
    held.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(what));
}
