//! From a request to everything that the fork needs, prepared beforehand: between fork and exec nothing may allocate.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bottle_protocol::{EnvVar, ExecFailure, ExecRequest, FailureKind, GuestConfig};

use super::users::{self, Identity};

/// Docker's, for images that set none.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Far above any real `/etc/passwd`.
const PASSWD_LIMIT_BYTES: u64 = 16 * 1024 * 1024;

/// A process, ready to be started.
#[derive(Debug)]
pub(crate) struct Command {
    /// The files to try, in order.
    pub(crate) programs: Vec<CString>,
    pub(crate) argv: Vec<CString>,
    pub(crate) env: Vec<CString>,
    pub(crate) cwd: CString,
    pub(crate) identity: Identity,
}

/// A failure of the sort that has no kind of its own.
pub(crate) fn other(message: impl Into<String>) -> ExecFailure {
    ExecFailure { kind: FailureKind::Other, message: message.into() }
}

/// Prepares a request.
pub(crate) fn prepare(request: &ExecRequest, config: &GuestConfig) -> Result<Command, ExecFailure> {
    let identity = identity(request.user.as_ref().unwrap_or(&config.default_user))?;
    let env = environment(&[&config.env, &request.env], &identity, &config.hostname, request.tty.is_some())?;
    let cwd = match &request.cwd {
        Some(cwd) => &cwd[..],
        None if config.default_cwd.is_empty() => b"/",
        None => &config.default_cwd[..],
    };
    let argv = request.argv.iter().map(|word| c_string(word, "argument")).collect::<Result<Vec<_>, _>>()?;
    let program = request.argv.first().ok_or_else(|| other("no command given"))?;
    let path = env.iter().find(|(name, _)| name == b"PATH").map_or(&b""[..], |(_, value)| value);
    let programs = candidates(program, path, cwd)
        .into_iter()
        .map(|file| c_string(&file, "program"))
        .collect::<Result<_, _>>()?;
    let env = env
        .into_iter()
        .map(|(name, value)| c_string(&[&name, &b"="[..], &value].concat(), "variable"))
        .collect::<Result<_, _>>()?;
    Ok(Command { programs, argv, env, cwd: c_string(cwd, "working directory")?, identity })
}

/// Who `name|uid[:group|gid]` is, by the guest's own files.
pub(crate) fn identity(user: &[u8]) -> Result<Identity, ExecFailure> {
    users::resolve(user, &read_database("/etc/passwd"), &read_database("/etc/group"))
}

/// An image may be without these files: then there are only numbers.
fn read_database(path: &str) -> Vec<u8> {
    let mut content = Vec::new();
    if let Ok(file) = File::open(path) {
        // What could be read counts: a user who is in the part that could not be is reported as missing.
        drop(file.take(PASSWD_LIMIT_BYTES).read_to_end(&mut content));
    }
    content
}

fn c_string(bytes: &[u8], what: &str) -> Result<CString, ExecFailure> {
    CString::new(bytes).map_err(|_| other(format!("{what} holds a NUL byte")))
}

type Variables = Vec<(Vec<u8>, Vec<u8>)>;

/// Later layers win; what no layer sets gets its usual value.
fn environment(
    layers: &[&[EnvVar]],
    identity: &Identity,
    hostname: &str,
    tty: bool,
) -> Result<Variables, ExecFailure> {
    let mut variables = Variables::new();
    for variable in layers.iter().flat_map(|layer| layer.iter()) {
        if variable.name.is_empty() || variable.name.contains(&b'=') {
            let name = String::from_utf8_lossy(&variable.name);
            return Err(other(format!("`{name}` cannot be the name of a variable")));
        }
        match variables.iter_mut().find(|(name, _)| *name == **variable.name) {
            Some((_, value)) => *value = variable.value.to_vec(),
            None => variables.push((variable.name.to_vec(), variable.value.to_vec())),
        }
    }
    let mut default = |name: &[u8], value: &[u8]| {
        if !value.is_empty() && !variables.iter().any(|(known, _)| known == name) {
            variables.push((name.to_vec(), value.to_vec()));
        }
    };
    default(b"PATH", DEFAULT_PATH);
    default(b"HOSTNAME", hostname.as_bytes());
    default(b"HOME", &identity.home);
    default(b"USER", &identity.name);
    default(b"LOGNAME", &identity.name);
    default(b"SHELL", &identity.shell);
    if tty {
        default(b"TERM", b"xterm");
    }
    Ok(variables)
}

