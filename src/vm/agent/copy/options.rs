//! What a copy can be told.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bottle_protocol::Copied;

use super::CopyError;

/// How to copy. The default copies links as links, and gives files in the guest to the bottle's user.
#[derive(Default)]
#[non_exhaustive]
pub struct CopyOptions<'a> {
    /// If the source itself is a symbolic link, what it leads to is meant. Links below it are never followed.
    pub follow: bool,
    /// Whose files become in the guest, as `name|uid[:group|gid]`. Not given: the bottle's user's, or for a tar stream
    /// those whose numbers it has. On the host they are always those of this process.
    pub owner: Option<String>,
    /// Ends the copy from another thread.
    pub stop: CopyStop,
    /// Is told from time to time what was copied so far.
    pub progress: Option<&'a mut (dyn FnMut(Copied) + Send)>,
}

impl std::fmt::Debug for CopyOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CopyOptions").field("follow", &self.follow).field("owner", &self.owner).finish()
    }
}

impl CopyOptions<'_> {
    pub(super) fn report(&mut self, copied: Copied) {
        if let Some(progress) = &mut self.progress {
            progress(copied);
        }
    }
}

/// Ends a copy under way, or one that has not begun: it fails with [`CopyError::Stopped`]. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct CopyStop {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    connection: Option<UnixStream>,
}

impl CopyStop {
    /// A copy that reads from or writes to a pipe nobody serves ends only when that does.
    pub fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        if let Some(connection) = &state.connection {
            // It is gone already if that fails.
            connection.shutdown(Shutdown::Both).unwrap_or_default();
        }
    }

    pub(super) fn watch(&self, connection: UnixStream) -> Result<(), CopyError> {
        let mut state = self.lock();
        if state.stopped {
            return Err(CopyError::Stopped);
        }
        state.connection = Some(connection);
        Ok(())
    }

    /// The error that counts: one that comes of the stop is the stop.
    pub(super) fn explain(&self, error: CopyError) -> CopyError {
        if self.lock().stopped { CopyError::Stopped } else { error }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
