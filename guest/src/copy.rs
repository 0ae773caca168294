//! Files for the host and from it: a [`Walk`] or an [`Apply`] at one end of a connection.
//!
//! What was not copied in full when the connection ends is removed, so that nothing half-written is left in the guest. As
//! much is under way as the windows let through, see `bottle-protocol`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bottle_protocol::{
    Base, ClientFrame, Copied, CopyPart, DATA_LIMIT_BYTES, ExecFailure, FailureKind, GetRequest, GuestConfig,
    GuestFrame, OUTPUT_WINDOW_BYTES, Owner, PutRequest, STDIN_WINDOW_BYTES,
};
use bottle_transfer::{Apply, Destination, Owners, Rules, TransferError, Walk};

use crate::exec;
use crate::link::{Link, Lost};

/// Credit is given back in pieces of this.
const GRANT_BYTES: u32 = STDIN_WINDOW_BYTES / 4;

/// The host closes the connection when it has the answer.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// Why a copy ended before its end.
enum Stopped {
    Lost,
    Failed(ExecFailure),
}

impl From<Lost> for Stopped {
    fn from(_: Lost) -> Self {
        Self::Lost
    }
}

impl From<TransferError> for Stopped {
    fn from(error: TransferError) -> Self {
        Self::Failed(ExecFailure { kind: FailureKind::CannotCopy, message: error.to_string() })
    }
}

/// Takes files and puts them where the request says.
pub(crate) fn put(
    mut link: Link,
    scratch: &mut [u8],
    request: &PutRequest,
    config: &GuestConfig,
) -> Result<(), Lost> {
    let answer = receive(&mut link, scratch, request, config).map(GuestFrame::Copied);
    answer_with(link, scratch, answer)
}

/// Gives the files that the request names.
pub(crate) fn get(
    mut link: Link,
    scratch: &mut [u8],
    request: &GetRequest,
    config: &GuestConfig,
) -> Result<(), Lost> {
    let answer = send(&mut link, scratch, request, config).map(|()| GuestFrame::Part(CopyPart::End));
    answer_with(link, scratch, answer)
}

fn answer_with(mut link: Link, scratch: &mut [u8], answer: Result<GuestFrame, Stopped>) -> Result<(), Lost> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(Stopped::Failed(failure)) => GuestFrame::Failed(failure),
        Err(Stopped::Lost) => return Err(Lost),
    };
    link.put(&answer)?;
    link.end(scratch, Instant::now() + CLOSE_LIMIT)
}

fn receive(
    link: &mut Link,
    scratch: &mut [u8],
    request: &PutRequest,
    config: &GuestConfig,
) -> Result<Copied, Stopped> {
    let base = match request.base {
        Base::WorkingDir => config.default_cwd.to_vec(),
        Base::Home => exec::identity(&config.default_user).map_err(Stopped::Failed)?.home,
    };
    let destination = Destination {
        path: in_guest(&request.path, &base),
        name: request.name.as_ref().map(|name| name.to_vec()),
        must_exist: request.must_exist,
    };
    let rules = Rules::guest(owners(&request.owner, config)?).keeping(request.keep);
    let mut apply = Apply::new(destination, rules);
    // Credit is given for what is in place. What would come beyond it stays in the socket.
    let mut taken = 0;
    loop {
        while let Some(frame) = link.frame()? {
            let ClientFrame::Part(part) = frame else {
                crate::log("connection dropped: something in the middle of a copy that is no part of it");
                return Err(Stopped::Lost);
            };
            taken += part.cost();
            match part {
                CopyPart::Entry(entry) => apply.entry(entry)?,
                CopyPart::Content(data) => apply.content(&data)?,
                CopyPart::End => return Ok(apply.finish()?),
            }
            if taken >= GRANT_BYTES {
                link.put(&GuestFrame::StdinCredit(std::mem::take(&mut taken)))?;
                link.flush()?;
            }
        }
        link.flush()?;
        link.wait(None)?;
        link.fill(scratch)?;
    }
}

fn owners(owner: &Owner, config: &GuestConfig) -> Result<Owners, Stopped> {
    let user = match owner {
        Owner::AsSent => return Ok(Owners::AsSent),
        Owner::User(user) => user,
        Owner::Default => &config.default_user,
    };
    // On a developer's machine, where the agent is not root, files can be its own only.
    if *owner == Owner::Default && !rustix::process::geteuid().is_root() {
        return Ok(Owners::Own);
    }
    let identity = exec::identity(user).map_err(Stopped::Failed)?;
    Ok(Owners::Fixed { uid: identity.uid, gid: identity.gid })
}

fn send(
    link: &mut Link,
    scratch: &mut [u8],
    request: &GetRequest,
    config: &GuestConfig,
) -> Result<(), Stopped> {
    let mut walk = Walk::open(&in_guest(&request.path, &config.default_cwd), request.follow)?;
    let mut credit = OUTPUT_WINDOW_BYTES;
    while let Some(entry) = walk.next()? {
        send_part(link, scratch, &mut credit, CopyPart::Entry(entry))?;
        loop {
            let most = scratch.len().min(DATA_LIMIT_BYTES);
            let count = walk.read(&mut scratch[..most])?;
            if count == 0 {
                break;
            }
            let content = CopyPart::Content(scratch[..count].to_vec());
            send_part(link, scratch, &mut credit, content)?;
        }
    }
    Ok(())
}

/// Queues a part, when there is credit and room for it. What is queued goes out when there is no more room, or at the end:
/// a tree of small files is not a call of the system for each.
fn send_part(link: &mut Link, scratch: &mut [u8], credit: &mut u32, part: CopyPart) -> Result<(), Stopped> {
    let cost = part.cost();
    while *credit < cost || !link.has_room() {
        link.flush()?;
        if *credit >= cost && link.has_room() {
            break;
        }
        link.wait(None)?;
        link.fill(scratch)?;
        while let Some(frame) = link.frame()? {
            let ClientFrame::OutputCredit(bytes) = frame else {
                crate::log("connection dropped: something in the middle of a copy that is not about it");
                return Err(Stopped::Lost);
            };
            *credit = credit.saturating_add(bytes).min(OUTPUT_WINDOW_BYTES);
        }
    }
    *credit -= cost;
    link.put(&GuestFrame::Part(part))?;
    Ok(())
}

/// A path as one sees it from this directory.
fn in_guest(path: &[u8], directory: &[u8]) -> PathBuf {
    Path::new("/").join(OsStr::from_bytes(directory)).join(OsStr::from_bytes(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_seen_from_their_base() {
        let path = |path: &str, base: &str| in_guest(path.as_bytes(), base.as_bytes()).into_os_string();
        assert_eq!(path("a/", "/srv"), "/srv/a/");
        assert_eq!(path("/a/.", "/srv"), "/a/.");
        assert_eq!(path("a", ""), "/a");
        assert_eq!(path("", "/home/node"), "/home/node/");
        assert_eq!(path(".claude", "relative"), "/relative/.claude");
    }
}
