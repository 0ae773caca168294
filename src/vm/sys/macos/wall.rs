//! The second wall on macOS: a sandbox profile (sandbox_init(3), which is deprecated, and what everyone uses), for files,
//! the network, programs and all else that the sandbox has a say in. What is open already stays usable.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int};
use std::fmt::Write;
use std::io;
use std::path::Path;

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::vm::confine::{Limits, WallPart};

/// More ports than that are all ports: each is a rule of its own.
const MOST_PORT_RULES: usize = 4096;

unsafe extern "C" {
    fn sandbox_init(profile: *const c_char, flags: u64, error: *mut *mut c_char) -> c_int;
    fn sandbox_free_error(error: *mut c_char);
}

/// See [`crate::vm::confine::wall_parts`].
pub(crate) fn wall_parts() -> Vec<WallPart> {
    ["files", "TCP connections", "programs and signals"]
        .map(|name| WallPart::new(name, Ok("a sandbox profile".to_owned())))
        .into()
}

/// See [`crate::vm::confine::erect`].
pub(crate) fn erect_wall(limits: &Limits<'_>) -> io::Result<Vec<WallPart>> {
    // A core file would hold the guest's memory.
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    let profile = CString::new(profile(limits)?)?;
    let mut message = std::ptr::null_mut();
    // SAFETY: the profile is a C string; the message is the library's until it is given back below.
    let answer = unsafe { sandbox_init(profile.as_ptr(), 0, &raw mut message) };
    if answer == 0 {
        return Ok(wall_parts());
    }
    let text = if message.is_null() {
        "unknown error".to_owned()
    } else {
        // SAFETY: after a failure the message is a C string, which is given back once.
        unsafe {
            let text = CStr::from_ptr(message).to_string_lossy().into_owned();
            sandbox_free_error(message);
            text
        }
    };
    Err(io::Error::other(format!("sandbox_init: {text}")))
}

/// See [`crate::vm::confine::seal`]. The profile has the sockets by their paths already, so there is nothing to take away.
pub(crate) fn seal_wall(_keeps_opening_files: bool) -> io::Result<()> {
    Ok(())
}

/// The profile, in the sandbox's own language. The last rule that fits is the one that counts.
fn profile(limits: &Limits<'_>) -> io::Result<String> {
    let mut text = String::from(
        "(version 1)\n\
         (deny default)\n\
         (allow file-read-metadata)\n\
         (allow sysctl-read)\n\
         (allow signal (target self))\n\
         (allow system-socket)\n\
         (allow file-read* (literal \"/dev/null\") (literal \"/dev/urandom\"))\n\
         (allow file-read* (subpath \"/usr/lib\") (subpath \"/System/Library\"))\n",
    );
    let mut allow = |operations: &str, kind: &str, path: &Path| -> io::Result<()> {
        // The sandbox sees paths as they are when all links are followed.
        let path = quoted(&std::fs::canonicalize(path)?)?;
        writeln!(text, "(allow {operations} ({kind} {path}))").map_err(io::Error::other)
    };
    if let Some(base) = limits.base {
        allow("file-read*", "literal", base)?;
    }
    allow("file-read* file-write-data", "literal", limits.disk)?;
    for volume in &limits.volumes {
        let operations = if volume.read_only { "file-read*" } else { "file-read* file-write*" };
        allow(operations, "subpath", &volume.path)?;
    }
    let directory = std::fs::canonicalize(limits.state_dir)?;
    for socket in &limits.sockets {
        // It need not be there yet.
        let Some(name) = socket.file_name() else { continue };
        let path = quoted(&directory.join(name))?;
        let rules = [
            format!("(allow file-write-create file-write-unlink (literal {path}))"),
            format!("(allow network-bind network-inbound (local unix-socket (path-literal {path})))"),
            format!("(allow network-outbound (remote unix-socket (path-literal {path})))"),
        ];
        rules.iter().for_each(|rule| {
            text.push_str(rule);
            text.push('\n');
        });
    }
    if limits.ports.iter().map(|ports| ports.len()).sum::<usize>() > MOST_PORT_RULES {
        text.push_str("(allow network-outbound (remote tcp \"*:*\"))\n");
    } else {
        for port in limits.ports.iter().cloned().flatten() {
            writeln!(text, "(allow network-outbound (remote tcp \"*:{port}\"))").map_err(io::Error::other)?;
        }
    }
    Ok(text)
}

/// A path as a string of the profile's language.
fn quoted(path: &Path) -> io::Result<String> {
    let path = path.to_str().filter(|path| !path.contains(char::is_control));
    let path = path.ok_or_else(|| io::Error::other("a path that a sandbox profile can't have"))?;
    Ok(format!("\"{}\"", path.replace('\\', "\\\\").replace('"', "\\\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_has_what_the_vm_has_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, base) = (dir.path().join("disk"), dir.path().join("ba\"se"));
        std::fs::write(&disk, "").unwrap();
        std::fs::write(&base, "").unwrap();
        let socket = dir.path().join("agent.sock");
        let limits = Limits {
            state_dir: dir.path(),
            sockets: vec![&socket],
            disk: &disk,
            base: Some(&base),
            volumes: Vec::new(),
            ports: vec![443..=444],
        };
        let profile = profile(&limits).unwrap();
        assert!(profile.starts_with("(version 1)\n(deny default)\n"), "{profile}");
        assert!(profile.contains("ba\\\"se\"))\n"), "{profile}");
        assert!(profile.contains("(remote tcp \"*:443\")") && profile.contains("(remote tcp \"*:444\")"));
        assert!(!profile.contains("\"*:*\""));
    }
}
