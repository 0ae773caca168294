//! Trees that are copied, and entries that a hostile sender makes up.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use bottle_protocol::{Copied, Entry, EntryKind};
use tempfile::TempDir;

use crate::{Apply, Destination, Owners, Rules, TransferError, Walk};

fn to(path: &Path, name: Option<&str>) -> Destination {
    let name = name.map(|name| name.as_bytes().to_vec());
    Destination { path: path.to_owned(), name, must_exist: false }
}

/// Copies as both sides together would.
fn copy(from: &Path, destination: Destination, rules: Rules) -> Result<Copied, TransferError> {
    let mut walk = Walk::open(from, false)?;
    let mut apply = Apply::new(destination, rules);
    let mut buffer = [0; 1000];
    while let Some(entry) = walk.next()? {
        apply.entry(entry)?;
        loop {
            match walk.read(&mut buffer)? {
                0 => break,
                count => apply.content(&buffer[..count])?,
            }
        }
    }
    apply.finish()
}

fn entry(path: &str, kind: EntryKind) -> Entry {
    let path = path.as_bytes().to_vec().into();
    Entry { path, kind, mode: 0o644, uid: 0, gid: 0, mtime: 1, mtime_ns: 2 }
}

fn file(path: &str, size: u64) -> Entry {
    entry(path, EntryKind::File { size })
}

fn directory(path: &str) -> Entry {
    Entry { mode: 0o755, ..entry(path, EntryKind::Directory) }
}

fn link(path: &str, target: &str) -> Entry {
    entry(path, EntryKind::Symlink { target: target.as_bytes().to_vec().into() })
}

fn hard(path: &str, target: &str) -> Entry {
    entry(path, EntryKind::HardLink { target: target.as_bytes().to_vec().into() })
}

/// A host's side that has taken a root directory, and where it is.
fn at_work() -> (TempDir, Apply) {
    let outside = TempDir::new().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    fs::create_dir(outside.path().join("in")).unwrap();
    let mut apply = Apply::new(to(&outside.path().join("in"), None), Rules::host());
    apply.entry(directory("")).unwrap();
    (outside, apply)
}

/// Everything below, with what it is.
fn listing(path: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open = vec![path.to_owned()];
    while let Some(directory) = open.pop() {
        for found in fs::read_dir(&directory).unwrap() {
            let found = found.unwrap().path();
            let metadata = fs::symlink_metadata(&found).unwrap();
            let content = match metadata.file_type() {
                kind if kind.is_dir() => {
                    open.push(found.clone());
                    String::new()
                }
                kind if kind.is_symlink() => fs::read_link(&found).unwrap().display().to_string(),
                kind if kind.is_file() => format!("{:?}", fs::read(&found).unwrap()),
                kind => format!("fifo {}", kind.is_fifo()),
            };
            let name = found.strip_prefix(path).unwrap().display().to_string();
            let (seconds, nanos) = (metadata.mtime(), metadata.mtime_nsec());
            lines.push(format!(
                "{name} {:o} {} {seconds}.{nanos} {content}",
                metadata.mode(),
                metadata.nlink()
            ));
        }
    }
    lines.sort();
    lines
}

