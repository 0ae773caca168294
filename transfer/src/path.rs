//! Paths of entries: which are taken, and how they are shown.

use crate::TransferError;

/// The longest that Linux has, without the NUL behind it.
const PATH_LIMIT_BYTES: usize = 4095;

/// Of a printed path; the rest helps nobody.
const SHOWN_CHARACTERS: usize = 200;

/// Refuses what is no plain path below the root: absolute, with `..`, too long, and so on. The empty one is the root.
///
/// # Errors
/// [`TransferError::BadPath`].
pub fn check(path: &[u8]) -> Result<(), TransferError> {
    let bad = |why| Err(TransferError::bad_path(path, why));
    if path.is_empty() {
        return Ok(());
    }
    if path.len() > PATH_LIMIT_BYTES {
        return bad("its path has more than 4095 bytes");
    }
    if path.contains(&0) {
        return bad("its path has a NUL byte in it");
    }
    if path.starts_with(b"/") {
        return bad("its path is absolute");
    }
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b".." => return bad("its path leaves the destination"),
            b"" | b"." => return bad("its path is not a plain one"),
            _ => {}
        }
    }
    Ok(())
}

/// The directory and the name in it.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

pub(crate) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}

/// What is below `directory`, if `path` is.
pub(crate) fn below<'a>(path: &'a [u8], directory: &[u8]) -> Option<&'a [u8]> {
    if directory.is_empty() {
        return Some(path);
    }
    path.strip_prefix(directory)?.strip_prefix(b"/")
}

/// As a terminal can take it, whatever bytes it is made of.
pub fn printable(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    let mut shown: String = text.chars().take(SHOWN_CHARACTERS).flat_map(escaped).collect();
    if text.chars().nth(SHOWN_CHARACTERS).is_some() {
        shown.push('…');
    }
    shown
}

fn escaped(character: char) -> impl Iterator<Item = char> {
    // Those that turn the direction of writing around can make a path look like another one.
    let hidden =
        matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let escape = character.is_control() || hidden;
    let escaped = escape.then(|| character.escape_default());
    escaped.into_iter().flatten().chain((!escape).then_some(character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_are_taken() {
        for path in ["", "a", "a/b", "..a/b..", "a/...", "-rf", "a b\n", "ä"] {
            assert!(check(path.as_bytes()).is_ok(), "{path:?}");
        }
        assert!(check(b"\xff\xfe").is_ok());
        for path in ["/", "/a", "..", "../a", "a/..", "a/../b", ".", "./a", "a/.", "a//b", "a/", "a\0"] {
            assert!(check(path.as_bytes()).is_err(), "{path:?}");
        }
        assert!(check(&[b'a'; 4095]).is_ok());
        assert!(check(&[b'a'; 4096]).is_err());
    }

    #[test]
    fn paths_are_taken_apart_and_put_together() {
        assert_eq!(split(b"a/b/c"), (&b"a/b"[..], &b"c"[..]));
        assert_eq!(split(b"a"), (&b""[..], &b"a"[..]));
        assert_eq!(join(b"", b"a"), b"a");
        assert_eq!(join(b"a", b"b"), b"a/b");
        assert_eq!(below(b"a/b", b"a"), Some(&b"b"[..]));
        assert_eq!(below(b"ab", b"a"), None);
        assert_eq!(below(b"a", b"a"), None);
        assert_eq!(below(b"a", b""), Some(&b"a"[..]));
    }

    #[test]
    fn what_is_printed_can_do_nothing_to_a_terminal() {
        assert_eq!(printable(b"a\x1b[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(printable("a\u{202e}b".as_bytes()), "a\\u{202e}b");
        assert_eq!(printable(b"\xff"), "\u{fffd}");
        assert_eq!(printable(&[b'a'; 300]).chars().count(), 201);
    }
}
