//! Into the guest.

use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bottle_protocol::{Base, Copied, CopyPart, DATA_LIMIT_BYTES, EntryKind, Owner, PutRequest, Request};
use bottle_transfer::Walk;

use super::channel::Channel;
use super::{CopyError, CopyOptions, means_directory, name_of, tar_in};
use crate::vm::agent::Agent;

const WHAT: &str = "files were copied to it";

impl Agent {
    /// Copies a file, or a directory and what is in it, into the guest, by the rules of `docker cp`: into a directory
    /// that exists under its own name (its content only, if `from` ends in `/.`), else to that name. A path in the guest that is
    /// not absolute is seen from the bottle's working directory.
    ///
    /// Modes, times, and links among the files are kept. A directory that exists stays as it is.
    ///
    /// # Errors
    /// When something can't be read here, or put there. What was copied by then stays; no file is there in part.
    pub fn put(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
        mut options: CopyOptions<'_>,
    ) -> Result<Copied, CopyError> {
        let from = from.as_ref();
        let mut walk = Walk::open(from, options.follow || means_directory(from))?;
        let request = PutRequest {
            base: Base::WorkingDir,
            path: to.as_ref().as_os_str().as_bytes().to_vec().into(),
            name: name_of(from).map(Into::into),
            must_exist: false,
            owner: owner(&options, Owner::Default),
            keep: false,
        };
        let stop = options.stop.clone();
        let mut channel = self.put_channel(request, &options)?;
        let sent = send_tree(&mut channel, &mut walk, b"", &mut options);
        sent.and_then(|()| Ok(channel.finish()?)).map_err(|error| stop.explain(error))
    }

    /// Unpacks a tar stream into a directory of the guest, which must exist. Owners are those whose numbers the stream has,
    /// unless the options name one.
    ///
    /// # Errors
    /// As for [`Agent::put`], and when the stream is no tar or has an entry that leads out of the directory.
    pub fn put_tar(
        &self,
        tar: impl Read,
        to: impl AsRef<Path>,
        mut options: CopyOptions<'_>,
    ) -> Result<Copied, CopyError> {
        let request = PutRequest {
            base: Base::WorkingDir,
            path: to.as_ref().as_os_str().as_bytes().to_vec().into(),
            name: None,
            must_exist: true,
            owner: owner(&options, Owner::AsSent),
            keep: false,
        };
        let stop = options.stop.clone();
        let mut channel = self.put_channel(request, &options)?;
        let sent = tar_in::send(&mut channel, tar, &mut options);
        sent.map_err(|error| stop.explain(error))
    }

    pub(super) fn put_channel(
        &self,
        request: PutRequest,
        options: &CopyOptions<'_>,
    ) -> Result<Channel, CopyError> {
        let stream = self.send(&Request::Put(request))?;
        options.stop.watch(stream.try_clone().map_err(crate::vm::agent::AgentError::from)?)?;
        Ok(Channel::new(stream, WHAT)?)
    }
}

fn owner(options: &CopyOptions<'_>, default: Owner) -> Owner {
    options.owner.as_ref().map_or(default, |user| Owner::User(user.clone().into_bytes().into()))
}

/// Sends a tree, as something below the root of the copy if `above` is not empty.
pub(super) fn send_tree(
    channel: &mut Channel,
    walk: &mut Walk,
    above: &[u8],
    options: &mut CopyOptions<'_>,
) -> Result<(), CopyError> {
    let mut so_far = Copied::default();
    let mut buffer = vec![0; DATA_LIMIT_BYTES];
    while let Some(mut entry) = walk.next()? {
        entry.path = below(above, &entry.path).into();
        if let EntryKind::HardLink { target } = &mut entry.kind {
            *target = below(above, target).into();
        }
        if entry.kind == EntryKind::Socket {
            so_far.sockets += 1;
        }
        so_far.entries += 1;
        channel.send(CopyPart::Entry(entry))?;
        loop {
            let count = walk.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            channel.send(CopyPart::Content(buffer[..count].to_vec()))?;
            so_far.bytes += count as u64;
            options.report(so_far);
        }
    }
    Ok(())
}

fn below(above: &[u8], path: &[u8]) -> Vec<u8> {
    let parts = [above, path].into_iter().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(&b'/')
}