/// One of each, some days old.
fn example() -> TempDir {
    let tree = TempDir::new().unwrap();
    let at = |name: &str| tree.path().join(name);
    fs::create_dir_all(at("a/empty")).unwrap();
    fs::create_dir(at("a/closed")).unwrap();
    fs::write(at("a/file"), "content").unwrap();
    fs::write(at("a/nothing"), "").unwrap();
    fs::write(at("a/closed/large"), vec![7; 200_000]).unwrap();
    fs::hard_link(at("a/file"), at("a/second")).unwrap();
    symlink("../../nowhere", at("a/link")).unwrap();
    symlink("/etc", at("a/directory-link")).unwrap();
    fs::set_permissions(at("a/file"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::set_permissions(at("a/closed"), fs::Permissions::from_mode(0o555)).unwrap();
    let old = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 123_456_789);
    for name in ["a/file", "a/closed/large", "a/closed", "a"] {
        fs::File::open(at(name)).unwrap().set_modified(old).unwrap();
    }
    tree
}

#[test]
fn a_tree_comes_out_as_it_was() {
    let (from, into) = (example(), TempDir::new().unwrap());
    let copied = copy(&from.path().join("a"), to(&into.path().join("b"), Some("a")), Rules::host()).unwrap();
    let (there, here) = (listing(&from.path().join("a")), listing(&into.path().join("b")));
    // Links have no time that could be set here.
    let without_links = |lines: Vec<String>| {
        lines
            .into_iter()
            .filter(|line| !line.contains("empty") && !line.contains("link "))
            .collect::<Vec<_>>()
    };
    assert_eq!(without_links(there), without_links(here));
    assert_eq!(fs::read_link(into.path().join("b/link")).unwrap(), Path::new("../../nowhere"));
    assert_eq!((copied.entries, copied.bytes), (9, 200_007));
    let inode = |name: &str| fs::metadata(into.path().join("b").join(name)).unwrap().ino();
    assert_eq!(inode("file"), inode("second"));
    let top = fs::metadata(into.path().join("b")).unwrap();
    assert_eq!((top.mtime(), top.mtime_nsec()), (1_000_000_000, 123_456_789));
}

#[test]
fn where_things_go_is_as_docker_has_it() {
    let from = example();
    let a = from.path().join("a");
    let into = TempDir::new().unwrap();
    let at = |name: &str| into.path().join(name);
    let put = |from: &Path, name: Option<&str>, place: &str| {
        let place = format!("{}/{place}", into.path().display());
        copy(from, to(Path::new(&place), name), Rules::host())
    };
    let file = a.join("file");
    // A file: to a new name, over a file, into a directory, and not into one that is not there.
    put(&file, Some("file"), "new").unwrap();
    fs::write(at("new"), "old").unwrap();
    put(&file, Some("file"), "new").unwrap();
    assert_eq!(fs::read(at("new")).unwrap(), b"content");
    fs::create_dir(at("dir")).unwrap();
    put(&file, Some("file"), "dir").unwrap();
    put(&file, Some("file"), "dir/").unwrap();
    assert_eq!(fs::read(at("dir/file")).unwrap(), b"content");
    assert!(matches!(put(&file, Some("file"), "missing/"), Err(TransferError::NoDirectory { .. })));
    assert!(matches!(put(&file, Some("file"), "missing/x"), Err(TransferError::NoDirectory { .. })));
    assert!(matches!(put(&file, Some("file"), "new/"), Err(TransferError::InTheWay { .. })));
    assert!(matches!(put(&file, Some("file"), "new/x"), Err(TransferError::NoDirectory { .. })));
    // A directory: into one, as a new one, its content only, and not over a file.
    put(&a, Some("a"), "dir").unwrap();
    assert_eq!(fs::read(at("dir/a/file")).unwrap(), b"content");
    put(&a, Some("a"), "tree/").unwrap();
    assert_eq!(fs::read(at("tree/file")).unwrap(), b"content");
    fs::create_dir(at("content")).unwrap();
    put(&a, None, "content").unwrap();
    put(&a, None, "content").unwrap();
    assert_eq!(fs::read(at("content/file")).unwrap(), b"content");
    assert!(matches!(put(&a, Some("a"), "new"), Err(TransferError::InTheWay { .. })));
    // A file does not replace a directory, wherever that is.
    fs::create_dir_all(at("other/file")).unwrap();
    assert!(matches!(put(&file, Some("file"), "other"), Err(TransferError::InTheWay { .. })));
    fs::remove_dir(at("other/file")).unwrap();
    fs::create_dir(at("other/link")).unwrap();
    assert!(matches!(put(&a, None, "other"), Err(TransferError::InTheWay { .. })));
    assert!(put(&a, Some("../up"), "dir").is_err());
}

#[test]
fn a_directory_that_exists_keeps_its_mode_and_owner() {
    let (from, into) = (example(), TempDir::new().unwrap());
    fs::set_permissions(into.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::create_dir(into.path().join("closed")).unwrap();
    copy(&from.path().join("a"), to(into.path(), None), Rules::guest(Owners::Own)).unwrap();
    assert_eq!(fs::metadata(into.path()).unwrap().mode() & 0o7777, 0o1777);
    assert_eq!(fs::metadata(into.path().join("closed")).unwrap().mode() & 0o777, 0o755);
}

#[test]
fn links_at_the_destination_are_followed_to_directories_only() {
    let (from, into) = (example(), TempDir::new().unwrap());
    let at = |name: &str| into.path().join(name);
    fs::create_dir(at("real")).unwrap();
    fs::write(at("precious"), "precious").unwrap();
    symlink("real", at("to-directory")).unwrap();
    symlink("precious", at("to-file")).unwrap();
    let file = from.path().join("a/file");
    copy(&file, to(&at("to-directory"), Some("x")), Rules::host()).unwrap();
    assert_eq!(fs::read(at("real/x")).unwrap(), b"content");
    copy(&file, to(&at("to-file"), Some("x")), Rules::host()).unwrap();
    assert_eq!(fs::read(at("precious")).unwrap(), b"precious");
    assert_eq!(fs::read(at("to-file")).unwrap(), b"content");
}

#[test]
fn paths_that_leave_the_destination_are_refused() {
    for path in ["../x", "a/../../x", "/etc/x", "..", "a//b", "./a", "a\0b"] {
        let (outside, mut apply) = at_work();
        assert!(matches!(apply.entry(file(path, 0)), Err(TransferError::BadPath { .. })), "{path}");
        assert!(matches!(apply.entry(hard("h", path)), Err(TransferError::BadPath { .. })), "{path}");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 2);
    }
    let (_outside, mut apply) = at_work();
    assert!(apply.entry(file(&"a/".repeat(3000), 0)).is_err());
    // No file system of ours has names of that length.
    assert!(apply.entry(file(&"a".repeat(300), 0)).is_err());
}

#[test]
fn no_link_is_gone_through_be_it_old_or_just_come() {
    let (outside, mut apply) = at_work();
    symlink("..", outside.path().join("in/old")).unwrap();
    for link_path in ["old", "new"] {
        if link_path == "new" {
            apply.entry(link("new", "..")).unwrap();
        }
        let below = format!("{link_path}/stolen");
        assert!(matches!(apply.entry(file(&below, 0)), Err(TransferError::InTheWay { .. })), "{link_path}");
        assert!(matches!(apply.entry(directory(&below)), Err(TransferError::InTheWay { .. })));
        assert!(matches!(apply.entry(directory(link_path)), Err(TransferError::InTheWay { .. })));
        let linked = apply.entry(hard("h", &format!("{link_path}/secret")));
        assert!(matches!(linked, Err(TransferError::InTheWay { .. })), "{linked:?}");
    }
    // To a link itself there is no other name either: what it leads to would have one.
    apply.entry(link("to-secret", "../secret")).unwrap();
    assert!(matches!(apply.entry(hard("h", "to-secret")), Err(TransferError::BadPath { .. })));
    // A file takes a link's place, and does not go where it leads.
    apply.entry(file("to-secret", 1)).unwrap();
    apply.content(b"x").unwrap();
    assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"secret");
    assert_eq!(fs::read(outside.path().join("in/to-secret")).unwrap(), b"x");
    assert!(!outside.path().join("stolen").exists());
}

