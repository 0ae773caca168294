//! Layers built in memory, merged, and what is left looked at.

use std::fs::File;
use std::io::Write;

use super::blob::Blob;
use super::config::ImageId;
use super::error::ImageError;
use super::layer::{Layer, Room, entry_error};
use super::region::Region;
use super::tree::{Body, ROOT, Tree};

/// A layer in the making.
struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn entry(mut self, kind: tar::EntryType, path: &str, link: &str, content: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_size(content.len() as u64);
        // Set by hand: the builder refuses the paths that are to be refused here.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    fn file(self, path: &str, content: &str) -> Self {
        self.entry(tar::EntryType::Regular, path, "", content.as_bytes())
    }

    fn dir(self, path: &str) -> Self {
        self.entry(tar::EntryType::Directory, path, "", b"")
    }

    fn link(self, path: &str, target: &str) -> Self {
        self.entry(tar::EntryType::Link, path, target, b"")
    }

    fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(tar::EntryType::Symlink, path, target, b"")
    }

    fn region(self) -> Region {
        region(&self.0.into_inner().unwrap())
    }
}

fn region(bytes: &[u8]) -> Region {
    let mut file: File = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Region::whole(file).unwrap()
}

/// Everything in the merged tree: directories with a `/`, files with `=content`, symlinks with `->target`.
fn merge(layers: Vec<Tar>) -> Result<Vec<String>, ImageError> {
    let mut tree = Tree::default();
    let mut contents = Vec::new();
    for (number, tar) in layers.into_iter().enumerate() {
        let plain = tar.region();
        let name = format!("layer {number}");
        let layer = Layer { name: name.clone(), diff_id: ImageId::of(b""), blob: Blob::Local(plain.clone()) };
        let entries = layer.index(&plain, &Room::new(0), &mut |entry, _| {
            contents.push(plain.part(entry.offset, entry.shape.stored).unwrap());
            Ok(contents.len() - 1)
        })?;
        tree.apply(entries).map_err(|(path, reason)| entry_error(&name, &path, reason))?;
    }
    let mut lines = Vec::new();
    let mut todo = vec![(ROOT, String::new())];
    while let Some((id, path)) = todo.pop() {
        let Body::Dir(children) = &tree.node(id).body else { unreachable!() };
        for (name, child) in children {
            let path = format!("{path}{}", std::str::from_utf8(name).unwrap());
            match &tree.node(*child).body {
                Body::Dir(_) => {
                    lines.push(format!("{path}/"));
                    todo.push((*child, format!("{path}/")));
                }
                Body::File(number) => {
                    let content = contents[*number].read_all().unwrap();
                    lines.push(format!("{path}={}", String::from_utf8(content).unwrap()));
                }
                Body::Symlink(target) => lines.push(format!("{path}->{}", String::from_utf8_lossy(target))),
                other => lines.push(format!("{path} {other:?}")),
            }
        }
    }
    lines.sort();
    Ok(lines)
}

#[track_caller]
fn merged(layers: Vec<Tar>, expected: &[&str]) {
    assert_eq!(merge(layers).unwrap(), expected);
}

#[track_caller]
fn refused(layers: Vec<Tar>, reason: &str) {
    let error = merge(layers).unwrap_err();
    assert!(matches!(error, ImageError::Entry { .. }), "{error}");
    assert!(error.to_string().contains(reason), "{error}");
}

fn base() -> Tar {
    Tar::new().dir("a").file("a/x", "low").file("a/y", "low").dir("a/d").file("a/d/z", "low").file("f", "low")
}

#[test]
fn a_whiteout_hides_what_is_below_it_and_nothing_else() {
    merged(vec![base(), Tar::new().file("a/.wh.x", "").file("a/.wh.d", "")], &["a/", "a/y=low", "f=low"]);
    let both = ["a/", "a/d/", "a/d/z=low", "a/x=new", "a/y=low", "f=low"];
    merged(vec![base(), Tar::new().file("a/.wh.x", "").file("a/x", "new")], &both);
    merged(vec![base(), Tar::new().file("a/x", "new").file("a/.wh.x", "")], &both);
    merged(
        vec![base(), Tar::new().file("no/.wh.x", "").file(".wh.no", "")],
        &merge(vec![base()]).unwrap().iter().map(String::as_str).collect::<Vec<_>>(),
    );
}

