//! `bottle exec`: what the command gets, what comes back, and who outlives whom.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Bottle, Ended, Running};

/// For what takes a second or two in an emulated host.
const LIMIT: Duration = Duration::from_secs(60);

const NAME: &str = "running";

/// A bottle that runs, and does nothing by itself.
pub(crate) fn up(options: &[&str]) -> Running {
    let options = [&["--name", NAME], options].concat();
    let mut bottle =
        Bottle::vm_run("debian", &options, &["sh", "-c", "echo up; exec sleep infinity"]).start();
    bottle.until_stdout("up\n");
    bottle
}

/// Ends it; nothing is left of it.
pub(crate) fn down(bottle: Running) {
    bottle.signal(Signal::TERM);
    bottle.end().expect(143);
}

/// `bottle exec OPTIONS NAME COMMAND`.
pub(crate) fn exec(bottle: &Running, options: &[&str], command: &[&str]) -> Bottle {
    let args = [&["exec"], options, &[NAME], command].concat();
    Bottle::new(&args).env("BOTTLE_STATE_DIR", bottle.state())
}

#[track_caller]
fn assert_says(ended: &Ended, code: i32, stdout: &str, stderr: &str) {
    let said = (ended.code, &*ended.stdout, &*ended.stderr);
    assert_eq!(said, (code, stdout.as_bytes(), stderr), "{}", ended.quoted());
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_command_gets_the_bottles_surroundings_and_its_own() {
    let bottle = up(&["-e", "ADDED=by hand", "-w", "/made/for it"]);
    let run = |options: &[&str], script: &str| exec(&bottle, options, &["--", "sh", "-c", script]).run();
    let script = "echo \"$GREETING|$ADDED|$HOME|$USER|$LOGNAME|$SHELL|$TERM\"; id -u; id -G; pwd; readlink /proc/self/fd/0";
    let of_the_bottle =
        "hello from the image|by hand|/root|root|root|/bin/bash|\n0\n0\n/made/for it\n/dev/null\n";
    assert_says(&run(&[], script), 0, of_the_bottle, "");
    // `mail` is in no group but its own, until it is.
    assert_says(&run(&[], "usermod -aG tty,games mail"), 0, "", "");
    let own = run(&["-u", "mail", "-w", "/etc", "-e", "ADDED=anew", "-e", "HOME=/tmp"], script);
    let expected =
        "hello from the image|anew|/tmp|mail|mail|/usr/sbin/nologin|\n8\n8 5 60\n/etc\n/dev/null\n";
    assert_says(&own, 0, expected, "");
    assert_says(&run(&["-u", "mail:60"], "id -u; id -G"), 0, "8\n60\n", "");
    assert_says(
        &run(&["-u", "4321"], "id -u; id -G; echo $HOME; touch /tmp/x && echo made"),
        0,
        "4321\n0\n/\nmade\n",
        "",
    );

    // Without the dashes, as docker has it; what comes behind is the command's.
    assert_says(&exec(&bottle, &[], &["echo", "-n", "--", "-i"]).run(), 0, "-- -i", "");
    assert_says(&run(&[], "echo out; echo err >&2; exit 7"), 7, "out\n", "err\n");
    assert_says(&run(&[], "kill -9 $$"), 137, "", "");

    // A terminal of its own, where there is none here.
    assert_says(&run(&["-t"], "tty; stty size; echo err >&2"), 0, "/dev/pts/0\r\n24 80\r\nerr\r\n", "");

    // The end of stdin is only the end of stdin.
    let mut piped = exec(&bottle, &["-i"], &["sh", "-c", "cat; echo behind it"]).start();
    piped.feed(b"piped \0\xff\r\n".to_vec());
    let piped = piped.end();
    assert_eq!(
        (piped.code, &piped.stdout[..]),
        (0, &b"piped \0\xff\r\nbehind it\n"[..]),
        "{}",
        piped.quoted()
    );
    down(bottle);
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn what_cannot_be_run_is_named() {
    let bottle = up(&[]);
    let refused = |options: &[&str], command: &[&str], code: i32, word: &str| {
        let ended = exec(&bottle, options, command).run();
        ended.assert_refused(code, &[word]);
    };
    refused(&[], &["/etc/passwd"], 126, "/etc/passwd");
    refused(&[], &["no-such-command"], 127, "no-such-command");
    refused(&["-d"], &["no-such-command"], 127, "no-such-command");
    refused(&["-u", "nobody-of-that-name"], &["true"], 125, "nobody-of-that-name");
    refused(&["-u", "root:nothing"], &["true"], 125, "nothing");
    refused(&["-w", "/no/such/directory"], &["true"], 125, "/no/such/directory");
    refused(&["-it"], &["true"], 125, "terminal");
    let state = bottle.state().to_owned();
    let other = |name: &str| Bottle::new(&["exec", name, "true"]).env("BOTTLE_STATE_DIR", &state).run();
    other("another").assert_refused(125, &["another"]);
    assert_eq!(other("../running").code, 125);
    down(bottle);
    Bottle::new(&["exec", NAME, "true"]).run().refused(125, &[NAME]);
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_command_ends_with_its_client_unless_it_is_detached() {
    let bottle = up(&[]);
    let run = |script: &str| exec(&bottle, &[], &["sh", "-c", script]).run();
    // A shell would have to start a program or two before it runs a trap, and there are two seconds.
    let stubborn = "$SIG{HUP} = sub { open F, '>/tmp/hup'; print F \"hup\\n\"; close F }; $| = 1; print \"$$\\n\"; sleep 9 while 1";
    let mut client = exec(&bottle, &[], &["perl", "-e", stubborn]).start();
    client.until_stdout("\n");
    let pid = client.stdout();
    client.signal(Signal::KILL);
    assert_eq!(client.end().code, 137);
    let gone = format!(
        "for i in $(seq 300); do kill -0 {} 2>/dev/null || exec cat /tmp/hup; sleep 0.1; done",
        pid.trim()
    );
    assert_says(&run(&gone), 0, "hup\n", "");

    // A signal that the client gets is the command's.
    let traps =
        "$SIG{TERM} = sub { print \"got TERM\\n\"; exit 5 }; $| = 1; print \"up\\n\"; sleep 9 while 1";
    let mut client = exec(&bottle, &[], &["perl", "-e", traps]).start();
    client.until_stdout("up\n");
    client.signal(Signal::TERM);
    assert_says(&client.end(), 5, "up\ngot TERM\n", "");

    let detached = exec(
        &bottle,
        &["-d"],
        &["sh", "-c", "echo $$ > /tmp/pid; sleep 1; echo unheard; echo done > /tmp/done; sleep 1000"],
    );
    assert_says(&detached.run(), 0, "", "");
    let done = "for i in $(seq 300); do [ -s /tmp/done ] && kill -0 $(cat /tmp/pid) && exec cat /tmp/done; sleep 0.1; done";
    assert_says(&run(done), 0, "done\n", "");

    // A reader that goes away, as `head` does.
    let reader = ["bash", "-c", "\"$@\" | head -n 1; echo ${PIPESTATUS[0]}", "bash"];
    let piped = Bottle::wrapped(&reader, &crate::harness::bottle(), &["exec", NAME, "yes"]);
    assert_says(&piped.env("BOTTLE_STATE_DIR", bottle.state()).run(), 0, "y\n141\n", "");
    let started = Instant::now();
    while run("pgrep -x yes").code == 0 {
        assert!(started.elapsed() < LIMIT, "`yes` runs for nobody");
        thread::sleep(Duration::from_millis(100));
    }
    down(bottle);
}