#[test]
fn a_root_that_is_a_link_gets_nothing_below_it() {
    let outside = TempDir::new().unwrap();
    let mut apply = Apply::new(to(&outside.path().join("root"), None), Rules::host());
    apply.entry(link("", "/etc")).unwrap();
    assert!(matches!(apply.entry(file("x", 0)), Err(TransferError::OutOfOrder(_))));
    // Nor does a directory become one through a link that is there.
    symlink("/etc", outside.path().join("there")).unwrap();
    let mut apply = Apply::new(to(outside.path(), Some("there")), Rules::host());
    assert!(matches!(apply.entry(directory("")), Err(TransferError::InTheWay { .. })));
}

#[test]
fn content_is_as_long_as_was_said() {
    let (_outside, mut apply) = at_work();
    assert!(matches!(apply.content(b"x"), Err(TransferError::OutOfOrder(_))));
    apply.entry(file("a", 2)).unwrap();
    assert!(matches!(apply.content(b"xyz"), Err(TransferError::OutOfOrder(_))));
    let (_outside, mut apply) = at_work();
    apply.entry(file("a", u64::MAX)).unwrap();
    apply.content(b"x").unwrap();
    assert!(matches!(apply.entry(file("b", 0)), Err(TransferError::OutOfOrder(_))));
    assert!(matches!(apply.finish(), Err(TransferError::OutOfOrder(_))));
    let (_outside, mut apply) = at_work();
    assert!(matches!(apply.entry(directory("")), Err(TransferError::OutOfOrder(_))));
    let mut apply = Apply::new(to(Path::new("/tmp"), None), Rules::host());
    assert!(matches!(apply.entry(file("a", 0)), Err(TransferError::OutOfOrder(_))));
    assert!(matches!(apply.finish(), Err(TransferError::OutOfOrder(_))));
}

