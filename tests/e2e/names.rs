//! Lookups of names in a guest, which has no DNS: they fail, and at once.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::harness::Bottle;

/// Looks its arguments up, each for one family and for both, and says how long that took.
const LOOKUP: &str = r#"
#include <netdb.h>
#include <stdio.h>
#include <time.h>
int main(int argc, char **argv) {
    int families[] = {AF_INET, AF_INET6, AF_UNSPEC};
    for (int i = 1; i < argc; i++)
        for (int f = 0; f < 3; f++) {
            struct addrinfo hints = {.ai_family = families[f], .ai_socktype = SOCK_STREAM}, *found;
            struct timespec from, to;
            clock_gettime(CLOCK_MONOTONIC, &from);
            int error = getaddrinfo(argv[i], "80", &hints, &found);
            clock_gettime(CLOCK_MONOTONIC, &to);
            long ms = (to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000;
            printf("%s %s %d %ld ms\n", LIBC, argv[i], error, ms);
        }
}
"#;

/// The longest that a lookup may take. An emulated machine that is busy is allowed no more: what is to be seen is that nobody
/// waits for a resolver's time-out, the shortest of which is five seconds.
const LIMIT_MS: u64 = 1000;

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn lookups_fail_at_once_with_glibc_and_musl() {
    let dir = TempDir::new().unwrap();
    let source = dir.path().join("lookup.c");
    fs::write(&source, LOOKUP).unwrap();
    for (compiler, options) in [("gcc", &[][..]), ("musl-gcc", &["-static"])] {
        let program = dir.path().join(compiler);
        let mut compile = Command::new(compiler);
        compile.arg(format!("-DLIBC=\"{compiler}\"")).args(options).arg("-o").arg(program).arg(&source);
        let output = compile.output().unwrap_or_else(|error| panic!("{compiler}: {error}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let volume = format!("{}:/lookup:ro", dir.path().display());
    let script =
        "cat /etc/resolv.conf; for libc in gcc musl-gcc; do /lookup/$libc localhost example.com; done";
    let command = ["bash", "-c", script];
    for network in [&["--allow", "tcp:127.0.0.16:8888"][..], &[]] {
        let options = [&["-v", &*volume], network].concat();
        let ended = Bottle::vm_run("debian", &options, &command).run().expect(0);
        assert!(ended.text().contains("\nnameserver 127.0.0.1\n"), "{}", ended.quoted());
        let lookups: Vec<&str> = ended.text().lines().filter(|line| line.ends_with(" ms")).collect();
        assert_eq!(lookups.len(), 12, "{}", ended.quoted());
        for lookup in lookups {
            let words: Vec<&str> = lookup.split(' ').collect();
            assert_eq!(words[2] == "0", words[1] == "localhost", "{}", ended.quoted());
            assert!(words[3].parse::<u64>().unwrap() < LIMIT_MS, "{}", ended.quoted());
        }
    }
}
