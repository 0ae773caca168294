//! Archives of images, damaged and odd ones.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

/// Where a member of an archive lies in it, in bytes.
pub(crate) struct MemberAt {
    pub(crate) header: u64,
    pub(crate) data: u64,
    pub(crate) size: u64,
}

/// The first member whose path ends like this.
pub(crate) fn member(archive: &Path, end: &str) -> MemberAt {
    let mut archive = tar::Archive::new(File::open(archive).unwrap());
    let mut entries = archive.entries_with_seek().unwrap().map(Result::unwrap);
    let found = entries.find(|entry| entry.path().unwrap().to_str().unwrap().ends_with(end)).unwrap();
    MemberAt { header: found.raw_header_position(), data: found.raw_file_position(), size: found.size() }
}

/// Copies the first `length` bytes.
pub(crate) fn copy_start(from: &Path, to: &Path, length: u64) {
    let copied =
        io::copy(&mut File::open(from).unwrap().take(length), &mut File::create(to).unwrap()).unwrap();
    assert_eq!(copied, length);
}

/// Changes one byte; a second time, it is what it was.
pub(crate) fn flip(path: &Path, at: u64) {
    let mut file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[byte[0] ^ 0x55]).unwrap();
}

/// Writes an image with one file, as `docker save` would, for this system and processor.
pub(crate) fn write_small(path: &Path, os: &str, architecture: &str) {
    let layer = tarball(&[("hello", b"#!/bin/sh\n")]);
    let config = format!(
        r#"{{"os":"{os}","architecture":"{architecture}","config":{{}},"rootfs":{{"type":"layers","diff_ids":["sha256:{}"]}}}}"#,
        hex(&layer)
    );
    let name = format!("{}.json", hex(config.as_bytes()));
    let manifest = format!(r#"[{{"Config":"{name}","RepoTags":["small:latest"],"Layers":["l/layer.tar"]}}]"#);
    let whole = tarball(&[
        ("l/layer.tar", &layer),
        (&name, config.as_bytes()),
        ("manifest.json", manifest.as_bytes()),
    ]);
    fs::write(path, whole).unwrap();
}

fn tarball(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        builder.append_data(&mut header, path, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn hex(data: &[u8]) -> String {
    Sha256::digest(data).iter().map(|byte| format!("{byte:02x}")).collect()
}