/// The files that `program` may mean. Directories of that name in `path` are passed over.
fn candidates(program: &[u8], path: &[u8], cwd: &[u8]) -> Vec<Vec<u8>> {
    if program.is_empty() {
        return Vec::new();
    }
    if program.contains(&b'/') {
        return vec![program.to_vec()];
    }
    path.split(|byte| *byte == b':')
        .map(|directory| match directory {
            b"" => [b"./", program].concat(),
            _ => [directory, b"/", program].concat(),
        })
        .filter(|file| !Path::new(OsStr::from_bytes(cwd)).join(OsStr::from_bytes(file)).is_dir())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> Identity {
        users::resolve(b"", b"root:x:0:0::/root:/bin/sh\n", b"").unwrap()
    }

    fn value<'a>(variables: &'a Variables, name: &str) -> Option<&'a [u8]> {
        variables.iter().find(|(known, _)| known == name.as_bytes()).map(|(_, value)| &value[..])
    }

    #[test]
    fn the_execs_variables_win_over_the_bottles_and_those_over_defaults() {
        let bottle = [EnvVar::new("A", "bottle"), EnvVar::new("B", "bottle"), EnvVar::new("HOME", "/set")];
        let exec = [EnvVar::new("B", "exec"), EnvVar::new("C", b"\xff".to_vec())];
        let variables = environment(&[&bottle, &exec], &root(), "name", true).unwrap();
        assert_eq!(value(&variables, "A"), Some(&b"bottle"[..]));
        assert_eq!(value(&variables, "B"), Some(&b"exec"[..]));
        assert_eq!(value(&variables, "C"), Some(&b"\xff"[..]));
        assert_eq!(value(&variables, "HOME"), Some(&b"/set"[..]));
        assert_eq!(value(&variables, "USER"), Some(&b"root"[..]));
        assert_eq!(value(&variables, "PATH"), Some(DEFAULT_PATH));
        assert_eq!(value(&variables, "TERM"), Some(&b"xterm"[..]));
        assert_eq!(variables.iter().filter(|(name, _)| name == b"B").count(), 1);
    }

    #[test]
    fn names_that_the_kernel_could_not_carry_are_refused() {
        for name in ["", "A=B"] {
            assert!(environment(&[&[EnvVar::new(name, "x")]], &root(), "", false).is_err());
        }
        let nul = ExecRequest { argv: vec![b"a\0b".to_vec().into()], ..ExecRequest::default() };
        assert!(prepare(&nul, &GuestConfig::default()).unwrap_err().message.contains("NUL"));
        assert!(prepare(&ExecRequest::default(), &GuestConfig::default()).is_err());
    }

    #[test]
    fn programs_are_looked_for_in_the_path_given() {
        assert_eq!(candidates(b"x", b"/a:/b", b"/"), [b"/a/x".to_vec(), b"/b/x".to_vec()]);
        assert_eq!(candidates(b"x", b"", b"/"), [b"./x".to_vec()]);
        assert_eq!(candidates(b"d/x", b"/a", b"/"), [b"d/x".to_vec()]);
        // `bin` is a directory in /usr, and not a program.
        assert_eq!(candidates(b"bin", b"/usr:/a", b"/"), [b"/a/bin".to_vec()]);
        assert!(candidates(b"", b"/a", b"/").is_empty());
    }
}
