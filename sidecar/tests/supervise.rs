//! supervise as an MCP client and an operator see it: over HTTP, and in its directories.

// clippy.toml lets tests do this in functions marked as tests, and not in what those share.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use bottle_gates::file;
use bottle_gates::grant::{Grant, Host};
use bottle_gates::proposal::{Answer, Proposal, VERSION, WAITING_MAX};
use bottle_gates::supervise::SuperviseConfig;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Everything here is done in milliseconds, on a machine that has nothing else to do.
const PATIENCE: Duration = Duration::from_secs(60);

struct Bench {
    dir: TempDir,
    config: SuperviseConfig,
    server: Child,
}

impl Bench {
    fn start(wait_seconds: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = SuperviseConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], port)),
            proposals: dir.path().join("proposals"),
            answers: dir.path().join("answers"),
            wait_seconds,
            upstreams: vec!["project".to_owned()],
        };
        file::private_dir(&config.proposals).unwrap();
        file::private_dir(&config.answers).unwrap();
        file::write(&dir.path().join("supervise.json"), &config).unwrap();
        let server = serve(&dir, &config);
        Self { dir, config, server }
    }

    fn restart(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
        self.server = serve(&self.dir, &self.config);
    }

    fn send(&self, head: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.config.listen).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        let request = format!(
            "{head}\r\nHost: 127.0.0.16:40123\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    /// A call of a tool, under way.
    fn start_call(&self, tool: &str, arguments: &Value) -> TcpStream {
        self.send(POST, &call(tool, arguments).to_string())
    }

    fn call(&self, tool: &str, arguments: &Value) -> Outcome {
        outcome(self.start_call(tool, arguments))
    }

    /// Waits until there is a proposal that is none of those.
    fn new_proposal(&self, but: &[&str]) -> Proposal {
        let since = Instant::now();
        loop {
            let ids = file::names(&self.config.proposals, 1000, bottle_gates::proposal::is_id).unwrap();
            if let Some(id) = ids.iter().find(|id| !but.contains(&id.as_str())) {
                return Proposal::read(&self.config.proposals, id).unwrap();
            }
            assert!(since.elapsed() < PATIENCE, "no proposal came");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn answer(&self, id: &str, approved: bool, reason: &str) {
        let (id, reason) = (id.to_owned(), reason.to_owned());
        let path = Answer::path(&self.config.answers, &id);
        file::create(&path, &Answer { version: VERSION, id, answered: 0, approved, reason }).unwrap();
        kill_process(Pid::from_child(&self.server), Signal::HUP).unwrap();
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.server.kill().unwrap_or_default();
        self.server.wait().unwrap();
    }
}

const POST: &str = "POST /mcp HTTP/1.1\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
                    MCP-Protocol-Version: 2025-06-18";

fn serve(dir: &TempDir, config: &SuperviseConfig) -> Child {
    let mut server = Command::new(env!("CARGO_BIN_EXE_bottle-sidecar"));
    let server = server.arg("supervise").arg(dir.path().join("supervise.json")).spawn().unwrap();
    let since = Instant::now();
    while TcpStream::connect(config.listen).is_err() {
        assert!(since.elapsed() < PATIENCE, "nobody listens");
        thread::sleep(Duration::from_millis(10));
    }
    server
}

fn call(tool: &str, arguments: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool, "arguments": arguments } })
}

fn host(host: &str) -> Value {
    json!({ "host": host, "reason": "the build fetches from there" })
}

/// What a call came to.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Success(String),
    Failure(String),
    /// An answer that is none to a call.
    Other(String),
}

fn outcome(stream: TcpStream) -> Outcome {
    let answer = whole(stream);
    let Some(message) = message(&answer) else { return Outcome::Other(answer) };
    let Some(text) = message["result"]["content"][0]["text"].as_str() else { return Outcome::Other(answer) };
    match message["result"]["isError"].as_bool() {
        Some(true) => Outcome::Failure(text.to_owned()),
        _ => Outcome::Success(text.to_owned()),
    }
}

