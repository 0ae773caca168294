//! A tree of files as a list, made by the same programs (find, sha256sum) in a guest and on the host.

use std::collections::BTreeMap;

/// For `sh`: lists the tree below the working directory, without crossing into other file systems. Every field ends in
/// NUL, so that no name can be mistaken for anything else.
pub(crate) const LIST: &str = "find . -xdev -printf '%p\\0%y\\0%m\\0%U\\0%G\\0%s\\0%n\\0%l\\0%T@\\0' && printf 'hashes\\0' && \
                               find . -xdev -type f -print0 | xargs -0 sha256sum -z";

/// One file, as far as two file systems can agree on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) kind: String,
    pub(crate) mode: String,
    pub(crate) uid: String,
    pub(crate) gid: String,
    /// Not of directories.
    pub(crate) size: Option<String>,
    /// Not of directories.
    pub(crate) links: Option<String>,
    pub(crate) target: String,
    /// Whole seconds, of regular files.
    pub(crate) changed: Option<String>,
    /// SHA-256, of regular files.
    pub(crate) content: Option<String>,
}

/// Reads what [`LIST`] writes.
pub(crate) fn parse(bytes: &[u8]) -> BTreeMap<Vec<u8>, File> {
    let mut files = BTreeMap::new();
    let mut fields = bytes.split(|byte| *byte == 0);
    let text =
        |field: Option<&[u8]>| String::from_utf8_lossy(field.expect("the list is cut off")).into_owned();
    loop {
        let path = fields.next().expect("no hashes");
        if path == b"hashes" {
            break;
        }
        let mut next = || text(fields.next());
        let (kind, mode, uid, gid, size, links, target, changed) =
            (next(), next(), next(), next(), next(), next(), next(), next());
        let seconds = changed.split('.').next().unwrap_or_default().to_owned();
        let is_file = kind == "f";
        let not_directory = |value| if kind == "d" { None } else { Some(value) };
        let (size, links) = (not_directory(size), not_directory(links));
        let changed = is_file.then_some(seconds);
        files.insert(
            path.to_vec(),
            File { kind, mode, uid, gid, size, links, target, changed, content: None },
        );
    }
    for line in fields.filter(|line| !line.is_empty()) {
        let (hash, path) = line.split_at(64);
        let file = files.get_mut(&path[2..]).expect("a hash of a file that is not in the list");
        file.content = Some(String::from_utf8(hash.to_vec()).unwrap());
    }
    assert!(files.values().all(|file| (file.kind == "f") == file.content.is_some()), "a file has no hash");
    files
}