#[test]
fn an_opaque_directory_keeps_what_its_own_layer_brings_in_any_order() {
    let expected = ["a/", "a/d/", "a/d/new=1", "a/n=1", "f=low"];
    merged(
        vec![base(), Tar::new().dir("a").file("a/.wh..wh..opq", "").file("a/n", "1").file("a/d/new", "1")],
        &expected,
    );
    merged(
        vec![base(), Tar::new().dir("a").file("a/n", "1").file("a/d/new", "1").file("a/.wh..wh..opq", "")],
        &expected,
    );
    merged(vec![base(), Tar::new().file(".wh..wh..opq", "").file("n", "1")], &["n=1"]);
}

#[test]
fn kinds_replace_each_other() {
    merged(vec![base(), Tar::new().file("a", "now")], &["a=now", "f=low"]);
    merged(vec![base(), Tar::new().file(".wh.a", "").dir("f").file("f/in", "1")], &["f/", "f/in=1"]);
    merged(
        vec![base(), Tar::new().file("a", "now"), Tar::new().dir("a").file("a/n", "1")],
        &["a/", "a/n=1", "f=low"],
    );
    merged(vec![Tar::new().file("x", "1").file("x", "2").dir("x").file("x/y", "3")], &["x/", "x/y=3"]);
    merged(vec![base(), Tar::new().symlink("a", "f")], &["a->f", "f=low"]);
}

#[test]
fn a_hard_link_outlives_the_name_that_it_was_made_by() {
    merged(
        vec![base(), Tar::new().link("h", "a/x"), Tar::new().file("a/.wh.x", "")],
        &["a/", "a/d/", "a/d/z=low", "a/y=low", "f=low", "h=low"],
    );
    merged(vec![Tar::new().file("x", "1").link("y", "/x").file("x", "2").link("x", "x")], &["x=2", "y=1"]);
    refused(vec![base(), Tar::new().file("a/.wh.x", "").link("h", "a/x")], "does not exist");
    refused(vec![base(), Tar::new().link("h", "a")], "which is a directory");
    refused(vec![Tar::new().link("h", "../x")], "..");
    refused(vec![Tar::new().link("h", "h")], "does not exist");
}

#[test]
fn symlinks_in_a_path_are_followed_within_the_image() {
    let low = || Tar::new().dir("usr").dir("usr/bin").symlink("bin", "usr/bin").symlink("up", "../../usr");
    let tree = |more: &'static str| vec!["bin->usr/bin", "up->../../usr", "usr/", "usr/bin/", more];
    merged(vec![low(), Tar::new().file("bin/x", "1")], &tree("usr/bin/x=1"));
    merged(vec![low(), Tar::new().file("up/bin/x", "1")], &tree("usr/bin/x=1"));
    merged(
        vec![low(), Tar::new().file("usr/bin/x", "1"), Tar::new().file("bin/.wh.x", "")],
        &["bin->usr/bin", "up->../../usr", "usr/", "usr/bin/"],
    );
    merged(
        vec![Tar::new().symlink("a", "/no/where"), Tar::new().file("a/x", "1")],
        &["a->/no/where", "no/", "no/where/", "no/where/x=1"],
    );
    refused(vec![Tar::new().symlink("a", "b").symlink("b", "a").file("a/x", "1")], "symlinks");
}

#[test]
fn hostile_paths_are_refused() {
    refused(vec![Tar::new().file("../x", "")], "..");
    refused(vec![Tar::new().file("a/../../x", "")], "..");
    refused(vec![Tar::new().file(".wh.", "")], "names nothing");
    refused(vec![Tar::new().file(".wh...", "")], "names nothing");
    refused(vec![Tar::new().file(".wh.a/x", "")], "whiteout");
    refused(vec![Tar::new().file("./", ""), Tar::new().symlink(".", "x")], "root");
    merged(
        vec![Tar::new().file("/abs//./x", "1").file(".wh..wh.aufs", "").file(".wh..wh.plnk/1", "")],
        &["abs/", "abs/x=1"],
    );
}