fn whole(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The JSON-RPC message in an answer: an event of its own, or all of the body.
fn message(answer: &str) -> Option<Value> {
    let bodies = answer.lines().map(|line| line.strip_prefix("data: ").unwrap_or(line));
    bodies.filter_map(|body| serde_json::from_str::<Value>(body).ok()).find(|value| value["jsonrpc"] == "2.0")
}

#[test]
fn a_call_returns_when_the_operator_has_approved() {
    let bench = Bench::start(600);
    let initialize = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "test", "version": "1" } } });
    let answer = whole(bench.send(POST, &initialize.to_string()));
    assert_eq!(message(&answer).unwrap()["result"]["serverInfo"]["name"], "bottle-supervise", "{answer}");
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    let tools = message(&whole(bench.send(POST, &list.to_string()))).unwrap()["result"]["tools"].clone();
    let mut names: Vec<_> =
        tools.as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["request_host", "request_push_rule", "request_route"]);
    assert!(tools.to_string().contains("The operator decides by this."), "{tools}");

    let calling = bench.start_call("request_host", &host("docs.example.com"));
    let proposal = bench.new_proposal(&[]);
    assert_eq!(proposal.grant, Grant::Host(Host { host: "docs.example.com".to_owned() }));
    assert_eq!(proposal.reason, "the build fetches from there");
    let waiting = thread::spawn(|| outcome(calling));
    // What a server that doesn't wait would have answered by now.
    thread::sleep(Duration::from_millis(300));
    assert!(!waiting.is_finished());
    bench.answer(&proposal.id, true, "only today");
    let said = waiting.join().unwrap();
    assert_eq!(
        said,
        Outcome::Success("approved: only today. You may now reach docs.example.com.".to_owned())
    );
    // Once is enough.
    assert!(matches!(bench.call("request_host", &host("docs.example.com")), Outcome::Success(_)));

    let push = json!({ "upstream": "project", "branch": "agent/*", "reason": "to show the fix" });
    let calling = bench.start_call("request_push_rule", &push);
    let second = bench.new_proposal(&[&proposal.id]);
    assert_eq!(second.grant.to_string(), "push to project: branches agent/* (no force, no delete)");
    bench.answer(&second.id, false, "send a patch instead");
    assert_eq!(outcome(calling), Outcome::Failure("denied by the operator: send a patch instead".to_owned()));

    let route = json!({ "host": "api.example.com", "path_prefix": "/v1/", "methods": ["GET"], "reason": "to read issues" });
    let calling = bench.start_call("request_route", &route);
    let third = bench.new_proposal(&[&proposal.id, &second.id]);
    bench.answer(&third.id, true, "");
    let said = "approved. You may now use the operator's credential at api.example.com/v1/ (GET).";
    assert_eq!(outcome(calling), Outcome::Success(said.to_owned()));
}

#[test]
fn a_proposal_outlives_its_client_and_its_server() {
    let mut bench = Bench::start(600);
    let calling = bench.start_call("request_host", &host("docs.example.com"));
    let proposal = bench.new_proposal(&[]);
    drop(calling);
    // The same, by two more that wait.
    let calls = [0, 1].map(|_| bench.start_call("request_host", &host("docs.example.com")));
    let mut lines = BufReader::new(calls[0].try_clone().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("200"), "not taken");
    bench.answer(&proposal.id, true, "");
    for call in calls {
        // The head of the first is read already.
        let text = whole(call);
        assert!(text.contains("approved"), "{text}");
    }

    let calling = bench.start_call("request_host", &host("other.example"));
    let second = bench.new_proposal(&[&proposal.id]);
    bench.restart();
    drop(calling);
    bench.answer(&second.id, false, "no");
    assert_eq!(
        bench.call("request_host", &host("other.example")),
        Outcome::Failure("denied by the operator: no".to_owned())
    );
    assert_eq!(fs::read_dir(&bench.config.proposals).unwrap().count(), 2);
}

#[test]
fn who_waits_in_vain_is_told_so() {
    let bench = Bench::start(1);
    let Outcome::Success(said) = bench.call("request_host", &host("docs.example.com")) else {
        panic!("an error")
    };
    let id = bench.new_proposal(&[]).id;
    assert!(said.starts_with("no answer yet.") && said.contains(&id), "{said}");
}

