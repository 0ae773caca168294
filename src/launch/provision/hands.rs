//! Files and programs of the guest, as its steps need them: small, and limited.

use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Instant;

use bottle_transfer::printable;

use super::{ProvisionError, STEP_LIMIT};
use crate::vm::agent::{
    Agent, AgentError, CopyError, CopyOptions, ExecEvent, ExecRequest, ExitStatus, FailureKind, Gift, Within,
};

/// A file that is read has no more bytes: a bundle of CAs has some 200 KiB.
const FILE_MAX_BYTES: usize = 4 * 1024 * 1024;

/// So much of the end of what a program prints is kept, for its error.
const SAID_MAX_BYTES: usize = 2048;

/// The programs of root, whatever the image's own `PATH` says.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// See the module.
pub(super) struct Hands<'a> {
    agent: &'a Agent,
}

/// Whose program it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum As {
    Root,
    /// The bottle's user.
    Agent,
}

/// How a program ended.
pub(super) enum Finished {
    Done,
    /// There is none.
    Missing,
    /// What it is called, how it ended, and the end of what it printed, fit for a terminal.
    Failed(String),
    /// It took too long.
    Late,
}

impl<'a> Hands<'a> {
    pub(super) fn new(agent: &'a Agent) -> Self {
        Self { agent }
    }

    /// Puts a file of root's there, in the place of what was there. Its directory is made if need be.
    pub(super) fn write(
        &self,
        step: &'static str,
        path: &'static str,
        mode: u32,
        bytes: &[u8],
    ) -> Result<(), ProvisionError> {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        match self.put(tar(&[], Some((name, mode, bytes))), dir) {
            // There is no such directory: it is made, and those above it that are not there either.
            Err(CopyError::Guest { .. }) => self.put(tar(&names(dir), Some((name, mode, bytes))), "/"),
            put => put,
        }
        .map_err(|source| ProvisionError::file(step, "write", path, source))
    }

    /// Makes a directory of root's, and those above it that are not there either.
    pub(super) fn make_directory(&self, step: &'static str, path: &str) -> Result<(), ProvisionError> {
        self.put(tar(&names(path), None), "/")
            .map_err(|source| ProvisionError::file(step, "write", path, source))
    }

    /// Puts links of root's into a directory, by their names and what they say, in the place of what was there.
    pub(super) fn link(
        &self,
        step: &'static str,
        dir: &str,
        links: &[(&str, &str)],
    ) -> Result<(), ProvisionError> {
        self.put(tar_of_links(links), dir).map_err(|source| ProvisionError::file(step, "write", dir, source))
    }

    fn put(&self, tar: io::Result<Vec<u8>>, to: &str) -> Result<(), CopyError> {
        let tar = tar.map_err(CopyError::Output)?;
        self.agent.put_tar(&*tar, to, CopyOptions::default()).map(drop)
    }

    /// Gives a file to the bottle's user.
    pub(super) fn give_file(
        &self,
        step: &'static str,
        within: Within,
        path: &str,
        mode: u32,
        content: &[u8],
        keep: bool,
    ) -> Result<(), ProvisionError> {
        self.give(step, Gift::File { mode, content }, within, path, keep)
    }

    /// Gives something to the bottle's user; with `keep`, files that are there already stay as they are.
    pub(super) fn give(
        &self,
        step: &'static str,
        gift: Gift<'_>,
        within: Within,
        path: &str,
        keep: bool,
    ) -> Result<(), ProvisionError> {
        self.agent.give(gift, within, path, keep).map_err(|source| {
            let above = match within {
                Within::Home => "~",
                Within::Directory(directory) => directory,
            };
            ProvisionError::file(step, "write", format!("{above}/{path}"), source)
        })
    }

