//! The proposals, in memory and on disk.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bottle_gates::file;
use bottle_gates::grant::{Grant, Invalid};
use bottle_gates::proposal::{self, Answer, FILES_MAX, Proposal, VERSION, WAITING_MAX};
use bottle_gates::supervise::SuperviseConfig;
use tokio::sync::watch;

/// How often another random ID is tried: with 2^32 of them and a few hundred in use, twice in a row is unheard of.
const ID_TRIES: u32 = 8;

/// Why nothing was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("{0}")]
    Invalid(#[from] Invalid),
    #[error("there is no upstream {name:?}; there are: {}", list(.known))]
    NoUpstream { name: String, known: Vec<String> },
    #[error("{WAITING_MAX} proposals wait for the operator already; wait until some are answered")]
    Full,
    #[error("the proposal could not be put down: {0}")]
    Io(#[from] io::Error),
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// What has been asked, and what was answered.
pub(super) struct Queue {
    state: Mutex<State>,
    /// Says to those who wait that there may be answers.
    looked: watch::Sender<()>,
}

struct State {
    config: SuperviseConfig,
    /// By ID.
    asked: BTreeMap<String, Asked>,
}

struct Asked {
    proposal: Proposal,
    answer: Option<Answer>,
}

impl Queue {
    /// The queue as it was left.
    pub(super) fn open(config: SuperviseConfig) -> io::Result<Self> {
        let mut asked = BTreeMap::new();
        for id in file::names(&config.proposals, FILES_MAX, proposal::is_id)? {
            match Proposal::read(&config.proposals, &id) {
                Ok(proposal) => drop(asked.insert(id, Asked { proposal, answer: None })),
                Err(error) => eprintln!("supervise: proposal {id} is left out: {error}"),
            }
        }
        let queue = Self { state: Mutex::new(State { config, asked }), looked: watch::Sender::new(()) };
        queue.look();
        Ok(queue)
    }

    /// Takes another configuration; the directories stay those of the start, where the proposals are.
    pub(super) fn reconfigure(&self, config: SuperviseConfig) {
        let mut state = self.lock();
        let State { config: old, .. } = &mut *state;
        *old = SuperviseConfig { proposals: old.proposals.clone(), answers: old.answers.clone(), ..config };
    }

    /// Looks for answers, and wakes those who wait.
    pub(super) fn look(&self) {
        self.lock().look();
        self.looked.send_replace(());
    }

    /// Puts a proposal down, and returns its ID; or that of one that asks for the same and is not settled otherwise.
    pub(super) fn ask(&self, grant: &Grant, reason: &str) -> Result<String, AskError> {
        let mut proposal = Proposal {
            version: VERSION,
            id: "00000000".to_owned(),
            asked: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs(),
            grant: grant.clone(),
            reason: proposal::one_line(reason),
        };
        proposal.check()?;
        let mut state = self.lock();
        state.look();
        if let Grant::Push(push) = grant
            && !state.config.upstreams.contains(&push.upstream)
        {
            let known = state.config.upstreams.clone();
            return Err(AskError::NoUpstream { name: push.upstream.clone(), known });
        }
        if let Some((id, _)) = state.asked.iter().find(|(_, asked)| asked.settles(&proposal)) {
            return Ok(id.clone());
        }
        if state.asked.values().filter(|asked| asked.answer.is_none()).count() >= WAITING_MAX {
            return Err(AskError::Full);
        }
        state.make_room()?;
        state.put_down(&mut proposal)?;
        eprintln!("supervise: {} asks to {grant}", proposal.id);
        let id = proposal.id.clone();
        state.asked.insert(id.clone(), Asked { proposal, answer: None });
        Ok(id)
    }

    /// Waits for the answer, for as long as the configuration says. Safe to drop.
    pub(super) async fn answer(&self, id: &str) -> Option<Answer> {
        let mut looked = self.looked.subscribe();
        let limit = Duration::from_secs(self.lock().config.wait_seconds);
        let answered = async {
            loop {
                if let Some(answer) = self.answer_now(id) {
                    return answer;
                }
                // The sender is a part of `self`: there is no end.
                if looked.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        if let Ok(answer) = tokio::time::timeout(limit, answered).await {
            return Some(answer);
        }
        // Perhaps whoever answered could not tell us.
        self.lock().look();
        self.answer_now(id)
    }

    fn answer_now(&self, id: &str) -> Option<Answer> {
        self.lock().asked.get(id)?.answer.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change of it is complete, whatever panics in between.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asked {
    /// Is there no need to ask this as well? It is refused once for each reason, and granted once for all.
    fn settles(&self, other: &Proposal) -> bool {
        let refused = self.answer.as_ref().is_some_and(|answer| !answer.approved);
        self.proposal.grant == other.grant && (!refused || self.proposal.reason == other.reason)
    }
}

impl State {
    fn look(&mut self) {
        let dir = &self.config.answers;
        for (id, asked) in self.asked.iter_mut().filter(|(_, asked)| asked.answer.is_none()) {
            match Answer::read(dir, id) {
                Ok(answer) => asked.answer = answer,
                Err(error) => eprintln!("supervise: the answer to {id} can't be read: {error}"),
            }
        }
    }

    /// Forgets the oldest proposals that were answered, if there are too many.
    fn make_room(&mut self) -> io::Result<()> {
        while self.asked.len() >= FILES_MAX {
            let answered = self.asked.iter().filter(|(_, asked)| asked.answer.is_some());
            let oldest = answered.min_by_key(|(_, asked)| asked.proposal.asked).map(|(id, _)| id.clone());
            // Of those that wait there are fewer.
            let Some(id) = oldest else { return Ok(()) };
            match std::fs::remove_file(Proposal::path(&self.config.proposals, &id)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => drop(self.asked.remove(&id)),
            }
        }
        Ok(())
    }

    /// Writes the proposal under an ID that nobody has.
    fn put_down(&self, proposal: &mut Proposal) -> io::Result<()> {
        let mut tries = 0;
        loop {
            proposal.id = random_id()?;
            // An answer without a proposal is one to a proposal that was forgotten.
            let is_free = Answer::read(&self.config.answers, &proposal.id)?.is_none();
            let created = if is_free {
                file::create(&Proposal::path(&self.config.proposals, &proposal.id), proposal)
            } else {
                Err(io::ErrorKind::AlreadyExists.into())
            };
            match created {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries < ID_TRIES => tries += 1,
                created => return created,
            }
        }
    }
}

fn random_id() -> io::Result<String> {
    let mut bytes = [0; 4];
    rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("{:08x}", u32::from_ne_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use bottle_gates::grant::Host;

    use super::*;

    fn config(dir: &tempfile::TempDir) -> SuperviseConfig {
        let [proposals, answers] = ["proposals", "answers"].map(|name| dir.path().join(name));
        for dir in [&proposals, &answers] {
            file::private_dir(dir).unwrap();
        }
        let listen = ([127, 0, 0, 1], 0).into();
        SuperviseConfig { listen, proposals, answers, wait_seconds: 60, upstreams: vec!["bottle".to_owned()] }
    }

    fn host(name: &str) -> Grant {
        Grant::Host(Host { host: name.to_owned() })
    }

    fn say(config: &SuperviseConfig, id: &str, approved: bool) {
        let answer =
            Answer { version: VERSION, id: id.to_owned(), answered: 0, approved, reason: String::new() };
        file::create(&Answer::path(&config.answers, id), &answer).unwrap();
    }

    #[test]
    fn the_same_is_asked_once_until_it_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(&dir);
        let queue = Queue::open(config.clone()).unwrap();
        let first = queue.ask(&host("a.example"), "one").unwrap();
        assert_eq!(queue.ask(&host("a.example"), "two").unwrap(), first);
        let other = queue.ask(&host("b.example"), "one").unwrap();
        assert_ne!(other, first);
        say(&config, &first, true);
        say(&config, &other, false);
        assert_eq!(queue.ask(&host("a.example"), "three").unwrap(), first);
        assert_eq!(queue.ask(&host("b.example"), "one").unwrap(), other);
        assert_ne!(queue.ask(&host("b.example"), "a better one").unwrap(), other);
        // The same after a restart.
        let queue = Queue::open(config).unwrap();
        assert_eq!(queue.ask(&host("a.example"), "four").unwrap(), first);
        assert!(queue.answer_now(&other).is_some_and(|answer| !answer.approved));
    }

    #[test]
    fn a_flood_ends_at_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(&dir);
        let queue = Queue::open(config.clone()).unwrap();
        for n in 0..WAITING_MAX {
            queue.ask(&host(&format!("h{n}.example")), "why").unwrap();
        }
        assert!(matches!(queue.ask(&host("one-more.example"), "why"), Err(AskError::Full)));
        for n in 0..FILES_MAX {
            let id = queue.ask(&host(&format!("h{n}.example")), "why").unwrap();
            if queue.answer_now(&id).is_none() {
                say(&config, &id, false);
            }
        }
        assert_eq!(fs::read_dir(&config.proposals).unwrap().count(), FILES_MAX);
        queue.ask(&host("and-more.example"), "why").unwrap();
        assert_eq!(fs::read_dir(&config.proposals).unwrap().count(), FILES_MAX);
    }

    #[test]
    fn what_can_not_be_granted_is_not_asked() {
        let dir = tempfile::tempdir().unwrap();
        let queue = Queue::open(config(&dir)).unwrap();
        assert!(matches!(queue.ask(&host("10.0.0.1"), "why"), Err(AskError::Invalid(_))));
        assert!(matches!(queue.ask(&host("a.example"), "\n"), Err(AskError::Invalid(_))));
        let push = serde_json::from_str(r#"{"push":{"upstream":"other","rule":{"branch":"a"}}}"#).unwrap();
        let error = queue.ask(&push, "why").unwrap_err();
        assert_eq!(error.to_string(), r#"there is no upstream "other"; there are: bottle"#);
    }

    #[tokio::test]
    async fn an_answer_wakes_who_waits() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(&dir);
        let queue = Arc::new(Queue::open(config.clone()).unwrap());
        let id = queue.ask(&host("a.example"), "why").unwrap();
        let waiting = tokio::spawn({
            let (queue, id) = (Arc::clone(&queue), id.clone());
            async move { queue.answer(&id).await }
        });
        tokio::task::yield_now().await;
        queue.look();
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        say(&config, &id, true);
        queue.look();
        let answer = tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
        assert!(answer.unwrap().approved);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_long_is_told_that_there_is_no_answer() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(&dir);
        let queue = Queue::open(config.clone()).unwrap();
        let id = queue.ask(&host("a.example"), "why").unwrap();
        assert_eq!(queue.answer(&id).await, None);
        say(&config, &id, true);
        assert!(queue.answer(&id).await.is_some_and(|answer| answer.approved));
    }
}
