//! From an agent's question to the operator's answer: an MCP client on one side, `bottle` on the other.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddrV4, TcpStream};
use std::time::Duration;

use bottle::bundle::plan::supervise;
use bottle::bundle::{BundleManifest, Sidecars};
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

use crate::bench::{API, Bench, PATIENCE, PLAIN, until};

/// A bundle whose bottle lives, as far as others can see.
pub(crate) struct Bottle {
    pub(crate) sidecars: Sidecars,
    pub(crate) slug: String,
    _lock: File,
}

impl Bottle {
    pub(crate) async fn start(bench: &Bench, manifest: &BundleManifest) -> Self {
        let mut spec = bench.spec(manifest);
        let slug = spec.slug.clone();
        let dir = bench.state.path().join(&slug);
        spec.dir = dir.join("bundle");
        std::fs::create_dir(&dir).expect("a directory");
        let lock = File::create(dir.join("lock")).expect("a lock");
        flock(&lock, FlockOperation::LockExclusive).expect("locked");
        let started = Sidecars::start(&bench.docker, spec, &|| false).await;
        Self { sidecars: started.unwrap_or_else(|error| panic!("{error}")), slug, _lock: lock }
    }

    /// A call of a tool, under way; what the agent is told.
    pub(crate) fn ask(&self, tool: &str, arguments: &Value) -> tokio::task::JoinHandle<String> {
        let endpoint = self.sidecars.bundle().endpoint(supervise::PORT).expect("supervise's port");
        let params = json!({ "name": tool, "arguments": arguments });
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
        tokio::task::spawn_blocking(move || call(endpoint, &message.to_string()).expect("an answer"))
    }
}

fn call(endpoint: SocketAddrV4, body: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(endpoint)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "POST /mcp HTTP/1.1\r\nHost: {endpoint}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Accept: application/json, text/event-stream\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// `bottle` as the operator has it.
pub(crate) async fn bottle(bench: &Bench, words: &[&str]) -> std::process::Output {
    let program = std::env::var_os("BOTTLE_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_bottle").into());
    let mut bottle = tokio::process::Command::new(program);
    bottle.args(words).env("BOTTLE_STATE_DIR", bench.state.path()).kill_on_drop(true);
    tokio::time::timeout(PATIENCE, bottle.output()).await.expect("in time").expect("bottle")
}

/// Waits for a proposal; its ID.
pub(crate) async fn proposal(bench: &Bench) -> String {
    let mut id = String::new();
    until("a proposal is listed", async || {
        let output = bottle(bench, &["proposals", "--json"]).await;
        let listed: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
        id = listed.first().and_then(|one| one["id"].as_str()).unwrap_or_default().to_owned();
        !id.is_empty()
    })
    .await;
    id
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
#[ignore = "needs docker and the bundle's image: run cargo xtask test"]
async fn an_approved_host_is_reached_at_once_and_without_a_restart() {
    Bench::run(async |bench| {
        let manifest = BundleManifest { supervise: true, ..bench.manifest() };
        let bottle_ = Bottle::start(bench, &manifest).await;
        let url = format!("https://{API}/");
        assert_eq!(bench.curl(&bottle_.sidecars, &[&url]).await.status, 403);
        let before = bottle_.sidecars.status(&bench.docker).await.expect("a status");

        let calling =
            bottle_.ask("request_host", &json!({ "host": API, "reason": "to read the documentation" }));
        let id = proposal(bench).await;
        let listed = text(&bottle(bench, &["proposals"]).await.stdout);
        assert!(listed.ends_with(&format!("waiting  reach {API}  to read the documentation\n")), "{listed}");
        assert!(!calling.is_finished());
        let said = bottle(bench, &["approve", &id, "--reason", "fine"]).await;
        assert_eq!(text(&said.stdout), format!("approved: {}: reach {API}\n", bottle_.slug), "{said:?}");
        let told = calling.await.expect("told");
        assert!(told.contains(&format!("approved: fine. You may now reach {API}.")), "{told}");
        // The very next request.
        let reply = bench.curl(&bottle_.sidecars, &[&url]).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let after = bottle_.sidecars.status(&bench.docker).await.expect("a status");
        assert_eq!(before, after);
        assert_eq!(bench.curl(&bottle_.sidecars, &[&format!("https://{PLAIN}/")]).await.status, 200);

        let calling =
            bottle_.ask("request_host", &json!({ "host": "evil.example", "reason": "just because" }));
        let id = proposal(bench).await;
        assert!(bottle(bench, &["deny", &id, "--reason", "not that one"]).await.status.success());
        let told = calling.await.expect("told");
        assert!(told.contains("denied by the operator: not that one"), "{told}");
        assert_eq!(bench.curl(&bottle_.sidecars, &["https://evil.example/"]).await.status, 403);

        let arguments = json!({ "host": API, "path_prefix": "/", "reason": "to write" });
        let calling = bottle_.ask("request_route", &arguments);
        let id = proposal(bench).await;
        let said = bottle(bench, &["approve", &id]).await;
        assert_eq!(said.status.code(), Some(125));
        assert!(text(&said.stderr).contains("no route of its manifest has a credential"), "{said:?}");
        assert!(bottle(bench, &["deny", &id]).await.status.success());
        assert!(calling.await.expect("told").contains("denied by the operator\""));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs docker and the bundle's image: run cargo xtask test"]
async fn of_several_operators_one_is_first() {
    Bench::run(async |bench| {
        let manifest = BundleManifest { supervise: true, ..bench.manifest() };
        let asking = Bottle::start(bench, &manifest).await;
        for _ in 0..3 {
            let host = format!("h{}.example", rand());
            let calling = asking.ask("request_host", &json!({ "host": host, "reason": "to see" }));
            let id = proposal(bench).await;
            let verbs = ["approve", "deny", "approve", "deny"];
            let said =
                futures_util::future::join_all(verbs.map(async |verb| bottle(bench, &[verb, &id]).await))
                    .await;
            let first: Vec<_> = said.iter().filter(|output| output.status.success()).collect();
            let [first] = first.as_slice() else { panic!("{said:?}") };
            for late in said.iter().filter(|output| !output.status.success()) {
                assert!(text(&late.stderr).contains("already\nhint: "), "{late:?}");
            }
            let approved = text(&first.stdout).starts_with("approved");
            assert_eq!(calling.await.expect("told").contains("You may now reach"), approved);
        }
        // A container that is gone can't be told: the operator hears of it, and nobody hangs.
        let calling = asking.ask("request_host", &json!({ "host": "late.example", "reason": "to see" }));
        let id = proposal(bench).await;
        bottle::bundle::Bundle::remove(&bench.docker, bench.state.path(), &asking.slug)
            .await
            .expect("removed");
        let said = bottle(bench, &["approve", &id]).await;
        assert!(text(&said.stderr).contains("has no bundle that runs"), "{said:?}");
        drop(tokio::time::timeout(Duration::from_secs(60), calling).await.expect("its end"));
    })
    .await;
}

fn rand() -> u32 {
    use std::hash::{BuildHasher as _, RandomState};
    u32::try_from(RandomState::new().hash_one(0) & 0xffff).expect("sixteen bits")
}
