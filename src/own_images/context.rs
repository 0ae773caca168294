//! What a build is made of: files, for docker a tar.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;

/// A build's files by their paths, a `Dockerfile` among them. The same files make the same tar, to the byte.
#[derive(Debug, Clone, Default)]
pub struct Context {
    files: BTreeMap<String, File>,
}

#[derive(Debug, Clone)]
struct File {
    contents: Cow<'static, [u8]>,
    mode: u32,
}

impl Context {
    /// One without files.
    pub fn new() -> Self {
        Self::default()
    }

    /// With this file more.
    #[must_use]
    pub fn file(self, path: &str, contents: impl Into<Cow<'static, [u8]>>) -> Self {
        self.with(path, contents.into(), 0o644)
    }

    /// With this program more.
    #[must_use]
    pub fn program(self, path: &str, contents: impl Into<Cow<'static, [u8]>>) -> Self {
        self.with(path, contents.into(), 0o755)
    }

    fn with(mut self, path: &str, contents: Cow<'static, [u8]>, mode: u32) -> Self {
        self.files.insert(path.to_owned(), File { contents, mode });
        self
    }

    /// Each file's path, mode and contents, in the order of their paths.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, u32, &[u8])> {
        self.files.iter().map(|(path, file)| (path.as_str(), file.mode, &*file.contents))
    }

    /// The tar, for docker: all of root's, and of 1970.
    ///
    /// # Errors
    /// When a path is none that a tar can have.
    pub(super) fn tar(&self) -> io::Result<Vec<u8>> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, mode, contents) in self.files() {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(tar::EntryType::Regular);
            header.set_mode(mode);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_size(contents.len() as u64);
            tar.append_data(&mut header, path, contents)?;
        }
        tar.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        Context::new().file("Dockerfile", b"FROM scratch").program("bin/tool", b"\x7fELF".as_slice())
    }

    #[test]
    fn the_tar_is_the_same_in_whatever_order_the_files_came() {
        let other =
            Context::new().program("bin/tool", b"\x7fELF".as_slice()).file("Dockerfile", b"FROM scratch");
        assert_eq!(context().tar().unwrap(), other.tar().unwrap());
    }

    #[test]
    fn the_tar_has_what_was_put_in() {
        let tar = context().tar().unwrap();
        let mut archive = tar::Archive::new(tar.as_slice());
        let entries: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut contents = Vec::new();
                io::Read::read_to_end(&mut entry, &mut contents).unwrap();
                let header = entry.header();
                let path = entry.path().unwrap().display().to_string();
                (path, header.mode().unwrap(), header.mtime().unwrap(), contents)
            })
            .collect();
        assert_eq!(
            entries,
            [
                ("Dockerfile".to_owned(), 0o644, 0, b"FROM scratch".to_vec()),
                ("bin/tool".to_owned(), 0o755, 0, b"\x7fELF".to_vec()),
            ]
        );
    }

    #[test]
    fn no_path_leads_out_of_the_context() {
        assert!(Context::new().file("../etc/passwd", b"x").tar().is_err());
    }
}
