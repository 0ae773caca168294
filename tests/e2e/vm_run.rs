//! `bottle vm run`: the command's streams, code and surroundings, and the file systems that it sees.

use std::io::Write;

use crate::harness::Bottle;
use crate::network::{Listeners, PROBE};

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_command_gets_its_surroundings_from_the_image() {
    let script = "echo to stderr >&2; id -u; id -g; echo \"home=$HOME user=$USER\"; pwd; echo \"$LANG|$GREETING|$PATH\"; \
                  echo \"added=$ADDED\"; hostname; cat; exit 7";
    let mut bottle = Bottle::vm_run(
        "debian",
        &["-i", "--name", "named-one", "-e", "ADDED=by hand"],
        &["sh", "-c", script],
    )
    .start();
    let stdin = b"piped \0\xff\r\n bytes without an end of line";
    bottle.feed(stdin.to_vec());
    bottle.until("the end of stdin", |running| running.stdout().contains("without an end of line"));
    let ended = bottle.end().expect(7);
    let expected = "0\n0\nhome=/root user=root\n/\n\
                    C.UTF-8|hello from the image|/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
                    added=by hand\nnamed-one\n";
    let expected = [expected.as_bytes(), stdin].concat();
    assert!(ended.stdout == expected, "{}", ended.quoted());
    assert_eq!(ended.stderr, "to stderr\n");
}

/// One boot: what is mounted, and that without `--allow` there is no network but the guest's own loopback.
#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_bare_guest_sees_its_disk_and_nothing_of_the_host() {
    let script = format!(
        "set -e; findmnt -no SOURCE,FSTYPE /; stat -c '%n %U:%G %a' /tmp /var/tmp; echo == mounts; cat /proc/mounts; \
         echo == probes; exec perl -e '{PROBE}'"
    );
    let listeners = Listeners::start();
    let mut bottle = Bottle::vm_run("debian", &["-i"], &["sh", "-c", &script]).start();
    let port = listeners.port();
    let probes = [
        format!("tcp 127.0.0.1 {port}"),
        format!("tcp 127.0.0.16 {port}"),
        format!("tcp ::1 {port}"),
        "tcp 203.0.113.7 80".to_owned(),
        "tcp 2001:db8::7 80".to_owned(),
        format!("udp 127.0.0.1 {port}"),
        format!("udp ::1 {port}"),
        "serve".to_owned(),
    ];
    bottle.stdin().write_all(format!("{}\n", probes.join("\n")).as_bytes()).unwrap();
    let ended = bottle.end().expect(0);
    let (system, rest) = ended.text().split_once("== mounts\n").unwrap();
    let (mounts, answers) = rest.split_once("== probes\n").unwrap();
    assert_eq!(system, "/dev/vda ext4\n/tmp root:root 1777\n/var/tmp root:root 1777\n");
    for line in mounts.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let known = ["ext4", "devtmpfs", "devpts", "tmpfs", "proc", "sysfs", "mqueue", "cgroup2"];
        assert!(known.contains(&fields[2]), "an unexpected file system: {line}");
        assert_eq!(fields[2] == "ext4", fields[1] == "/", "{line}");
        assert_eq!(fields[2] == "ext4", fields[0] == "/dev/vda", "{line}");
    }
    let answers: Vec<&str> = answers.lines().collect();
    assert_eq!(answers.len(), probes.len(), "{}", ended.quoted());
    for (probe, answer) in probes.iter().zip(&answers) {
        assert!(answer.starts_with(&**probe), "{}", ended.quoted());
        let good = if probe == "serve" { answer.ends_with(": served") } else { answer.contains(": errno ") };
        // A datagram that is sent into the void is as good as one that is refused; whether it arrives is seen below.
        assert!(good || probe.starts_with("udp"), "{}", ended.quoted());
    }
    listeners.assert_untouched(&[]);
}
