//! Many execs: right after the boot, one after the other, and all at once. Each one's output and exit code is its own.

use std::thread;
use std::time::Instant;

use bottle::vm::agent::{Agent, ExecRequest};

use crate::exec::{down, exec, up};
use crate::harness::{Running, until};

/// Through the library. What the number is made into can't come from anywhere else.
fn through_library(agent: &Agent, number: u32) {
    let script = format!("echo out $(({number} * 7)); echo err {number} >&2; exit {}", number % 200);
    let request = ExecRequest {
        argv: ["sh", "-c", &script].map(|word| word.as_bytes().to_vec().into()).to_vec(),
        null_stdin: true,
        ..ExecRequest::default()
    };
    let output = agent.exec(&request).unwrap().output().unwrap();
    assert_eq!(u32::from(output.status.shell_code()), number % 200, "{number}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("out {}\n", number * 7));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), format!("err {number}\n"));
}

/// Through the command line.
fn through_command(bottle: &Running, number: u32) {
    let script = format!("echo out $(({number} * 7)); echo err {number} >&2; exit {}", number % 200);
    let ended = exec(bottle, &[], &["sh", "-c", &script]).run();
    assert_eq!(ended.code.unsigned_abs(), number % 200, "{}", ended.quoted());
    assert_eq!(ended.text(), format!("out {}\n", number * 7));
    assert_eq!(ended.stderr, format!("err {number}\n"));
}

fn agent(bottle: &Running) -> Agent {
    Agent::new(bottle.state().join("running/agent.sock"))
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn two_hundred_one_after_the_other_and_fifty_at_once() {
    let bottle = up(&[]);
    let agent = agent(&bottle);
    let start = Instant::now();
    (0..200).for_each(|number| through_library(&agent, number));
    eprintln!("    200 one after the other: {:.1?}", start.elapsed());
    let start = Instant::now();
    thread::scope(|scope| {
        for number in 0..50 {
            let agent = &agent;
            scope.spawn(move || through_library(agent, number));
        }
    });
    eprintln!("    50 at once: {:.1?}", start.elapsed());
    // The guest counts an exec until it has let go of it, which may be after its end was heard of.
    until("only the bottle's own command runs", || agent.info().unwrap().execs == 1);
    down(bottle);
}

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn fifty_at_once_right_after_the_boot_and_two_hundred_by_command_line() {
    let bottle = up(&[]);
    let start = Instant::now();
    thread::scope(|scope| {
        for number in 0..50 {
            let bottle = &bottle;
            scope.spawn(move || through_command(bottle, number));
        }
    });
    eprintln!("    50 at once: {:.1?}", start.elapsed());
    let start = Instant::now();
    (0..200).for_each(|number| through_command(&bottle, number));
    eprintln!("    200 one after the other: {:.1?}", start.elapsed());
    down(bottle);
}
