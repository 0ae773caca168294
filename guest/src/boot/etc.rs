//! The few files that a container runtime would have put into the image's root.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::warn;

/// There is no DNS in here, by design, and a lookup is to fail at once. An image's own name servers would not: datagrams to
/// them go nowhere, without an error, and a resolver waits five seconds or more for each.
///
/// - glibc and most others connect to the server, find nobody on the loopback interface, and give up.
/// - musl does not, and would wait out its time; it takes 0 for no time. Others take 0 for one second.
const RESOLV_CONF: &str = "\
# There is no DNS in a bottle. This file is written anew at each start.
nameserver 127.0.0.1
options timeout:0 attempts:1
";

/// Names that programs need to resolve, and what makes them fail at others.
pub(super) fn write(hostname: &str) {
    let hosts =
        format!("127.0.0.1\tlocalhost\n127.0.0.1\t{hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    drop(fs::create_dir("/etc"));
    for (path, content) in [("/etc/hosts", &*hosts), ("/etc/hostname", &*format!("{hostname}\n"))] {
        if is_missing_or_empty(Path::new(path)) {
            warn(fs::write(path, content), path);
        }
    }
    let path = Path::new("/etc/resolv.conf");
    warn(replace(path, RESOLV_CONF), "/etc/resolv.conf");
}

/// Writes a file in place of what is there, be it a link.
fn replace(path: &Path, content: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::write(path, content)
}

/// Image builders leave empty files where they mounted their own. A link that leads nowhere is the image's choice.
fn is_missing_or_empty(path: &Path) -> bool {
    match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.is_file() && metadata.len() == 0,
        Err(_) => true,
    }
}

/// The bottle's working directory, made as docker makes an image's: owned by root.
pub(super) fn make_directory(path: &[u8]) {
    if !path.is_empty() {
        let path = Path::new(OsStr::from_bytes(path));
        warn(fs::create_dir_all(path), &path.display().to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_replaced_and_not_followed() {
        let dir = std::env::temp_dir().join(format!("bottle-etc-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let (path, elsewhere) = (dir.join("resolv.conf"), dir.join("elsewhere"));
        fs::write(&elsewhere, "theirs").unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        replace(&path, "ours").unwrap();
        replace(&path, "ours again").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "ours again");
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "theirs");
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        fs::remove_dir_all(&dir).unwrap();
    }
}
