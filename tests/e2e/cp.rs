//! `bottle cp` with a guest that runs. What can be tested without one is in `tests/copy.rs`.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::{Bottle, Ended, Shell};

/// Larger than all windows and buffers on the way, and no multiple of anything.
const LARGE_BYTES: usize = 4_000_003;

/// `bottle cp ARGS`, beside the VM of `shell`.
fn cp(shell: &Shell, args: &[&str]) -> Bottle {
    Bottle::new(&[&["cp"], args].concat()).env("BOTTLE_STATE_DIR", shell.state())
}

#[track_caller]
fn done(ended: Ended) -> Ended {
    assert!(ended.code == 0 && ended.stderr.is_empty(), "{}", ended.quoted());
    ended
}

#[track_caller]
fn refused(ended: &Ended, text: &str) {
    assert!(ended.code == 125 && ended.stderr.contains(text), "{text:?}: {}", ended.quoted());
}

fn large() -> Vec<u8> {
    (0..LARGE_BYTES).map(|at| (at % 251) as u8).collect()
}

fn str_of(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn files_go_into_a_running_bottle_and_come_out() {
    let host = TempDir::new().unwrap();
    let at = |name: &str| host.path().join(name);
    fs::create_dir_all(at("tree/sub")).unwrap();
    fs::write(at("tree/sub/large"), large()).unwrap();
    fs::write(at("tree/small"), "small\n").unwrap();
    symlink("sub/large", at("tree/link")).unwrap();
    fs::hard_link(at("tree/small"), at("tree/second")).unwrap();
    let mut shell = Shell::start("node-user", &["--name", "cp"]);

    // Into the working directory, for the image's user.
    done(cp(&shell, &[str_of(&at("tree")), "cp:in"]).run());
    let look = "cd /work/in; stat -c '%n %U:%G %h' small second sub sub/large link; readlink link; wc -c < sub/large; \
                touch sub/mine && echo writable";
    let expected = "small node:node 2\nsecond node:node 2\nsub node:node 2\nsub/large node:node 1\nlink node:node 1\n\
                    sub/large\n4000003\nwritable\n";
    assert_eq!(shell.run(look), expected);
    done(cp(&shell, &["--chown", "root:daemon", str_of(&at("tree/small")), "cp:/tmp/"]).run());
    assert_eq!(shell.run("stat -c %U:%G /tmp/small"), "root:daemon\n");

    // Out again, as a tree, as one file, and through a link.
    done(cp(&shell, &["cp:in", str_of(&at("out"))]).run());
    assert!(fs::read(at("out/sub/large")).unwrap() == large());
    assert_eq!(fs::read_link(at("out/link")).unwrap(), Path::new("sub/large"));
    let metadata = |name: &str| fs::metadata(at(name)).unwrap();
    assert_eq!(metadata("out/small").ino(), metadata("out/second").ino());
    let time = |name: &str| (metadata(name).mtime(), metadata(name).mtime_nsec());
    assert_eq!(time("out/sub/large"), time("tree/sub/large"));
    done(cp(&shell, &["-L", "cp:in/link", str_of(&at("followed"))]).run());
    assert!(fs::read(at("followed")).unwrap() == large());

    // Tar streams, both ways, devices and owners in them.
    let stream = done(cp(&shell, &["cp:/dev/null", "-"]).run());
    let mut into = cp(&shell, &["-", "cp:/tmp"]).start();
    into.feed(stream.stdout);
    done(into.end());
    assert_eq!(shell.run("stat -c '%F %t:%T %U' /tmp/null"), "character special file 1:3 root\n");

    // What can't be, and says so.
    refused(&cp(&shell, &["cp:/dev/null", str_of(host.path())]).run(), "is a device");
    refused(&cp(&shell, &["cp:/no/such", str_of(host.path())]).run(), "No such file");
    refused(&cp(&shell, &[str_of(&at("tree")), "cp:/etc/passwd"]).run(), "is there");
    refused(&cp(&shell, &[str_of(&at("tree")), "cq:/tmp"]).run(), "there is no bottle named cq");
    refused(&cp(&shell, &[str_of(&at("tree")), "/tmp"]).run(), "neither SRC nor DST names a bottle");
    shell.end();
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_copy_that_is_killed_leaves_nothing_behind() {
    let host = TempDir::new().unwrap();
    let source = host.path().join("large");
    // So long that it is under way when it is killed; it takes no room here.
    fs::File::create(&source).unwrap().set_len(8 << 30).unwrap();
    let mut shell = Shell::start("debian", &["--name", "cp", "--memory", "768"]);
    let used = "used() { df --output=used -BM / | tail -n 1 | tr -d ' M'; }";
    assert_eq!(
        shell.run(&format!("{used}; before=$(used); mkdir /in; truncate -s 8G /large; echo old > /in/large")),
        ""
    );
    for signal in [Signal::KILL, Signal::INT] {
        let running = cp(&shell, &[str_of(&source), "cp:/in/large"]).start();
        // Long enough to begin, and not to end; the marks that are left are what is looked for.
        thread::sleep(Duration::from_secs(2));
        running.signal(signal);
        assert_eq!(running.end().code, 128 + signal.as_raw());
        // The guest knows of the end when it reads on. What it got is not there, under whatever name, nor without one.
        let left = shell.run(
            "for i in $(seq 30); do test $(used) -lt $((before + 5)) && echo free && break; sleep 1; done; \
                              ls -A /in; cat /in/large",
        );
        assert_eq!(left, "free\nlarge\nold\n");
        let out = host.path().join("out");
        fs::create_dir(&out).unwrap();
        let running = cp(&shell, &["cp:/large", str_of(&out)]).start();
        thread::sleep(Duration::from_secs(2));
        running.signal(signal);
        assert_eq!(running.end().code, 128 + signal.as_raw());
        assert_eq!(fs::read_dir(&out).unwrap().count(), 0, "{signal:?}");
        fs::remove_dir(&out).unwrap();
    }
    assert_eq!(shell.run("echo alive"), "alive\n");
    shell.end();
}
