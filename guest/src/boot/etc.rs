//! The few files that a container runtime would have put into the image's root.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::warn;

/// Names that programs need to resolve. `/etc/resolv.conf` is left as it is, or empty: there is no DNS by design.
pub(super) fn write(hostname: &str) {
    let hosts =
        format!("127.0.0.1\tlocalhost\n127.0.0.1\t{hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for (path, content) in
        [("/etc/hosts", &*hosts), ("/etc/hostname", &*format!("{hostname}\n")), ("/etc/resolv.conf", "")]
    {
        if is_missing_or_empty(Path::new(path)) {
            drop(fs::create_dir("/etc"));
            warn(fs::write(path, content), path);
        }
    }
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
