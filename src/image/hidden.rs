//! What the layers seen so far, from the top down, hide of those below: its contents need not be written.
//!
//! Paths are compared as they stand, symlinks not followed, so this may err in both directions. What is written and turns out
//! hidden is given back; what was left out and turns out visible is read again. The merge decides ([`super::tree`]).

use std::collections::HashSet;

use super::layer::Entries;
use super::tarball::Kind;
use super::tree::{Whiteout, components};

#[derive(Debug, Default)]
pub(crate) struct Hidden {
    /// With all that is under them.
    gone: HashSet<Box<[u8]>>,
    /// Directories of which all is gone, but not themselves.
    emptied: HashSet<Box<[u8]>>,
}

impl Hidden {
    /// Adds what a layer hides of those below it.
    pub(crate) fn add(&mut self, layer: &Entries) {
        for (path, whiteout) in &layer.whiteouts {
            let Ok(mut parts) = components(path) else { continue };
            parts.pop();
            match whiteout {
                Whiteout::Opaque => {
                    self.emptied.insert(parts.join(&b'/').into());
                }
                Whiteout::Name(name) => {
                    parts.push(name);
                    self.gone.insert(parts.join(&b'/').into());
                }
                Whiteout::Ignored => {}
            }
        }
        for brought in layer.entries.iter().filter(|brought| brought.entry.kind != Kind::Dir) {
            if let Ok(parts) = components(&brought.entry.path) {
                self.gone.insert(parts.join(&b'/').into());
            }
        }
    }

    /// Whether a file of a layer further down is hidden.
    pub(crate) fn hides(&self, path: &[u8]) -> bool {
        let Ok(parts) = components(path) else { return false };
        if self.emptied.contains(&b""[..]) {
            return true;
        }
        let mut prefix = Vec::with_capacity(path.len());
        for (depth, part) in parts.iter().enumerate() {
            if depth > 0 {
                prefix.push(b'/');
            }
            prefix.extend_from_slice(part);
            let above = depth + 1 < parts.len();
            if self.gone.contains(&prefix[..]) || above && self.emptied.contains(&prefix[..]) {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whiteouts_hide_what_is_under_them() {
        let name =
            |path: &str, name: &str| (path.as_bytes().to_vec(), Whiteout::Name(name.as_bytes().into()));
        let layer = Entries {
            whiteouts: vec![
                name("./.wh.a", "a"),
                name("b/c/.wh.d", "d"),
                (b"e/.wh..wh..opq".to_vec(), Whiteout::Opaque),
            ],
            entries: Vec::new(),
        };
        let mut hidden = Hidden::default();
        hidden.add(&layer);
        for path in ["a", "./a/x", "/b/c/d", "b/c/d/e", "e/x", "e/x/y"] {
            assert!(hidden.hides(path.as_bytes()), "{path}");
        }
        for path in ["ab", "b", "b/c", "b/c/dd", "e", "x/a"] {
            assert!(!hidden.hides(path.as_bytes()), "{path}");
        }
        hidden.add(&Entries {
            whiteouts: vec![(b".wh..wh..opq".to_vec(), Whiteout::Opaque)],
            entries: Vec::new(),
        });
        assert!(hidden.hides(b"x"));
    }
}