    /// A file's content, through links as any program sees it; nothing if it can't be read.
    pub(super) fn read(&self, step: &'static str, path: &str) -> Result<Option<Vec<u8>>, ProvisionError> {
        let failed = |source| ProvisionError::file(step, "read", path, source);
        let mut tar = Limited(Vec::new());
        let options = CopyOptions { follow: true, ..CopyOptions::default() };
        match self.agent.get_tar(Path::new(path), &mut tar, options) {
            Ok(_) => first_file(&tar.0).map(Some).map_err(CopyError::Output).map_err(failed),
            Err(CopyError::Guest { .. }) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// The names of all that is below a directory; nothing if it can't be read, or is larger than any file that is read here.
    pub(super) fn names(
        &self,
        step: &'static str,
        path: &str,
    ) -> Result<Option<Vec<String>>, ProvisionError> {
        let mut tar = Limited(Vec::new());
        match self.agent.get_tar(Path::new(path), &mut tar, CopyOptions::default()) {
            Ok(_) => Ok(names_of(&tar.0).ok()),
            Err(CopyError::Guest { .. } | CopyError::Output(_)) => Ok(None),
            Err(error) => Err(ProvisionError::file(step, "read", path, error)),
        }
    }

    /// Runs a program and demands success; `false` if there is none.
    pub(super) fn run(
        &self,
        step: &'static str,
        user: As,
        program: &'static str,
        arguments: &[&str],
    ) -> Result<bool, ProvisionError> {
        let words = [&[program], arguments].concat();
        match self.try_run(step, user, &words)? {
            Finished::Done => Ok(true),
            Finished::Missing => Ok(false),
            Finished::Failed(how) => Err(ProvisionError::Failed { step, program, how }),
            Finished::Late => Err(ProvisionError::Late { step, limit_s: STEP_LIMIT.as_secs() }),
        }
    }

    /// Runs a program, for no longer than a step may take: then it is ended.
    ///
    /// # Errors
    /// When the guest itself is gone, or talks nonsense.
    pub(super) fn try_run(
        &self,
        step: &'static str,
        user: As,
        words: &[&str],
    ) -> Result<Finished, ProvisionError> {
        let program = words.first().copied().unwrap_or_default();
        let mut request = ExecRequest::new(words.iter().copied()).cwd("/");
        request.null_stdin = true;
        if user == As::Root {
            request = request.user("0").env("PATH", PATH);
        }
        let (status, said) = match self.finish(&request) {
            Ok(finished) => finished,
            Err(AgentError::Failed(failure)) if failure.kind == FailureKind::NotFound => {
                return Ok(Finished::Missing);
            }
            Err(AgentError::Failed(failure)) => {
                let why = printable(failure.message.as_bytes());
                return Ok(Finished::Failed(format!("{program} can't be run in the guest: {why}")));
            }
            Err(AgentError::TimedOut { .. }) => return Ok(Finished::Late),
            Err(source) => {
                let program = program.to_owned();
                return Err(ProvisionError::Run { step, program, source: Box::new(source) });
            }
        };
        if status == ExitStatus::Code(0) {
            return Ok(Finished::Done);
        }
        let said = printable(said.trim_ascii());
        let said = if said.is_empty() { said } else { format!(": {said}") };
        Ok(Finished::Failed(format!("{program} failed in the guest with {status}{said}")))
    }

    /// Its end, and the end of what it printed.
    fn finish(&self, request: &ExecRequest) -> Result<(ExitStatus, Vec<u8>), AgentError> {
        let deadline = Instant::now() + STEP_LIMIT;
        let mut exec = self.agent.exec(request)?;
        let mut said = Vec::new();
        loop {
            match exec.next_event_before(Some(deadline))? {
                ExecEvent::Stdout(data) | ExecEvent::Stderr(data) => {
                    said.extend(data);
                    said.drain(..said.len().saturating_sub(SAID_MAX_BYTES));
                }
                ExecEvent::Exited(status) => return Ok((status, said)),
                // Nobody has asked for that.
                ExecEvent::Detached => {
                    return Err(AgentError::Detached { what: "it was run".to_owned() });
                }
            }
        }
    }
}

/// A path's names.
fn names(path: &str) -> Vec<&str> {
    path.split('/').filter(|name| !name.is_empty()).collect()
}

/// These directories, each in the one before, and a file in the last one.
fn tar(directories: &[&str], file: Option<(&str, u32, &[u8])>) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut append = |kind, mode, path: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, path, bytes)
    };
    let mut path = String::new();
    for dir in directories {
        path.push_str(dir);
        path.push('/');
        append(tar::EntryType::Directory, 0o755, &path, &[])?;
    }
    if let Some((name, mode, bytes)) = file {
        path.push_str(name);
        append(tar::EntryType::Regular, mode, &path, bytes)?;
    }
    tar.into_inner()
}