#[test]
fn a_file_is_seen_when_it_is_whole_and_gone_if_it_never_is() {
    let (outside, mut apply) = at_work();
    let path = outside.path().join("in");
    fs::write(path.join("a"), "old").unwrap();
    apply.entry(file("a", 4)).unwrap();
    apply.content(b"ne").unwrap();
    assert_eq!(fs::read(path.join("a")).unwrap(), b"old");
    apply.content(b"w!").unwrap();
    assert_eq!(fs::read(path.join("a")).unwrap(), b"new!");
    for name in ["a", "b"] {
        let (outside, mut apply) = at_work();
        fs::write(outside.path().join("in/a"), "old").unwrap();
        apply.entry(file(name, 4)).unwrap();
        apply.content(b"ne").unwrap();
        drop(apply);
        let left: Vec<_> = listing(&outside.path().join("in"));
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(fs::read(outside.path().join("in/a")).unwrap(), b"old");
    }
}

#[test]
fn files_without_a_name_are_not_needed() {
    // As where the system has none: under a temporary name, over an old file and a new one.
    let directory = TempDir::new().unwrap();
    for _ in 0..2 {
        let open = || std::sync::Arc::new(fs::File::open(directory.path()).unwrap().into());
        let mut pending = crate::pending::Pending::named(open()).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().filter(hidden).count(), 1);
        pending.file.write_all(b"x").unwrap();
        pending.publish(b"a").unwrap();
        drop(crate::pending::Pending::named(open()).unwrap());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}

fn hidden(entry: &std::io::Result<fs::DirEntry>) -> bool {
    entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with(".bottle-cp-"))
}

#[test]
fn duplicates_take_each_others_place() {
    let (outside, mut apply) = at_work();
    for text in ["first", "2nd"] {
        apply.entry(file("a", text.len() as u64)).unwrap();
        apply.content(text.as_bytes()).unwrap();
        apply.entry(directory("d")).unwrap();
        apply.entry(link("l", text)).unwrap();
        apply.entry(hard("h", "a")).unwrap();
        apply.entry(hard("a", "a")).unwrap();
    }
    apply.finish().unwrap();
    let path = outside.path().join("in");
    assert_eq!(fs::read(path.join("a")).unwrap(), b"2nd");
    assert_eq!(fs::read_link(path.join("l")).unwrap(), Path::new("2nd"));
    assert_eq!(fs::metadata(path.join("a")).unwrap().nlink(), 2);
    assert_eq!(fs::read_dir(path).unwrap().count(), 4);
}

#[test]
fn a_host_takes_no_pipes_devices_or_rights_and_a_guest_does() {
    let (outside, mut apply) = at_work();
    let block = || entry("disk", EntryKind::Block { major: 8, minor: 0 });
    for special in
        [block(), entry("null", EntryKind::Character { major: 1, minor: 3 }), entry("p", EntryKind::Fifo)]
    {
        assert!(matches!(apply.entry(special), Err(TransferError::NotHere { .. })));
    }
    apply.entry(Entry { mode: 0o6755, ..file("su", 0) }).unwrap();
    assert_eq!(fs::metadata(outside.path().join("in/su")).unwrap().mode() & 0o7777, 0o755);

    assert!(rustix::process::geteuid().is_root(), "only root can make a device");
    let into = TempDir::new().unwrap();
    let mut apply = Apply::new(to(into.path(), None), Rules::guest(Owners::Fixed { uid: 77, gid: 88 }));
    apply.entry(directory("")).unwrap();
    apply.entry(Entry { mode: 0o6755, ..file("su", 0) }).unwrap();
    apply.entry(block()).unwrap();
    apply.entry(link("l", "x")).unwrap();
    apply.entry(directory("d")).unwrap();
    apply.entry(entry("s", EntryKind::Socket)).unwrap();
    assert_eq!(apply.finish().unwrap().sockets, 1);
    let metadata = |name: &str| fs::symlink_metadata(into.path().join(name)).unwrap();
    assert_eq!(metadata("su").mode() & 0o7777, 0o6755);
    assert_eq!((metadata("disk").rdev(), metadata("disk").mode() & 0o777), (0x800, 0o644));
    for name in ["su", "disk", "l", "d"] {
        assert_eq!((metadata(name).uid(), metadata(name).gid()), (77, 88), "{name}");
    }
    assert!(!into.path().join("s").exists());
}

