//! Files into the guest and out of it.
//!
//! ```text
//! put   Walk, or a tar stream ─► channel ─► the guest's agent, which puts them in place
//! get   the guest's agent ─► channel ─► Apply, or a tar stream
//! ```
//!
//! - [`put`] and [`get`] are the two directions, [`tar_in`] and [`tar_out`] the same for tar streams.
//! - [`give`] is what the bottle's user finds in their home.
//! - [`channel`] is the connection, with its credit both ways and a deadline for a guest that says nothing more.
//! - [`options`] is what a caller can ask for.
//!
//! What a file is and where it goes is `bottle-transfer`'s business, which the guest shares. Extended attributes are not
//! copied, and holes in files are filled.

mod channel;
mod error;
mod get;
mod give;
mod options;
mod put;
mod tar_in;
mod tar_out;

pub use error::CopyError;
pub(crate) use give::{Gift, Within};
pub use options::{CopyOptions, CopyStop};

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bottle_protocol::GetRequest;

/// The name that what `path` leads to has in another directory; none if its content is meant: `DIR/.`, `/` and the like.
fn name_of(path: &Path) -> Option<Vec<u8>> {
    let bytes = path.as_os_str().as_bytes();
    let end = bytes.iter().rposition(|byte| *byte != b'/')? + 1;
    let name = bytes[..end].rsplit(|byte| *byte == b'/').next()?;
    (!matches!(name, b"." | b"..")).then(|| name.to_vec())
}

/// Does this path mean a directory, whatever it is called? A symbolic link is followed then, as any program would.
fn means_directory(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"/") || name_of(path).is_none()
}

fn get_request(from: &Path, options: &CopyOptions<'_>) -> GetRequest {
    GetRequest {
        path: from.as_os_str().as_bytes().to_vec().into(),
        follow: options.follow || means_directory(from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_last_one_and_a_dot_is_none() {
        for (path, name) in [("a", "a"), ("/a/b", "b"), ("a/b//", "b"), ("..a", "..a"), ("a/./b", "b")] {
            assert_eq!(name_of(Path::new(path)), Some(name.as_bytes().to_vec()), "{path}");
        }
        for path in ["/", ".", "..", "a/.", "a/./", "a/..", "//"] {
            assert_eq!(name_of(Path::new(path)), None, "{path}");
        }
        assert!(means_directory(Path::new("a/")) && !means_directory(Path::new("a")));
    }
}
