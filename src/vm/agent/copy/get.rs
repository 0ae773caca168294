//! Out of the guest, which is not trusted: what it sends is an [`Apply`]'s to refuse.

use std::io::Write;
use std::path::Path;

use bottle_protocol::{Copied, CopyPart, Request};
use bottle_transfer::{Apply, Destination, Rules};

use super::channel::Channel;
use super::{CopyError, CopyOptions, get_request, name_of, tar_out};
use crate::vm::agent::{Agent, AgentError};

const WHAT: &str = "files were copied from it";

impl Agent {
    /// Copies a file, or a directory and what is in it, out of the guest, by the rules of [`Agent::put`] the other way
    /// round. Files belong to this process, without setuid and setgid.
    ///
    /// # Errors
    /// When something can't be read there, or put here: pipes and devices are refused, and whatever would lead out of the
    /// destination. What was copied by then stays; no file is there in part.
    pub fn get(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
        mut options: CopyOptions<'_>,
    ) -> Result<Copied, CopyError> {
        let (from, to) = (from.as_ref(), to.as_ref());
        let destination = Destination { path: to.to_owned(), name: name_of(from), must_exist: false };
        let stop = options.stop.clone();
        let mut channel = self.get_channel(from, &options)?;
        let received = receive_tree(&mut channel, destination, &mut options);
        received.map_err(|error| stop.explain(error))
    }

    /// Copies a file, or a directory and what is in it, out of the guest as a tar stream, with owners, modes, times and
    /// devices as they are there. Names begin with that of the source.
    ///
    /// # Errors
    /// When something can't be read there, or the stream can't be written.
    pub fn get_tar(
        &self,
        from: impl AsRef<Path>,
        tar: impl Write,
        mut options: CopyOptions<'_>,
    ) -> Result<Copied, CopyError> {
        let from = from.as_ref();
        let stop = options.stop.clone();
        let mut channel = self.get_channel(from, &options)?;
        let received = tar_out::receive(&mut channel, name_of(from), tar, &mut options);
        received.map_err(|error| stop.explain(error))
    }

    fn get_channel(&self, from: &Path, options: &CopyOptions<'_>) -> Result<Channel, CopyError> {
        let stream = self.send(&Request::Get(get_request(from, options)))?;
        options.stop.watch(stream.try_clone().map_err(AgentError::from)?)?;
        Ok(Channel::new(stream, WHAT)?)
    }
}

fn receive_tree(
    channel: &mut Channel,
    destination: Destination,
    options: &mut CopyOptions<'_>,
) -> Result<Copied, CopyError> {
    let mut apply = Apply::new(destination, Rules::host());
    loop {
        match channel.next()? {
            CopyPart::Entry(entry) => apply.entry(entry)?,
            CopyPart::Content(data) => {
                apply.content(&data)?;
                options.report(apply.copied());
            }
            CopyPart::End => return Ok(apply.finish()?),
        }
    }
}
