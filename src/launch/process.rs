//! The process to run: what the image says, and what the user says instead.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::{LaunchError, terminal};
use crate::image::{ImageConfig, ImageId};
use crate::plan::Process;
use crate::vm::agent::{EnvVar, ExecRequest};

impl Process {
    /// Does it get our terminal, so that Ctrl-C is its affair?
    pub(super) fn takes_terminal(&self) -> bool {
        self.tty && self.interactive
    }

    /// An error if it is to get our terminal, and we have none.
    pub(super) fn check_terminal(&self) -> Result<(), LaunchError> {
        if self.takes_terminal() { terminal::check() } else { Ok(()) }
    }

    /// What the guest is to be asked, as docker would put it together.
    pub(super) fn request(&self, image: ImageId, config: &ImageConfig) -> Result<ExecRequest, LaunchError> {
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
        Ok(self.exec_request(&argv))
    }

    /// What the guest is to be asked, for exactly this command.
    pub(super) fn exec_request(&self, argv: &[OsString]) -> ExecRequest {
        let bytes = |text: &OsString| text.clone().into_vec();
        // What was asked for by name wins over what our terminal is.
        let terminal = self.tty.then(terminal::environment).into_iter().flatten();
        let env = self.env.iter().map(|(name, value)| EnvVar::new(bytes(name), bytes(value)));
        ExecRequest {
            argv: argv.iter().map(|word| bytes(word).into()).collect(),
            env: terminal.chain(env).collect(),
            cwd: self.cwd.as_ref().map(|cwd| bytes(cwd).into()),
            user: self.user.clone().map(|user| user.into_bytes().into()),
            tty: self.tty.then(terminal::size),
            null_stdin: !self.interactive,
            detached: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(entrypoint: &[&str], cmd: &[&str], process: &Process) -> Option<Vec<String>> {
        let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let config = ImageConfig { entrypoint: own(entrypoint), cmd: own(cmd), ..ImageConfig::default() };
        let request = process.request(ImageId::of(b""), &config).ok()?;
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

    #[test]
    fn stdin_and_terminal_are_as_asked_for() {
        let request = |interactive, tty| {
            let process =
                Process { interactive, tty, env: vec![("TERM".into(), "mine".into())], ..Process::default() };
            process.exec_request(&["x".into()])
        };
        assert!(request(false, false).null_stdin && request(false, false).tty.is_none());
        assert!(!request(true, false).null_stdin);
        let tty = request(false, true);
        assert!(tty.null_stdin && tty.tty.is_some());
        // The guest takes the last one of a name.
        assert_eq!(tty.env.last(), Some(&EnvVar::new("TERM", "mine")));
    }
}