fn tar_of_links(links: &[(&str, &str)]) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, target) in links {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        tar.append_link(&mut header, name, target)?;
    }
    tar.into_inner()
}

/// Of all entries below the first one, which is a directory.
fn names_of(tar: &[u8]) -> io::Result<Vec<String>> {
    let mut tar = tar::Archive::new(tar);
    let mut entries = tar.entries()?;
    let is_dir = entries.next().transpose()?.is_some_and(|first| first.header().entry_type().is_dir());
    if !is_dir {
        return Err(io::Error::other("it is no directory"));
    }
    let name = |entry: io::Result<tar::Entry<'_, _>>| {
        Ok(entry?.path()?.file_name().unwrap_or_default().to_string_lossy().into_owned())
    };
    entries.map(name).collect()
}

fn first_file(tar: &[u8]) -> io::Result<Vec<u8>> {
    let mut tar = tar::Archive::new(tar);
    let entry = tar.entries()?.next().transpose()?;
    let is_file = |entry: &tar::Entry<'_, _>| entry.header().entry_type().is_file();
    let mut entry = entry.filter(is_file).ok_or_else(|| io::Error::other("it is no file"))?;
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Takes so much and no more, whatever the guest sends.
struct Limited(Vec<u8>);

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > FILE_MAX_BYTES {
            return Err(io::Error::other(format!("it has more than {FILE_MAX_BYTES} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_out_as_it_went_in_and_its_directories_are_there() {
        let flat = tar(&[], Some(("file", 0o644, b"content"))).unwrap();
        assert_eq!(first_file(&flat).unwrap(), b"content");
        let deep = tar(&names("/a/b"), Some(("file", 0o644, b"content"))).unwrap();
        let mut archive = tar::Archive::new(&*deep);
        let entries = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            (entry.path().unwrap().display().to_string(), header.mode().unwrap(), header.uid().unwrap())
        });
        let expected = [("a/", 0o755, 0), ("a/b/", 0o755, 0), ("a/b/file", 0o644, 0)];
        assert_eq!(
            entries.collect::<Vec<_>>(),
            expected.map(|(path, mode, uid)| (path.to_owned(), mode, uid))
        );
        assert!(first_file(&deep).is_err(), "a directory is no file");
        assert!(first_file(&[]).is_err());
    }

    #[test]
    fn what_is_below_a_directory_is_told_from_the_directory() {
        assert_eq!(names_of(&tar(&names("/a"), None).unwrap()).unwrap(), [""; 0]);
        assert_eq!(names_of(&tar(&names("/a/b"), Some(("c", 0o644, b""))).unwrap()).unwrap(), ["b", "c"]);
        assert!(names_of(&tar(&[], Some(("c", 0o644, b""))).unwrap()).is_err());
        assert!(names_of(&[]).is_err());
    }

    #[test]
    fn a_file_that_does_not_end_is_not_read_to_its_end() {
        let mut limited = Limited(Vec::new());
        assert!(io::copy(&mut io::repeat(0), &mut limited).is_err());
        assert!(limited.0.len() <= FILE_MAX_BYTES);
    }
}
