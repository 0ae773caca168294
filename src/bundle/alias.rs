//! The loopback address of one bottle, out of 127.0.0.16 … 127.0.0.31.
//!
//! Docker is the source of truth: an alias is taken while a container with our label holds it. A lock file closes the
//! race between two launches of one user; it is held from looking until the container that takes the alias exists.

use std::fs::File;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use bollard::query_parameters::ListContainersOptions;
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::client::Docker;
use super::error::BundleError;
use super::names::{ALIAS_LABEL, SLUG_LABEL};

/// The aliases there are. Sixteen, because on macOS each has to be added to the loopback interface by hand.
pub const ALIASES: std::ops::RangeInclusive<u8> = 16..=31;

/// How long another launch may hold the lock: it makes two requests under it, each a fraction of a second; a docker
/// that is busy unpacking an image may take the better part of a minute for one.
const LOCK_WAIT: Duration = Duration::from_secs(120);

/// Between two looks at the lock, since the system cannot wait for it and for a deadline at once. A tenth of what is
/// held under it.
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// An alias, chosen and not yet taken: the lock is held until this is dropped.
#[derive(Debug)]
pub struct Alias {
    address: Ipv4Addr,
    _lock: File,
}

impl Alias {
    /// Chooses the lowest alias that no bundle has, under the lock in `state_dir`.
    pub(super) async fn choose(docker: &Docker, state_dir: &Path) -> Result<Self, BundleError> {
        let lock = lock(state_dir).await?;
        let taken = taken(docker).await?;
        let address = lowest_free(&taken).ok_or_else(|| BundleError::AliasesTaken { by: taken.clone() })?;
        if !is_local(address) {
            return Err(BundleError::AliasMissing { alias: address });
        }
        Ok(Self { address, _lock: lock })
    }

    /// The address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }
}

/// Does this host have the address? Asked by binding to it, which tells the truth on every system; the port is any and
/// nothing is sent.
pub(super) fn is_local(address: Ipv4Addr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

fn lowest_free(taken: &[(Ipv4Addr, String)]) -> Option<Ipv4Addr> {
    ALIASES
        .map(|last| Ipv4Addr::new(127, 0, 0, last))
        .find(|alias| taken.iter().all(|(other, _)| other != alias))
}

/// Who has which alias, over all state directories: they share one loopback.
async fn taken(docker: &Docker) -> Result<Vec<(Ipv4Addr, String)>, BundleError> {
    let labelled = ListContainersOptions {
        all: true,
        filters: Some([("label".to_owned(), vec![ALIAS_LABEL.to_owned()])].into()),
        ..ListContainersOptions::default()
    };
    let containers = docker
        .api()
        .list_containers(Some(labelled))
        .await
        .map_err(|error| BundleError::docker("list the bundles", &error))?;
    let mut taken: Vec<_> = containers.iter().filter(|one| holds_alias(one)).filter_map(holder).collect();
    taken.sort();
    Ok(taken)
}

/// A container that has ended has given its ports back. One that is about to start has not got them yet, but will.
fn holds_alias(container: &ContainerSummary) -> bool {
    !matches!(container.state, Some(ContainerSummaryStateEnum::EXITED | ContainerSummaryStateEnum::DEAD))
}

fn holder(container: &ContainerSummary) -> Option<(Ipv4Addr, String)> {
    let labels = container.labels.as_ref()?;
    let alias = labels.get(ALIAS_LABEL)?.parse().ok()?;
    Some((alias, labels.get(SLUG_LABEL).cloned().unwrap_or_else(|| "a container without a slug".to_owned())))
}

async fn lock(state_dir: &Path) -> Result<File, BundleError> {
    let path: PathBuf = state_dir.join("aliases.lock");
    let failed = |source| BundleError::AliasLock { path: path.clone(), source };
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    let since = Instant::now();
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK | Errno::INTR) if since.elapsed() < LOCK_WAIT => {
                tokio::time::sleep(LOCK_RETRY).await;
            }
            Err(Errno::WOULDBLOCK) => {
                return Err(BundleError::AliasLockHeld { path, waited_s: LOCK_WAIT.as_secs() });
            }
            Err(error) => return Err(failed(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(last: impl IntoIterator<Item = u8>) -> Vec<(Ipv4Addr, String)> {
        last.into_iter().map(|last| (Ipv4Addr::new(127, 0, 0, last), format!("bottle-{last}"))).collect()
    }

    #[test]
    fn the_lowest_free_alias_is_chosen() {
        assert_eq!(lowest_free(&[]), Some(Ipv4Addr::new(127, 0, 0, 16)));
        assert_eq!(lowest_free(&held([16, 18])), Some(Ipv4Addr::new(127, 0, 0, 17)));
        assert_eq!(lowest_free(&held(16..=30)), Some(Ipv4Addr::new(127, 0, 0, 31)));
        assert_eq!(lowest_free(&held(16..=31)), None);
    }

    #[test]
    fn an_address_of_someone_else_is_not_local() {
        assert!(is_local(Ipv4Addr::LOCALHOST));
        // TEST-NET-3: nobody has it.
        assert!(!is_local(Ipv4Addr::new(203, 0, 113, 7)));
    }

    #[tokio::test]
    async fn the_lock_is_exclusive_until_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).await.unwrap();
        let waiting = tokio::time::timeout(Duration::from_millis(100), lock(dir.path())).await;
        assert!(waiting.is_err(), "the lock was given twice");
        drop(first);
        drop(tokio::time::timeout(Duration::from_secs(5), lock(dir.path())).await.unwrap().unwrap());
    }
}
