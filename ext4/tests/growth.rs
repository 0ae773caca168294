//! Images that are used afterwards: grown, written to, and real trees that come out as they went in.
#![allow(clippy::unwrap_used, clippy::panic, reason = "also outside of test functions, this is all test")]

mod common;

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bottle_ext4::{InodeId, Meta, Options, Time, Writer};
use common::{Image, image, meta, options};

const GIB: u64 = 1 << 30;

fn grow(image: &Image, size: u64) {
    let path = image.path.to_str().unwrap();
    let run = common::run("resize2fs", &[path, &format!("{}K", size >> 10)]);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    image.check();
    image.stat("/file", &["Size: 3"]);
}

fn one_file(writer: &mut Writer) {
    writer.file(writer.root(), b"file", &meta(0o644), 3, &mut &b"abc"[..]).unwrap();
}

#[test]
fn resize2fs_makes_it_larger() {
    // From one block of group descriptors to one, to two and to eight; and from one that is not of whole groups.
    for (from, to) in
        [(GIB, 4 * GIB), (GIB, 16 * GIB), (GIB, 64 * GIB), (GIB + (77 << 20), 20 * GIB), (10 << 20, GIB)]
    {
        grow(&image(options(from), one_file), to);
    }
}

#[test]
fn resize2fs_makes_it_smaller() {
    grow(&image(options(4 * GIB), one_file), GIB);
}

/// The kernel writes to the image, where this may mount; then it must still be right.
#[test]
fn the_kernel_writes_to_it() {
    let image = image(options(GIB), |writer| {
        one_file(writer);
        let dir = writer.dir(writer.root(), b"large", &meta(0o755)).unwrap();
        for number in 0..5000 {
            writer.fifo(dir, format!("as it was {number}").as_bytes(), &meta(0o644)).unwrap();
        }
    });
    image.mounted_with("loop", |at| {
        for number in 0..5000 {
            std::fs::write(at.join(format!("large/new {number}")), format!("{number}")).unwrap();
        }
        for number in (0..5000).step_by(2) {
            std::fs::remove_file(at.join(format!("large/as it was {number}"))).unwrap();
        }
        std::fs::write(at.join("file"), vec![7; 50 << 20]).unwrap();
        std::fs::create_dir(at.join("dir")).unwrap();
    });
    image.check();
    image.mounted(|at| {
        assert_eq!(at.join("large").read_dir().unwrap().count(), 7500);
        assert_eq!(std::fs::read(at.join("large/new 4999")).unwrap(), b"4999");
    });
}

/// The kernel grows it while it is mounted.
#[test]
#[ignore = "needs CAP_SYS_RESOURCE: run cargo xtask test"]
fn it_grows_while_mounted() {
    let image = image(options(GIB), one_file);
    let file = File::options().write(true).open(&image.path).unwrap();
    file.set_len(12 * GIB).unwrap();
    image.mounted_with("loop", |at| {
        let source = std::fs::read_to_string("/proc/mounts").unwrap();
        let device = source
            .lines()
            .find(|line| line.split(' ').nth(1) == at.to_str())
            .and_then(|line| line.split(' ').next())
            .unwrap()
            .to_owned();
        let run = common::run("resize2fs", &[&device]);
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    });
    image.check();
    let said = common::run("dumpe2fs", &["-h", image.path.to_str().unwrap()]).stdout;
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("Block count:              3145728\n"), "{said}");
}

fn copy(writer: &mut Writer, from: &Path, to: InodeId) -> u64 {
    let mut count = 0;
    for entry in from.read_dir().unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name());
        let found = path.symlink_metadata().unwrap();
        let meta = Meta {
            mode: (found.permissions().mode() & 0o7777) as u16,
            uid: found.uid(),
            gid: found.gid(),
            mtime: Time { seconds: found.mtime(), nanoseconds: found.mtime_nsec() as u32 },
            xattrs: &[],
        };
        let name = name.as_bytes();
        if found.is_dir() {
            let dir = writer.dir(to, name, &meta).unwrap();
            count += copy(writer, &path, dir);
        } else if found.is_symlink() {
            let target = std::fs::read_link(&path).unwrap();
            writer.symlink(to, name, &meta, target.as_os_str().as_bytes()).unwrap();
        } else if found.is_file() {
            writer.file(to, name, &meta, found.len(), &mut File::open(&path).unwrap()).unwrap();
        }
        count += 1;
    }
    count
}

#[test]
fn a_real_tree() {
    let source = ["/usr/share/doc", "/usr/lib/python3", "/usr/share"].map(PathBuf::from);
    let source = source.iter().find(|path| path.is_dir()).unwrap();
    let mut count = 0;
    let image = image(Options { inodes: Some(200_000), ..options(8 * GIB) }, |writer| {
        let to = writer.dir(writer.root(), b"tree", &meta(0o755)).unwrap();
        count = copy(writer, source, to);
    });
    assert!(count > 100, "{count} files in {}", source.display());
    let out = image.dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    image.debugfs(&format!("rdump /tree {}", out.display()));
    let diff = |one: &Path, other: &Path| {
        let arguments = ["-r", "--no-dereference", one.to_str().unwrap(), other.to_str().unwrap()];
        let run = common::run("diff", &arguments);
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
    };
    diff(source, &out.join("tree"));
    image.mounted(|at| diff(source, &at.join("tree")));
}