#[test]
fn a_walk_goes_through_no_link_and_knows_pipes_and_sockets() {
    let tree = TempDir::new().unwrap();
    let at = |name: &str| tree.path().join(name);
    symlink("/", at("root")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
        .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    let mut walk = Walk::open(tree.path(), false).unwrap();
    let mut kinds = Vec::new();
    while let Some(entry) = walk.next().unwrap() {
        kinds.push((String::from_utf8(entry.path.to_vec()).unwrap(), entry.kind));
    }
    let target = b"/".to_vec().into();
    let expected = [
        ("", EntryKind::Directory),
        ("pipe", EntryKind::Fifo),
        ("root", EntryKind::Symlink { target }),
        ("socket", EntryKind::Socket),
    ];
    assert_eq!(kinds, expected.map(|(path, kind)| (path.to_owned(), kind)));
    // The source itself may be a link, and is one, or what it leads to.
    assert!(!Walk::open(&at("root"), false).unwrap().is_directory());
    assert!(Walk::open(&at("root"), true).unwrap().is_directory());
}

#[test]
fn files_without_a_size_are_read_and_files_that_shrink_are_noticed() {
    let mut walk = Walk::open(Path::new("/proc/self/status"), false).unwrap();
    let Some(Entry { kind: EntryKind::File { size }, .. }) = walk.next().unwrap() else { panic!("no file") };
    assert!(size > 100, "{size}");
    let tree = TempDir::new().unwrap();
    let path = tree.path().join("a");
    fs::write(&path, vec![0; 100_000]).unwrap();
    let mut walk = Walk::open(&path, false).unwrap();
    walk.next().unwrap();
    fs::write(&path, "short").unwrap();
    let mut buffer = vec![0; 65_536];
    let error = std::iter::from_fn(|| Some(walk.read(&mut buffer))).find_map(Result::err).unwrap();
    assert!(error.to_string().contains("became shorter"), "{error}");
}

#[test]
fn parents_that_a_tar_file_leaves_out_are_made() {
    let (outside, mut apply) = at_work();
    apply.entry(file("x/y/z", 0)).unwrap();
    apply.entry(file("x/w", 0)).unwrap();
    apply.finish().unwrap();
    let y = fs::metadata(outside.path().join("in/x/y")).unwrap();
    assert_eq!(y.mode() & 0o777, 0o755);
    assert!(outside.path().join("in/x/y/z").exists());
}

#[test]
fn what_is_kept_stays_and_what_is_missing_comes() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("there"), "old").unwrap();
    symlink("nowhere", dir.path().join("link")).unwrap();
    let put = |keep| {
        let rules = Rules::guest(Owners::Own).keeping(keep);
        let mut apply = Apply::new(to(dir.path(), None), rules);
        apply.entry(directory("")).unwrap();
        for name in ["there", "link", "missing"] {
            apply.entry(file(name, 3)).unwrap();
            apply.content(b"new").unwrap();
        }
        apply.entry(file("empty", 0)).unwrap();
        apply.entry(link("there", "elsewhere")).unwrap();
        apply.finish().unwrap();
        fs::read_to_string(dir.path().join("missing")).unwrap()
    };
    assert_eq!(put(true), "new");
    assert_eq!(fs::read_to_string(dir.path().join("there")).unwrap(), "old");
    assert_eq!(fs::read_link(dir.path().join("link")).unwrap(), Path::new("nowhere"));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
    put(false);
    assert_eq!(fs::read_link(dir.path().join("there")).unwrap(), Path::new("elsewhere"));
    assert_eq!(fs::read_to_string(dir.path().join("link")).unwrap(), "new");
}

#[test]
fn a_real_path_leads_through_no_link_and_to_a_directory() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().canonicalize().unwrap();
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::write(root.join("a/b/file"), "").unwrap();
    // To be passed, and not to be listed.
    fs::set_permissions(root.join("a"), fs::Permissions::from_mode(0o711)).unwrap();
    symlink("a", root.join("link")).unwrap();
    symlink("b", root.join("a/link")).unwrap();
    let mut walk = Walk::open_real(&root.join("a/b")).unwrap();
    assert!(walk.is_directory());
    assert_eq!(walk.next().unwrap().unwrap().kind, EntryKind::Directory);
    assert_eq!(&walk.next().unwrap().unwrap().path[..], b"file");
    for path in ["link/b", "a/link", "a/b/file"] {
        let error = Walk::open_real(&root.join(path)).unwrap_err();
        assert!(matches!(error, TransferError::NotReal { .. }), "{path}: {error}");
    }
    let missing = Walk::open_real(&root.join("a/c")).unwrap_err().to_string();
    assert!(missing.contains("/a/c`") && missing.contains("No such file"), "{missing}");
    for path in ["a/b", "/a/../b"] {
        assert!(matches!(Walk::open_real(Path::new(path)), Err(TransferError::BadPath { .. })), "{path}");
    }
}
