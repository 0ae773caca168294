//! Host directories in the guest: what it can do there, and what it can't.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use tempfile::TempDir;

use crate::harness::{Bottle, Shell, archive};

/// A directory to be shared, with a secret beside it.
struct Host {
    dir: TempDir,
}

impl Host {
    fn new() -> Self {
        let host = Self { dir: TempDir::new().unwrap() };
        for name in ["rw", "ro"] {
            fs::create_dir(host.at(name)).unwrap();
            fs::write(host.at(name).join("file"), "from the host\n").unwrap();
        }
        fs::write(host.at("secret"), "secret\n").unwrap();
        host
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn volume(&self, name: &str, rest: &str) -> String {
        format!("{}:{rest}", self.at(name).display())
    }
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_guest_reads_and_writes_what_it_was_given_and_nothing_else() {
    let host = Host::new();
    symlink(host.at("secret"), host.at("rw").join("absolute")).unwrap();
    symlink("../secret", host.at("rw").join("relative")).unwrap();
    let (rw, ro) = (host.volume("rw", "/srv/./rw/"), host.volume("ro", "/srv/ro:ro"));
    // Mounted in the order of their places in the guest, one in the other.
    let inner = host.volume("ro", "/srv/rw/inner:ro");
    let mut shell = Shell::start("debian", &["-v", &inner, "-v", &rw, "--volume", &ro]);
    assert_eq!(shell.run("cat /srv/rw/file /srv/ro/file /srv/rw/inner/file"), "from the host\n".repeat(3));
    assert_eq!(shell.run("grep -c ' virtiofs ' /proc/mounts"), "3\n");

    // What is written is there, and whose it is.
    assert_eq!(shell.run("echo root > /srv/rw/new; mkdir /srv/rw/d; chmod 777 /srv/rw/d"), "");
    assert_eq!(
        shell.run("setpriv --reuid 1000 --regid 1000 --clear-groups sh -c 'echo user > /srv/rw/d/f'"),
        ""
    );
    assert_eq!(fs::read(host.at("rw/new")).unwrap(), b"root\n");
    let user = fs::metadata(host.at("rw/d/f")).unwrap();
    assert_eq!((user.uid(), user.gid(), user.mode() & 0o777), (1000, 1000, 0o644));

    // To read only means that, for a root who mounts it anew as well: what succeeds is printed.
    let tries = "for at in /srv/ro /srv/rw/inner $AT; do for what in 'echo x > file' 'echo x >> file' 'touch new' 'rm file' \
                 'mv file other' 'mkdir d' 'ln file l' 'chmod 777 file' 'truncate -s 0 file' 'ln -s a b' 'mkfifo p'; do \
                 (cd $at && sh -c \"$what\") 2>/dev/null && echo \"$at: $what\"; done; done";
    assert_eq!(shell.run(tries), "");
    let remount = "mount -o remount,rw /srv/ro && mount -t virtiofs -o rw volume0 /mnt && cat /mnt/file && \
                   for at in /srv/ro /mnt; do findmnt -no OPTIONS $at; done | grep -c ^rw; AT=/mnt";
    assert_eq!(shell.run(remount), "from the host\n2\n");
    assert_eq!(shell.run(tries), "");
    assert_eq!(fs::read(host.at("ro/file")).unwrap(), b"from the host\n");
    assert_eq!(fs::read_dir(host.at("ro")).unwrap().count(), 1);
    assert_eq!(fs::metadata(host.at("ro/file")).unwrap().nlink(), 1);

    // Links lead where they lead in the guest, which has nothing there, and something of its own then.
    let secret = host.at("secret").display().to_string();
    let links = "cat /srv/rw/absolute /srv/rw/relative 2>&1 | sed 's/.*: //' | sort -u";
    assert_eq!(shell.run(links), "No such file or directory\n");
    let own = format!(
        "mkdir -p $(dirname {secret}); echo own > {secret}; echo own > /srv/secret; cat /srv/rw/absolute /srv/rw/relative"
    );
    assert_eq!(shell.run(&own), "own\nown\n");
    assert_eq!(
        shell.run(&format!("ln -s {secret} /srv/rw/mine; echo changed > /srv/rw/mine; cat {secret}")),
        "changed\n"
    );
    assert_eq!(fs::read(host.at("secret")).unwrap(), b"secret\n");

    // The host's devices stay the host's.
    let devices =
        "for n in 'b 8 0' 'c 1 3'; do mknod /srv/rw/device $n 2>&1 | sed 's/.*: //'; done; ls /srv/rw/device";
    assert!(shell.run(devices).starts_with("Operation not permitted\nOperation not permitted\n"));
    assert!(!host.at("rw/device").exists());
    shell.end();
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn as_many_volumes_as_are_promised_can_be_had() {
    let host = Host::new();
    let volumes: Vec<String> = (0..5).map(|number| host.volume("ro", &format!("/v{number}:ro"))).collect();
    let options: Vec<&str> = volumes.iter().flat_map(|volume| ["-v", volume]).collect();
    let ended = Bottle::vm_run("debian", &options, &["sh", "-c", "cat /v*/file"]).run().expect(0);
    assert_eq!(ended.text(), "from the host\n".repeat(5));
    let sixth = host.volume("ro", "/v6");
    let more = [&options[..], &["-v", &sixth]].concat();
    Bottle::vm_run("debian", &more, &["true"]).run().refused(125, &["6 volumes", "5 can"]);
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn what_cannot_be_a_volume_is_refused_before_anything_is_done() {
    let host = Host::new();
    let state = host.at("state");
    fs::create_dir(&state).unwrap();
    symlink("state", host.at("link")).unwrap();
    let image = format!("docker-archive:{}", archive("debian").display());
    let run = |volumes: &[&str]| {
        let options = volumes.iter().flat_map(|volume| ["-v", volume]);
        let args: Vec<&str> =
            ["vm", "run"].into_iter().chain(options).chain([&*image, "--", "true"]).collect();
        Bottle::new(&args).env("BOTTLE_STATE_DIR", &state).run()
    };
    let parent = host.volume("", "/v:ro");
    for volume in [&host.volume("state", "/v"), &host.volume("link", "/v"), &parent] {
        run(&[volume]).refused(125, &["where bottles and images are kept"]);
    }
    run(&[&host.volume("missing", "/v")]).refused(125, &["missing", "No such file"]);
    run(&[&host.volume("secret", "/v")]).refused(125, &["secret", "is not a directory"]);
    run(&[&host.volume("ro", "/v"), &host.volume("rw", "/v/")]).refused(125, &["two volumes", "/v"]);
    for guest in ["/", "/proc/x", "/dev", "data", "/a/../b"] {
        let ended = run(&[&host.volume("ro", guest)]).expect(125);
        assert!(ended.stderr.contains("a volume can't be mounted on"), "{}", ended.quoted());
    }
    assert!(Path::new(&state).exists());
    assert_eq!(fs::read_dir(&state).unwrap().count(), 0);
}
