//! What upper layers do to lower ones.

use crate::layers::{Entry, tarball};

fn files(dir: &str, names: &[&str]) -> Vec<Entry> {
    let files = names.iter().map(|name| Entry::file(format!("{dir}/{name}"), format!("low {dir}/{name}")));
    [Entry::dir(dir)].into_iter().chain(files).collect()
}

fn low() -> Vec<u8> {
    let mut all = vec![
        Entry::dir("turn"),
        Entry::file("turn/file-dir", "low"),
        Entry::symlink("turn/symlink-dir", "file-dir"),
        Entry::symlink("turn/symlink-file", "file-dir"),
        Entry::fifo("turn/fifo-file"),
        Entry::char("turn/char-dir", 1, 3),
        Entry::dir("links"),
        Entry::file("links/removed", "low 1"),
        Entry::hard_link("links/of-removed", "links/removed"),
        Entry::file("links/replaced", "low 2"),
        Entry::hard_link("links/of-replaced", "links/replaced"),
        Entry::file("links/kept", "low 3"),
        Entry::hard_link("links/of-kept", "links/kept"),
    ];
    for dir in ["white", "white/deep", "opaque-first", "opaque-last", "opaque-last/sub", "opaque-alone"] {
        all.extend(files(dir, &["a", "b", "c"]));
    }
    for dir in ["turn/dir-file", "turn/dir-symlink", "turn/dir-fifo", "kept", "gone", "gone/deep"] {
        all.extend(files(dir, &["a", "b"]));
    }
    tarball(all)
}

/// What docker and umoci agree upon.
pub(crate) fn agreed() -> Vec<Vec<u8>> {
    let middle = tarball([
        // Directories keep what is in them, and take a new owner, mode, and time.
        Entry::dir("kept").mode(0o700).owner(8, 9).mtime(5),
        Entry::file("kept/b", "middle"),
        Entry::file("kept/c", "middle"),
        Entry::dir("white"),
        Entry::file("white/.wh.a", ""),
        Entry::file("white/.wh.deep", ""),
        Entry::file("white/b", "middle"),
        Entry::file(".wh.gone", ""),
        Entry::file(".wh.never-there", ""),
        Entry::dir("opaque-first").mode(0o711),
        Entry::file("opaque-first/.wh..wh..opq", ""),
        Entry::file("opaque-first/b", "middle"),
        Entry::file("opaque-first/new", "middle"),
        Entry::dir("opaque-last"),
        Entry::file("opaque-last/b", "middle"),
        Entry::dir("opaque-last/sub"),
        Entry::file("opaque-last/sub/new", "middle"),
        Entry::file("opaque-last/.wh..wh..opq", ""),
        Entry::dir("opaque-alone"),
        Entry::file("opaque-alone/.wh..wh..opq", ""),
        Entry::dir("turn"),
        Entry::dir("turn/file-dir"),
        Entry::file("turn/file-dir/new", "middle"),
        Entry::file("turn/dir-file", "middle"),
        Entry::symlink("turn/dir-symlink", "dir-file"),
        Entry::fifo("turn/dir-fifo"),
        Entry::dir("turn/symlink-dir"),
        Entry::file("turn/symlink-dir/new", "middle"),
        Entry::file("turn/symlink-file", "middle"),
        Entry::file("turn/fifo-file", "middle"),
        Entry::dir("turn/char-dir"),
        Entry::dir("links"),
        Entry::file("links/.wh.removed", ""),
        Entry::file("links/replaced", "middle"),
        // A link within the layer.
        Entry::file("links/one", "middle"),
        Entry::hard_link("links/two", "links/one"),
    ]);
    let high = tarball([
        // And back.
        Entry::dir("turn"),
        Entry::file("turn/file-dir", "high"),
        Entry::dir("turn/dir-file"),
        Entry::file("turn/dir-file/new", "high"),
        Entry::dir("turn/dir-symlink").mode(0o750),
        Entry::symlink("turn/symlink-dir", "file-dir"),
        Entry::dir("gone"),
        Entry::file("gone/new", "high"),
        Entry::dir("white"),
        Entry::file("white/a", "high"),
        Entry::file("white/.wh.b", ""),
        Entry::file("white/.wh.c", ""),
        Entry::dir("opaque-first"),
        Entry::file("opaque-first/.wh.new", ""),
        Entry::file("opaque-first/a", "high"),
        Entry::dir("links"),
        Entry::file("links/removed", "high"),
        Entry::file("links/.wh.one", ""),
        // Directories that no entry is about.
        Entry::file("implied/deep/file", "high"),
        Entry::file("implied/other", "high"),
        // A way through a symlink of the same layer.
        Entry::dir("real"),
        Entry::symlink("way", "real"),
        Entry::file("way/through", "high"),
        Entry::symlink("way-up", "../../real"),
        Entry::file("way-up/through-too", "high"),
    ]);
    vec![low(), middle, high]
}

/// What umoci does as we do, and docker 20.10 refuses, or has otherwise since each layer lies in a directory of its own.
pub(crate) fn by_umoci() -> Vec<Vec<u8>> {
    let high = tarball([
        // Refused: two entries of one name.
        Entry::file("twice", "first"),
        Entry::symlink("twice", "second"),
        Entry::dir("again").mode(0o700),
        Entry::file("again/in", "high"),
        Entry::dir("again").mode(0o711).mtime(7),
        // Refused: a link to what another layer has.
        Entry::hard_link("links/across", "links/kept"),
        Entry::hard_link("links/across-of-replaced", "/links/of-replaced"),
        // Becomes a directory in the symlink's place.
        Entry::file("way/across", "high"),
        // Shows what is below.
        Entry::file(".wh.kept", ""),
        Entry::dir("kept"),
        Entry::file("kept/new", "high"),
    ]);
    let last = tarball([
        Entry::file("links/.wh.across-of-replaced", ""),
        Entry::file("links/kept", "last"),
        // Through two symlinks of different layers.
        Entry::symlink("to-way", "./real/../way"),
        Entry::file("to-way/last", "last"),
        Entry::file("way/.wh.across", ""),
    ]);
    vec![high, last]
}

/// Layers above [`agreed`] that docker 20.10 does not take, and a word of its answer.
pub(crate) fn refused_by_docker() -> Vec<(Vec<u8>, &'static str)> {
    vec![
        (tarball([Entry::file("twice", "1"), Entry::symlink("twice", "2")]), "duplicates of file paths"),
        (tarball([Entry::dir("again"), Entry::dir("again").mode(0o711)]), "duplicates of file paths"),
        (tarball([Entry::hard_link("links/across", "links/kept")]), "no such file or directory"),
        (tarball([Entry::new(b'7', "contiguous", "").content(b"x")]), "unhandled tar header type"),
        // It makes the whiteout a device node, where something is already.
        (tarball([Entry::file("kept/a", "x"), Entry::file("kept/.wh.a", "")]), "file exists"),
    ]
}
