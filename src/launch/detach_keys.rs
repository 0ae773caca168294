//! The keys that leave a process running and give us our terminal back: `ctrl-p,ctrl-q`, as docker has it.

use std::str::FromStr;

/// A sequence of keys. What it begins with is held back from the process until it is clear that it is not the sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

/// Not a sequence of keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{key:?} is no key: it takes single characters, ctrl-a to ctrl-z, ctrl- and one of @[\\]^_, or DEL, with commas between"
)]
pub struct BadDetachKeys {
    key: String,
}

impl Default for DetachKeys {
    fn default() -> Self {
        Self(vec![control(b'p'), control(b'q')])
    }
}

impl FromStr for DetachKeys {
    type Err = BadDetachKeys;

    fn from_str(text: &str) -> Result<Self, BadDetachKeys> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let key = |word: &str| match (word.as_bytes(), word.strip_prefix("ctrl-").map(str::as_bytes)) {
            (&[key], _) => Ok(key),
            (_, Some(&[key @ (b'a'..=b'z' | b'@' | b'['..=b'_')])) => Ok(control(key)),
            (b"DEL", _) => Ok(0x7f),
            _ => Err(BadDetachKeys { key: word.to_owned() }),
        };
        text.split(',').map(key).collect::<Result<_, _>>().map(Self)
    }
}

/// What a terminal sends for a key together with Ctrl.
fn control(key: u8) -> u8 {
    key & 0x1f
}

/// Looks for the keys in what is typed.
#[derive(Debug)]
pub(super) struct KeyWatch {
    /// Empty: they are never found.
    keys: Vec<u8>,
    /// How many of the keys were typed last, and held back.
    held: usize,
}

impl KeyWatch {
    /// Without keys, everything passes.
    pub(super) fn new(keys: Option<DetachKeys>) -> Self {
        Self { keys: keys.map(|keys| keys.0).unwrap_or_default(), held: 0 }
    }

    /// Takes what was typed and appends to `pass` what is for the process. True when the keys were typed: what is behind
    /// them is for nobody.
    pub(super) fn feed(&mut self, typed: &[u8], pass: &mut Vec<u8>) -> bool {
        if self.keys.is_empty() {
            pass.extend_from_slice(typed);
            return false;
        }
        for &byte in typed {
            // What is held and does not go on may end in a shorter beginning of the keys.
            while self.held > 0 && self.keys.get(self.held) != Some(&byte) {
                let shorter = self.shorter();
                pass.extend_from_slice(&self.keys[..self.held - shorter]);
                self.held = shorter;
            }
            if self.keys.get(self.held) == Some(&byte) {
                self.held += 1;
            } else {
                pass.push(byte);
            }
            if self.held == self.keys.len() {
                self.held = 0;
                return true;
            }
        }
        false
    }

    /// The length of the longest beginning of the keys, shorter than what is held, that what is held ends in.
    fn shorter(&self) -> usize {
        let held = &self.keys[..self.held];
        (0..self.held).rev().find(|length| held.ends_with(&self.keys[..*length])).unwrap_or(0)
    }

    /// Is something held back?
    pub(super) fn is_holding(&self) -> bool {
        self.held > 0
    }

    /// Appends what is held back: it was not the beginning of the keys after all.
    pub(super) fn release(&mut self, pass: &mut Vec<u8>) {
        pass.extend_from_slice(&self.keys[..self.held]);
        self.held = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What passes of these pieces, and whether the keys were found.
    fn typed(keys: &str, pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut watch = KeyWatch::new(Some(keys.parse().unwrap()));
        let mut pass = Vec::new();
        let found = pieces.iter().any(|piece| watch.feed(piece, &mut pass));
        (pass, found)
    }

    #[test]
    fn keys_are_written_as_docker_has_them() {
        let keys = |text: &str| text.parse::<DetachKeys>().map(|keys| keys.0);
        assert_eq!(keys("ctrl-p,ctrl-q"), Ok(vec![0x10, 0x11]));
        assert_eq!(keys(""), Ok(DetachKeys::default().0));
        assert_eq!(keys("a,ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_,DEL"), {
            Ok(vec![b'a', 0x00, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f, 0x7f])
        });
        for bad in ["ctrl-", "ctrl-A", "ctrl-1", "ctrl-pp", "ctrl-ä", "x,", ",", "ab", "alt-x"] {
            assert!(keys(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_keys_are_found_however_they_are_cut() {
        assert_eq!(typed("ctrl-p,ctrl-q", &[b"ls\r\x10\x11"]), (b"ls\r".to_vec(), true));
        assert_eq!(typed("ctrl-p,ctrl-q", &[b"ls\r\x10", b"\x11"]), (b"ls\r".to_vec(), true));
        assert_eq!(typed("x", &[b"abxc"]), (b"ab".to_vec(), true));
    }

    #[test]
    fn what_only_begins_like_them_passes_in_order() {
        assert_eq!(typed("ctrl-p,ctrl-q", &[b"\x10", b"a\x11"]), (b"\x10a\x11".to_vec(), false));
        assert_eq!(typed("ctrl-p,ctrl-q", &[b"\x10\x10\x11"]), (b"\x10".to_vec(), true));
        assert_eq!(typed("a,a,b", &[b"aaab"]), (b"a".to_vec(), true));
        assert_eq!(typed("a,b,a,c", &[b"ab", b"abac"]), (b"ab".to_vec(), true));
        assert_eq!(typed("a,b,a,c", &[b"abax"]), (b"abax".to_vec(), false));
    }

    #[test]
    fn a_beginning_is_held_back_and_can_be_released() {
        let mut watch = KeyWatch::new(Some(DetachKeys::default()));
        let mut pass = Vec::new();
        assert!(!watch.feed(b"a\x10", &mut pass));
        assert_eq!((&pass[..], watch.is_holding()), (&b"a"[..], true));
        watch.release(&mut pass);
        assert_eq!((&pass[..], watch.is_holding()), (&b"a\x10"[..], false));
        // The second key alone is no longer the rest of the sequence.
        assert!(!watch.feed(b"\x11", &mut pass));
        assert_eq!(pass, b"a\x10\x11");
    }

    #[test]
    fn without_keys_everything_passes() {
        let mut pass = Vec::new();
        assert!(!KeyWatch::new(None).feed(b"\x10\x11", &mut pass));
        assert_eq!(pass, b"\x10\x11");
    }
}