#[test]
fn hostile_calls_ask_for_nothing() {
    let bench = Bench::start(1);
    let failure = |tool: &str, arguments: &Value| match bench.call(tool, arguments) {
        Outcome::Success(said) => panic!("{tool} {arguments}: {said}"),
        Outcome::Failure(said) | Outcome::Other(said) => said,
    };
    for name in [
        "127.0.0.1",
        "localhost",
        "a.b/../..",
        "*",
        "A.example",
        "a.example\n",
        "\u{202e}a.example",
        &"a.".repeat(200),
    ] {
        let said = failure("request_host", &host(name));
        assert!(said.starts_with("not asked: "), "{said}");
    }
    let said = failure("request_host", &json!({ "host": "a.example", "reason": "x".repeat(1001) }));
    assert!(said.contains("1001 characters"), "{said}");
    failure("request_host", &json!({ "host": "a.example" }));
    failure("request_host", &json!({ "host": "a.example", "reason": "why", "more": 1 }));
    failure("request_host", &json!({ "host": ["a.example"], "reason": "why" }));
    failure("request_all", &json!({}));
    let push = json!({ "upstream": "../x", "branch": "a", "reason": "why" });
    assert!(failure("request_push_rule", &push).contains("can't name an upstream"));
    let push = json!({ "upstream": "other", "branch": "a", "reason": "why" });
    assert!(failure("request_push_rule", &push).contains("there is no upstream"));
    let route = json!({ "host": "a.example", "path_prefix": "/../", "reason": "why" });
    assert!(failure("request_route", &route).contains("`..`"));

    let good = call("request_host", &host("docs.example.com")).to_string();
    for (head, body, status) in [
        ("POST /other HTTP/1.1", good.as_str(), "404"),
        (
            "POST /mcp HTTP/1.1\r\nContent-Type: text/plain\r\nAccept: application/json, text/event-stream",
            &good,
            "415",
        ),
        (&format!("{POST}\r\nOrigin: http://evil.example"), &good, "403"),
        (POST, &"[".repeat(10_000), "4"),
        (POST, &format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{}\"}}", "x".repeat(70_000)), "413"),
        ("GET /mcp HTTP/1.1\r\nAccept: text/event-stream", "", "405"),
        ("nonsense", "", "400"),
    ] {
        let answer = whole(bench.send(head, body));
        let got = answer.split(' ').nth(1).unwrap_or_default();
        assert!(got.starts_with(status), "{head}: {answer}");
    }
    assert_eq!(fs::read_dir(&bench.config.proposals).unwrap().count(), 0);
}

#[test]
fn a_flood_leaves_the_operator_a_readable_queue() {
    let bench = Bench::start(600);
    let mut calls: Vec<TcpStream> =
        (0..WAITING_MAX).map(|n| bench.start_call("request_host", &host(&format!("h{n}.example")))).collect();
    let since = Instant::now();
    while fs::read_dir(&bench.config.proposals).unwrap().count() < WAITING_MAX {
        assert!(since.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(10));
    }
    let Outcome::Failure(said) = bench.call("request_host", &host("one-more.example")) else {
        panic!("asked")
    };
    assert!(said.contains("wait for the operator already"), "{said}");

    // Connections that say nothing: those in excess are closed, and the first ones stay.
    let idle: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(bench.config.listen).unwrap()).collect();
    let closed = idle.iter().filter(|stream| {
        let mut stream: &TcpStream = stream;
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        matches!(stream.read(&mut [0]), Ok(0))
    });
    assert_eq!(closed.count(), 100 - (64 - WAITING_MAX));
    drop(idle);
    let first = bench.new_proposal(&[]);
    let Grant::Host(Host { host }) = &first.grant else { panic!("{first:?}") };
    let number: usize = host.trim_start_matches('h').trim_end_matches(".example").parse().unwrap();
    bench.answer(&first.id, true, "");
    assert!(matches!(outcome(calls.swap_remove(number)), Outcome::Success(_)));
}
