//! What a user can get wrong: one line that names it, a hint, an exit code, and nothing left behind.

use std::fs;

use tempfile::TempDir;

use crate::archives::{self, MemberAt};
use crate::harness::{Bottle, archive};

/// A machine that can't be had is refused before anything is started.
#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_machine_that_cannot_be_had_is_refused() {
    let run = |options: &[&str]| Bottle::vm_run("debian", options, &["true"]).run();
    run(&["--memory", "4000000"]).refused(125, &["4000000 MiB"]);
    run(&["--memory", "0"]).refused(125, &["0 MiB"]);
    run(&["--cpus", "0"]).refused(125, &["0 virtual processors"]);
    run(&["--cpus", "255"]).refused(125, &["255 virtual processors"]);
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_rule_that_is_none_is_refused() {
    for rule in
        ["tcp:127.0.0.1", "udp:127.0.0.1:53", "tcp:127.0.0.1/33:80", "tcp:127.0.0.1:80-79", "tcp:host:80", ""]
    {
        let ended = Bottle::vm_run("debian", &["--allow", rule], &["true"]).run().expect(125);
        assert!(ended.stderr.contains("--allow") && ended.stderr.contains(rule), "{}", ended.quoted());
    }
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_missing_archive_is_named() {
    let run = |image: &str| Bottle::new(&["vm", "run", image, "--", "true"]).run();
    run("docker-archive:/no/such/image.tar").refused(125, &["/no/such/image.tar"]);
    run("/no/such/image.tar").refused(125, &["/no/such/image.tar"]);
    // Neither in the daemon nor in its registry, which is nobody here.
    let missing = "localhost:1/no-such-image:latest";
    run(missing).refused(125, &[missing, "localhost:1 can't be reached"]);
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_truncated_archive_is_refused() {
    let whole = archive("debian");
    let dir = TempDir::new().unwrap();
    let cut = dir.path().join("cut.tar");
    let MemberAt { header, data, .. } = archives::member(&whole, "manifest.json");
    // From nothing at all, over the middle of a layer, to the last piece that counts.
    for length in [data + 7, header + 512, header, header / 2, 1 << 20, 700, 100, 0] {
        archives::copy_start(&whole, &cut, length);
        let image = format!("docker-archive:{}", cut.display());
        eprintln!("cut at {length} bytes:");
        Bottle::new(&["vm", "run", &image, "--", "true"]).run().refused(125, &["cut.tar"]);
    }
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_corrupt_archive_is_refused() {
    let whole = archive("debian");
    let dir = TempDir::new().unwrap();
    let corrupt = dir.path().join("corrupt.tar");
    let layer = archives::member(&whole, "/layer.tar");
    fs::copy(&whole, &corrupt).unwrap();
    let image = format!("docker-archive:{}", corrupt.display());
    // Of an image that was imported before, the layers would not be read again.
    let cache = dir.path().join("cache");
    let run = || Bottle::new(&["vm", "run", &image, "--", "true"]).env("BOTTLE_CACHE_DIR", &cache).run();
    let refused = |words: &[&str]| run().refused(125, words);
    // A byte of a file's contents, or of an entry's header; and it is good again afterwards.
    for at in [layer.data + layer.size / 2, layer.data + 3] {
        archives::flip(&corrupt, at);
        refused(&["layer"]);
        archives::flip(&corrupt, at);
    }
    archives::flip(&corrupt, archives::member(&whole, ".json").data + 5);
    refused(&[]);
    let text = dir.path().join("text");
    fs::write(&text, "not an archive\n".repeat(100)).unwrap();
    Bottle::new(&["vm", "run", text.to_str().unwrap(), "--", "true"]).run().refused(125, &["text"]);
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn an_image_for_another_machine_is_refused() {
    let other = if cfg!(target_arch = "x86_64") { "arm64" } else { "amd64" };
    let dir = TempDir::new().unwrap();
    let image = dir.path().join("other.tar");
    archives::write_small(&image, "linux", other);
    let run = || Bottle::new(&["vm", "run", image.to_str().unwrap(), "--", "/hello"]).run();
    run().refused(125, &[&format!("linux/{other}")]);
    archives::write_small(&image, "windows", "amd64");
    run().refused(125, &["windows/amd64"]);
}

/// Each of them needs a boot to be found out.
#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_command_that_cannot_be_run_is_named() {
    let run = |options: &[&str], command: &[&str]| Bottle::vm_run("debian", options, command).run();
    run(&[], &["/etc/passwd"]).refused(126, &["/etc/passwd"]);
    run(&[], &["/no/such/command"]).refused(127, &["/no/such/command"]);
    run(&["-u", "nobody-of-that-name"], &["true"]).refused(125, &["nobody-of-that-name"]);
    // A working directory that is not there is made; this one can't be.
    run(&["-w", "/etc/passwd/below"], &["true"]).refused(125, &["/etc/passwd/below"]);
}
