//! Connections to servers in a guest that has a network: they are to the guest's servers, and never go on to the host's.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::time::Duration;

use bottle::vm::agent::{Agent, AgentError, FailureKind};

use crate::examples::SERVER;
use crate::harness::Bottle;

/// For an answer of an emulated guest.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
#[ignore = "needs KVM: run cargo xtask test"]
fn a_connection_into_the_guest_stays_there() {
    // The guest may connect to it, so that nothing but the agent's care keeps a connection from going there.
    let host = TcpListener::bind("127.0.0.1:0").unwrap();
    host.set_nonblocking(true).unwrap();
    let port = host.local_addr().unwrap().port();
    let rule = format!("tcp:127.0.0.1:{port}");
    let options = ["-i", "--name", "served", "--allow", &rule];
    let mut bottle = Bottle::vm_run("debian", &options, &["perl", "-e", SERVER]).start();
    bottle.until_stdout("listening\n");
    let agent = Agent::new(bottle.state().join("served/agent.sock"));

    let refused = |port| match agent.connect(port) {
        Err(AgentError::Failed(failure)) => failure.kind == FailureKind::Refused,
        other => panic!("{other:?}"),
    };
    assert!(refused(port), "the guest's own server is asked for");
    assert!(refused(8001), "nobody is there");
    assert!(host.accept().is_err(), "the host was reached");

    // And one after the other, with more than a window holds.
    for number in 0..20 {
        let mut stream = agent.connect(8000).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let line = format!("{number} {}", "x".repeat(number * 100_000));
        let mut writer = stream.try_clone().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                writer.write_all(line.as_bytes()).unwrap();
                writer.shutdown(Shutdown::Write).unwrap();
            });
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer == format!("HTTP/1.0 200 OK\r\n\r\nasked: {line}"), "{} bytes", answer.len());
        });
    }
    bottle.signal(rustix::process::Signal::TERM);
    bottle.end().expect(143);
}
