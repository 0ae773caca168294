//! The process to run: what the image says, and what the user says instead.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::{LaunchError, terminal};
use crate::image::{ImageConfig, ImageId};
use crate::vm::agent::{EnvVar, ExecRequest, TtySize};

/// What the user asked to run.
#[derive(Debug, Clone, Default)]
pub struct Process {
    /// Instead of the image's `ENTRYPOINT`; an empty one means none.
    pub entrypoint: Option<OsString>,
    /// Instead of the image's `CMD`; empty means the image's.
    pub args: Vec<OsString>,
    /// Added to the image's environment.
    pub env: Vec<(OsString, OsString)>,
    /// Instead of the image's `USER`.
    pub user: Option<String>,
    /// Instead of the image's `WORKDIR`; must exist.
    pub cwd: Option<OsString>,
    /// It gets a terminal, and ours is its other end.
    pub tty: bool,
}

impl Process {
    /// The size of the terminal that it gets, if it gets one; an error when there is none to give.
    pub(super) fn terminal_size(&self) -> Result<Option<TtySize>, LaunchError> {
        self.tty.then(terminal::size).transpose()
    }

    /// What the guest is to be asked, as docker would put it together.
    pub(super) fn request(
        &self,
        image: ImageId,
        config: &ImageConfig,
        tty: Option<TtySize>,
    ) -> Result<ExecRequest, LaunchError> {
        let words = |words: &[String]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let mut argv = match &self.entrypoint {
            Some(program) if program.is_empty() => Vec::new(),
            Some(program) => vec![program.clone()],
            None => words(&config.entrypoint),
        };
        match (&self.args[..], &self.entrypoint) {
            // The image's CMD is an argument of its own entrypoint, not of another.
            ([], None) => argv.extend(words(&config.cmd)),
            (args, _) => argv.extend_from_slice(args),
        }
        if argv.is_empty() {
            return Err(LaunchError::NoCommand { image: image.to_string() });
        }
        let bytes = |text: &OsString| text.clone().into_vec();
        Ok(ExecRequest {
            argv: argv.iter().map(|word| bytes(word).into()).collect(),
            env: self.env.iter().map(|(name, value)| EnvVar::new(bytes(name), bytes(value))).collect(),
            cwd: self.cwd.as_ref().map(|cwd| bytes(cwd).into()),
            user: self.user.clone().map(|user| user.into_bytes().into()),
            tty,
            ..ExecRequest::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(entrypoint: &[&str], cmd: &[&str], process: &Process) -> Option<Vec<String>> {
        let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let config = ImageConfig { entrypoint: own(entrypoint), cmd: own(cmd), ..ImageConfig::default() };
        let request = process.request(ImageId::of(b""), &config, None).ok()?;
        Some(request.argv.into_iter().map(|word| String::from_utf8(word.into_vec()).unwrap()).collect())
    }

    #[test]
    fn the_command_is_put_together_as_docker_does() {
        let args = Process { args: vec!["x".into(), "y".into()], ..Process::default() };
        let other = Process { entrypoint: Some("o".into()), ..Process::default() };
        let none = Process { entrypoint: Some("".into()), args: vec!["x".into()], ..Process::default() };
        let plain = Process::default();
        let is = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(argv(&["e"], &["c"], &plain), is(&["e", "c"]));
        assert_eq!(argv(&["e"], &["c"], &args), is(&["e", "x", "y"]));
        assert_eq!(argv(&[], &["c"], &args), is(&["x", "y"]));
        assert_eq!(argv(&["e"], &["c"], &other), is(&["o"]));
        assert_eq!(argv(&["e"], &["c"], &none), is(&["x"]));
        assert_eq!(argv(&[], &[], &plain), None);
    }
}
