//! Files and programs of the guest, as its steps need them: small, and limited.

use std::io::{self, Read, Write};
use std::path::Path;

use bottle_transfer::printable;

use super::ProvisionError;
use crate::vm::agent::{
    Agent, AgentError, CopyError, CopyOptions, ExecEvent, ExecRequest, ExitStatus, FailureKind,
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
    /// The bottle's user, in whose home it works.
    Agent,
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
        let failed = |source| ProvisionError::File { step, action: "write", path, source: Box::new(source) };
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let put = |tar: io::Result<Vec<u8>>, to: &str| {
            let tar = tar.map_err(CopyError::Output)?;
            self.agent.put_tar(&*tar, to, CopyOptions::default())
        };
        match put(tar(&[], name, mode, bytes), dir) {
            // There is no such directory: it is made, and those above it that are not there either.
            Err(CopyError::Guest { .. }) => {
                let above: Vec<&str> = dir.trim_start_matches('/').split('/').collect();
                put(tar(&above, name, mode, bytes), "/")
            }
            put => put,
        }
        .map(drop)
        .map_err(failed)
    }

    /// A file's content, through links as any program sees it; nothing if it can't be read.
    pub(super) fn read(
        &self,
        step: &'static str,
        path: &'static str,
    ) -> Result<Option<Vec<u8>>, ProvisionError> {
        let failed = |source| ProvisionError::File { step, action: "read", path, source: Box::new(source) };
        let mut tar = Limited(Vec::new());
        let options = CopyOptions { follow: true, ..CopyOptions::default() };
        match self.agent.get_tar(Path::new(path), &mut tar, options) {
            Ok(_) => first_file(&tar.0).map(Some).map_err(CopyError::Output).map_err(failed),
            Err(CopyError::Guest { .. }) => Ok(None),
            Err(error) => Err(failed(error)),
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
        let mut request = ExecRequest::new([program].iter().chain(arguments).copied()).cwd("/");
        request.null_stdin = true;
        if user == As::Root {
            request = request.user("0").env("PATH", PATH);
        }
        let (status, said) = match self.finish(&request) {
            Err(AgentError::Failed(failure)) if failure.kind == FailureKind::NotFound => return Ok(false),
            finished => {
                finished.map_err(|source| ProvisionError::Run { step, program, source: Box::new(source) })?
            }
        };
        let how = match status {
            ExitStatus::Code(0) => return Ok(true),
            ExitStatus::Code(code) => format!("exited with code {code}"),
            ExitStatus::Signal(signal) => format!("was ended by signal {signal}"),
        };
        Err(ProvisionError::Failed { step, program, how, said: printable(said.trim_ascii()) })
    }

    /// Its end, and the end of what it printed.
    fn finish(&self, request: &ExecRequest) -> Result<(ExitStatus, Vec<u8>), AgentError> {
        let mut exec = self.agent.exec(request)?;
        let mut said = Vec::new();
        loop {
            match exec.next_event()? {
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

/// A file below these directories, each in the one before.
fn tar(above: &[&str], name: &str, mode: u32, bytes: &[u8]) -> io::Result<Vec<u8>> {
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
    for dir in above {
        path.push_str(dir);
        path.push('/');
        append(tar::EntryType::Directory, 0o755, &path, &[])?;
    }
    path.push_str(name);
    append(tar::EntryType::Regular, mode, &path, bytes)?;
    tar.into_inner()
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
        let flat = tar(&[], "file", 0o644, b"content").unwrap();
        assert_eq!(first_file(&flat).unwrap(), b"content");
        let deep = tar(&["a", "b"], "file", 0o644, b"content").unwrap();
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
    fn a_file_that_does_not_end_is_not_read_to_its_end() {
        let mut limited = Limited(Vec::new());
        assert!(io::copy(&mut io::repeat(0), &mut limited).is_err());
        assert!(limited.0.len() <= FILE_MAX_BYTES);
    }
}
